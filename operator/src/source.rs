//! The seam between where resources come from (Kubernetes, a folder) and the pipeline that reconciles them.
//!
//! In: whatever a source reads. Out: `Snapshot`, a cheap snapshot of all resources, and `StatusReport`s that go
//! back. Does not know about brokers, the wire, or the pipeline's steps.
//!
//! What comes from the API server has passed the schema and CEL rules of the CRDs; what comes from files passes
//! `crate::resource::admission::admit` while it is read, which says the same.

/// Resources in a cluster.
pub mod kubernetes;

/// Resources in a folder of manifests.
pub mod folder;

/// From a `Broker` and its Secrets to a connection.
pub mod dereference;

/// The password in a Secret that a User names.
pub mod brought;

/// Which Broker a Secret is for.
pub mod grant;

/// The calls of the pipeline to a source.
mod seam;

pub use seam::{Source, SourceError};
