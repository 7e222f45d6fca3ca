//! An AMQP 0-9-1 broker in RabbitMQ's dialect.
//!
//! The modules from the outside in, which is the order of a message's way: read from a connection, taken apart by a
//! channel, routed by a vhost, kept by a queue and the log, delivered back through a channel to a connection. Each uses
//! only what stands below it.
//!
//! server > connection > channel > publish > node > vhost > exchange > queue > store

#![warn(missing_docs)]

/// The stack that anything over what users make needs.
#[cfg(test)]
mod recursion;

/// Start and drain.
pub mod server;

/// The HTTP API.
pub mod admin;

/// Settings that change while the broker runs.
pub mod reload;

/// A data directory, verified offline.
pub mod check;

/// Figures that are measured, and their names.
pub mod metrics;

/// ZeroMQ's sockets: declared, bound, served.
pub mod zeromq;

/// One client: socket, handshake, frames.
pub mod connection;

/// One channel: methods, content, confirms, transactions, deliveries.
pub mod channel;

/// The way of a published message, whichever protocol it came by.
pub mod publish;

/// Users, changed.
pub mod accounts;

/// Everything that connections share.
pub mod node;

/// All virtual hosts.
pub mod vhosts;

/// Clients that are connected.
pub mod clients;

/// Sizes of published messages.
pub mod sizes;

/// One virtual host: declarations, bindings, routes.
pub mod vhost;

/// Changes of the topology, told on an exchange.
pub mod events;

/// Exchanges: from a key to destinations.
pub mod exchange;

/// Queues: waiting and delivered messages, consumers.
pub mod queue;

/// Values that are kept by their names.
pub mod parameters;

/// Policies: values for objects by their names.
pub mod policy;

/// Sockets, and clients that connect to them.
pub mod listener;

/// Settings: file, environment, flags.
pub mod config;

/// The table of what is spoken.
pub mod protocol;

/// Bytes that wait to be written to a client.
pub mod outbox;

/// Memory limits.
pub mod limits;

/// Calls at a time.
pub mod clock;

/// The history of a message that died.
pub mod death;

/// A message.
pub mod message;

/// Users, and what they may do.
pub mod access;

/// Patterns of names.
pub mod pattern;

/// Errors of a client, with their reply codes.
pub mod error;

/// Names and versions of this broker.
pub mod product;

/// Small files beside the log.
pub mod files;

/// Parts of keys and values in the log's table.
pub mod parts;

/// Values in DER.
pub mod der;

/// Values in Erlang's notation.
pub mod erlang;

/// Log lines.
pub mod telemetry;

/// Long documents, piece by piece.
pub mod pieces;

/// Turns of tasks on the runtime's threads.
pub mod turns;

/// Times for which tasks keep the runtime's threads.
#[cfg(tokio_unstable)]
pub mod polls;

/// The time that twice as much work takes.
#[cfg(test)]
mod growth;
