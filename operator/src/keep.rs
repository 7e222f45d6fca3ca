//! (client) The objects that the operator makes in the cluster: those of brokers that it runs itself, and Secrets of
//! Users.
//!
//! In: the source's `Broker`s and `User`s, and what stands in the cluster. Out: objects applied, for each broker how
//! far they are, and for each User its password. Does not know about what the objects look like (that is
//! `crate::engine`), nor about the broker's wire.

/// A pass over a broker when it or one of its objects has changed.
pub mod run;

/// The passwords of Users.
pub mod users;

/// The objects of one broker, applied.
pub mod keeper;

/// The objects that stand in the cluster.
pub mod children;

/// The cluster's keys.
pub mod cluster_keys;

/// The wait between two passes, and what ends it.
mod turn;
