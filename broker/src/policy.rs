//! Policies: values for queues and exchanges by their names, and which of them count for which object.
//!
//! Comes in: policies as a client sends them or as the log has them; kinds and names of objects. Goes out: the policies
//! that apply to an object, merged as RabbitMQ merges them; RabbitMQ's words for one that can't be. Pure.
//! Does not know about queues and exchanges, nor what becomes of a value there.

/// The change of one policy.
pub mod change;

/// All policies of a vhost.
pub mod set;

/// The policies that apply to one object.
pub mod applied;

/// One policy.
pub mod rule;

/// The keys of a definition.
pub mod keys;

/// The objects that a policy is for, by their kind.
pub mod kind;

pub use applied::Applied;
pub use change::Change;
pub use kind::{ApplyTo, Kind};
pub use rule::{Class, Policy};
pub use set::Policies;
