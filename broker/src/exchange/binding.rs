//! A binding as a value: which exchange leads where, by which key and arguments.

use leveret_amqp::{FieldTable, ShortString};

/// Whether a binding leads to a queue or to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationKind {
    /// queue.bind
    Queue,
    /// exchange.bind
    Exchange,
}

impl DestinationKind {
    /// As RabbitMQ's HTTP API and events name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Exchange => "exchange",
        }
    }
}

/// A binding. Two are the same when all of it is (AMQP 0-9-1 queue.bind; RabbitMQ counts the arguments in).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The exchange that messages come from; empty for the default exchange.
    pub source: ShortString,
    /// What the destination is.
    pub destination_kind: DestinationKind,
    /// The destination's name.
    pub destination: ShortString,
    /// The binding key.
    pub routing_key: ShortString,
    /// What a headers exchange compares.
    pub arguments: FieldTable,
}
