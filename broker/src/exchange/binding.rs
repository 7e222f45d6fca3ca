//! A binding as a value: its two ends, its key and its arguments.
//!
//! Does not know about routing.

use crate::limits::tables::{self, TooLarge};
use leveret_amqp::{FieldTable, FieldValue, RawTable, ShortString};
use std::ops::Deref;
use std::sync::Arc;

/// The kind of a binding's destination.
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
    /// The kind of the destination.
    pub destination_kind: DestinationKind,
    /// The destination's name.
    pub destination: ShortString,
    /// The binding key.
    pub routing_key: ShortString,
    /// The headers that a headers exchange compares.
    pub arguments: Sorted,
}

/// A binding that exists, told from all others by where it lies. It stays there for as long as its exchange has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BindingId(usize);

impl BindingId {
    pub(super) fn of(binding: &Arc<Binding>) -> Self {
        Self(Arc::as_ptr(binding).addr())
    }
}

/// The arguments of a binding in the order of their names: two bindings that differ in the order only are the same, as
/// in RabbitMQ. Kept as octets; a clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sorted(RawTable);

impl Sorted {
    /// The arguments of a binding that the log has.
    pub fn restored(table: &RawTable) -> Self {
        table.to_table().into()
    }
}

impl TryFrom<RawTable> for Sorted {
    type Error = TooLarge;

    /// The arguments of a binding that a client names. They are looked at before they are taken apart.
    fn try_from(table: RawTable) -> Result<Self, TooLarge> {
        tables::check(&table, tables::ARGUMENTS)?;
        Ok(Self::restored(&table))
    }
}

impl FromIterator<(ShortString, FieldValue)> for Sorted {
    fn from_iter<I: IntoIterator<Item = (ShortString, FieldValue)>>(pairs: I) -> Self {
        pairs.into_iter().collect::<FieldTable>().into()
    }
}

impl From<FieldTable> for Sorted {
    fn from(mut table: FieldTable) -> Self {
        table.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(table.into())
    }
}

impl Deref for Sorted {
    type Target = RawTable;

    fn deref(&self) -> &RawTable {
        &self.0
    }
}
