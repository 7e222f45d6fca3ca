//! (client) The brokers that the operator runs itself, kept as their `Broker` says.
//!
//! In: the source's `Broker`s, and what stands in the cluster. Out: objects applied, and for each broker how far they
//! are. Does not know about what the objects look like (that is `crate::engine`), nor about the broker's wire.

/// A pass over a broker when it or one of its objects has changed.
pub mod run;

/// The objects of one broker, applied.
pub mod keeper;

/// The objects that stand in the cluster.
pub mod children;
