//! What the pipeline asks of a source.
//!
//! In: calls of the pipeline. Out: resources and connections, written statuses and finalizers.
//! Does not know about any source.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::object::{Connection, ConnectionError, Object, ObjectKey, Snapshot, StatusReport};
use crate::resource::BrokerSpec;

/// A write to the source failed; it is tried again with back-off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// The origin of resources, and the destination of their status.
pub trait Source: Send + Sync + 'static {
    /// The resources as they stand now. Before the first complete read the source is not given to the pipeline.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// A number that grows, coalesced, whenever [`Source::snapshot`] or anything a connection depends on has changed.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Dereferences a broker: its address, credentials and CA. Called before each connection attempt and whenever the
    /// source has changed while the broker is not connected.
    fn connection(
        &self,
        broker: &Object<BrokerSpec>,
    ) -> impl Future<Output = Result<Connection, ConnectionError>> + Send;

    /// Writes statuses, concurrently inside, trying again by itself as long as the resource still exists. Returns when
    /// all are written or superseded. A resource that is gone or was recreated (other `uid`) is skipped.
    fn write_status(&self, reports: Vec<StatusReport>) -> impl Future<Output = ()> + Send;

    /// Adds the finalizer; a no-op when it is there. Called before the first declare of a resource.
    fn ensure_finalizer(&self, key: &ObjectKey) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Removes the finalizer; a no-op when the resource is gone.
    fn remove_finalizer(&self, key: &ObjectKey) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Tells the user something that no condition can hold, because the resource is about to go: a warning event in
    /// Kubernetes, a line in the terminal.
    fn warn(&self, key: &ObjectKey, reason: &'static str, message: String) -> impl Future<Output = ()> + Send;

    /// Tells those who run the operator something that must be found after the resource and its namespace have gone: a
    /// warning event beside the operator's Lease in Kubernetes; elsewhere nothing more than [`Source::warn`] said.
    fn announce(&self, reason: &'static str, message: String) -> impl Future<Output = ()> + Send {
        let _ = (reason, message);
        std::future::ready(())
    }
}
