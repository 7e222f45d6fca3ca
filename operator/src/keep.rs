//! (client) The objects that the operator makes in the cluster: those of brokers that it runs itself, and Secrets of
//! Users and ZeroMQ sockets.
//!
//! In: the source's `Broker`s, `User`s and `ZeroMqSocket`s, and what stands in the cluster. Out: objects applied, for
//! each broker how far they are, for each User its password, for each socket its key. Does not know about what the
//! objects look like (that is `crate::engine`), nor about the broker's wire.

/// A pass over a broker when it or one of its objects has changed.
pub mod run;

/// The passwords of Users.
pub mod users;

/// The keys of ZeroMQ sockets.
pub mod keys;

/// Secrets that were made for Users and sockets, as they stand in the cluster.
mod made;

/// Attempts, with pauses.
mod retries;

/// Resources that something is made for.
pub mod ours;

/// The objects of one broker, applied.
pub mod keeper;

/// The objects that stand in the cluster.
pub mod children;

/// The cluster's keys.
pub mod cluster_keys;

/// The wait between two passes, and what ends it.
mod turn;
