//! The vocabulary of everything below: resources as plain values, and the statuses that go back to them.
//!
//! In: what a source has read, what the pipeline has found. Out: types that both sides share.
//! Does not know about sources, brokers, or the pipeline's steps.

/// All resources at one time.
pub mod snapshot;

/// A resource: metadata and spec.
pub mod meta;

/// The status of a resource, as it is reported.
pub mod report;

/// Passwords, as brokers keep them.
pub mod password;

/// Keys of CURVE.
pub mod curve;

/// The reasons in conditions and events.
pub mod reason;

/// The way to a broker: addresses, credentials.
pub mod connection;

/// The name of a resource.
pub mod key;

pub use connection::{Connection, ConnectionError, Identity, Via};
pub use curve::{CurveKey, ServerKey};
pub use key::{Group, GroupKind, Kind, ObjectKey};
pub use meta::{
    AMQP_URI, FINALIZER, FORCE_DELETE, LastStatus, MANAGEMENT_URI, Meta, OBSERVE, Object, PAUSED, is_confirmed, is_set,
};
pub use password::{Hash, Password};
pub use reason::{ConditionStatus, Reason};
pub use report::{BrokerFacts, QueueNumbers, SocketFacts, StatusReport, Usage};
pub use snapshot::{AnyObject, EngineState, Kinded, Outlook, Snapshot};
