//! One virtual host: its exchanges, queues and bindings, and the rules by which they come and go.
//!
//! Comes in: declarations from channels and the HTTP API, routing keys. Goes out: queues, and positions in the log that
//! a reply has to wait for. Does not know about channels or connections.
//!
//! The operations in the order of a queue's life, then what they share, downwards.

/// Vhosts as they were, from the log.
pub mod restore;

/// The end of a vhost.
pub mod end;

/// New exchanges and queues.
pub mod declare;

/// Bindings, made and removed.
pub mod bind;

/// Exchanges and queues deleted.
pub mod delete;

/// Policies, made and removed.
pub mod policy;

/// Events.
pub mod tell;

/// Dead letters, moved on.
pub mod dead_letter;

/// Routes that a connection remembers.
pub mod routes;

/// From a message to its queues.
pub mod route;

/// Declarations of what exists.
mod equivalence;

/// The objects of a vhost.
pub mod state;

/// Published messages, counted.
pub mod published;

/// Objects, counted.
mod declared;

/// The things that all vhosts share.
pub mod shared;

/// Queues by number.
pub mod directory;

/// Names that are the broker's own.
pub mod names;

/// The topology as bytes.
pub mod record;

/// Records, appended a portion at a time.
mod portions;

/// Settings of a vhost.
pub mod settings;

/// Numbers of queues.
pub mod ids;

pub use state::{Change, Entered, Topology, Vhost};

#[cfg(test)]
mod tests;
