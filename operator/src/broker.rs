//! What the pipeline asks of a broker: list everything, carry out operations, tell of changes.
//!
//! In: `Operation`s. Out: topology, `Event`s, and the broker's own words when it refuses.
//! Does not know about resources, sources, or why an operation is wanted.

/// A connection with all its parts.
pub mod connect;

/// The management API: lists.
pub mod http;

/// Changes, as the broker tells them.
pub mod events;

/// Operations by AMQP.
pub mod amqp;

/// Lists, row by row.
mod rows;

/// Reasons why a broker cannot be connected to, in sentences.
mod trouble;

/// Memory for the lists of all brokers.
pub mod budget;

/// The hosts that may be connected to.
pub mod hosts;

/// A broker in memory, for tests.
#[cfg(test)]
pub(crate) mod fake;

/// The calls of the pipeline to a broker.
mod client;

pub use crate::topology::{Operation, Order};
pub use client::{About, Backlogs, BindingEvent, Client, Connector, Dialect, Error, Event, Settled};
pub use connect::DEFAULT_VHOST;
pub use events::EXCHANGE as EVENTS;
