//! Limits: of memory and disk space, at which publishers must wait; of descriptors, at which connections are refused;
//! of numbers and sizes of what clients make.
//!
//! Comes in: memory of messages, figures of the kernel, numbers. Goes out: alarms, refusals. Knows of connections only
//! that they can be woken.

/// The thread that looks.
pub mod watch;

/// Memory that the process may use.
pub mod available;

/// Free disk space.
pub mod disk;

/// File descriptors.
pub mod descriptors;

/// Bodies that arrive in pieces.
pub mod bodies;

/// Clients that have not logged in.
pub mod logins;

/// Messages that clients have not acknowledged.
pub mod delivered;

/// Memory of messages and of the process.
pub mod memory;

/// Memory that is not messages.
pub mod held;

/// Sizes of tables.
pub mod tables;

/// Numbers of things, and the most of each.
pub mod quotas;

/// Alarms, and the publishers that wait.
pub mod alarms;

/// Those who wait.
pub mod waiter;

/// Time between looks.
pub mod pause;

pub use alarms::Alarms;
pub use descriptors::Descriptors;
pub use held::{Held, Holding};
pub use memory::{Full, Memory};
pub use quotas::{Counted, Most, Quota, Quotas, Reached};
pub use waiter::Waiter;
