//! An AMQP 0-9-1 broker in RabbitMQ's dialect.
//!
//! The modules in the order of a message's way: accepted and read, taken apart by a channel, routed by a vhost, kept by a queue and
//! the log, delivered back through a channel to a connection. Then what stands beside the way.
//!
//! server > listener > connection > channel > vhost > {exchange, queue} > store

#![warn(missing_docs)]

/// Settings: file, environment, flags.
pub mod config;

/// Small files beside the log.
pub mod files;

/// Start and drain.
pub mod server;

/// Sockets that are accepted.
pub mod listener;

/// One client: socket, handshake, frames.
pub mod connection;

/// One channel: methods, content, confirms, transactions, deliveries.
pub mod channel;

/// What a client is told when something is wrong.
pub mod error;

/// One virtual host: declarations, bindings, routes.
pub mod vhost;

/// Exchanges: from a key to destinations.
pub mod exchange;

/// Queues: waiting and delivered messages, consumers.
pub mod queue;

/// A message.
pub mod message;

/// The HTTP API.
pub mod admin;

/// What is measured, under which names.
pub mod metrics;

/// What happened to the topology, told on an exchange.
pub mod events;

/// Users, and what they may do.
pub mod access;

/// Memory limits.
pub mod limits;

/// What all connections share.
pub mod node;

/// A data directory, verified offline.
pub mod check;

/// Settings that change while the broker runs.
pub mod reload;

/// Log lines.
pub mod telemetry;

/// How long tasks keep the runtime's threads.
#[cfg(tokio_unstable)]
pub mod polls;
