//! (client) Source "Kubernetes": the custom resources of a cluster, or of some of its namespaces.
//!
//! In: watches of the API server. Out: the [`World`], and writes of status and finalizers.
//! Does not know about brokers or the pipeline.

/// One reading, for `leveret plan`.
pub mod snapshot;

/// Lists and watches.
mod watch;

/// Statuses and finalizers.
mod write;

/// The objects as they stand in the cluster.
mod cache;

/// The status to write, and what is worth an event.
mod status;

/// Events.
mod events;

/// Secrets, looked up when they are needed.
mod secrets;

/// The API of each kind.
mod api;

use std::collections::HashMap;
use std::sync::{Arc, Once};

use futures::StreamExt;
use futures::stream;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch as channel};
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::object::{
    Connection, ConnectionError, EngineState, Kind, Object, ObjectKey, Reason, StatusReport, Tri, World,
};
use crate::resource::BrokerSpec;
use crate::source::dereference::{self, SecretData, dereference};
use crate::source::{Source, SourceError};
use cache::{Cache, Change, Unreadable};
use events::Events;
use secrets::Secrets;
use watch::Progress;
pub use watch::said;

/// Field manager of everything the operator writes, and the controller named in its events.
pub const MANAGER: &str = "leveret-operator";
/// Requests that write at the same time. More would only queue up in the API server.
const WRITERS: usize = 32;
/// Locks that keep the writes of one object in order; objects share them by hash.
const TURNS: usize = 256;

/// What all tasks of this source share.
struct Shared {
    client: Client,
    metrics: Metrics,
    cache: Mutex<Cache>,
    changed: channel::Sender<u64>,
    secrets: Secrets,
    events: Events,
    namespaces: Once,
    writers: Semaphore,
    turns: Vec<tokio::sync::Mutex<()>>,
    /// The newest report of each object that is being written; older ones give up.
    tickets: Mutex<HashMap<ObjectKey, write::Ticket>>,
}

impl Shared {
    fn bump(&self) {
        self.changed.send_modify(|number| *number += 1);
    }
}

/// The resources of a cluster. Its watches end when it is dropped.
pub struct Kubernetes {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    progress: Vec<channel::Receiver<Progress>>,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Kubernetes {
    /// Starts watching `namespaces`, or all when there are none. `instance` names this process in events.
    pub fn start(client: Client, namespaces: &[String], instance: String, metrics: Metrics) -> Self {
        let changed = channel::Sender::new(0);
        let shared = Arc::new(Shared {
            secrets: Secrets::new(client.clone(), changed.clone()),
            events: Events::start(client.clone(), instance, metrics.clone()),
            client,
            metrics,
            cache: Mutex::default(),
            changed,
            namespaces: Once::new(),
            writers: Semaphore::new(WRITERS),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::new(())).collect(),
            tickets: Mutex::default(),
        });
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let (mut tasks, mut progress) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            for scope in &scopes {
                let (done, is_done) = channel::channel(Progress::Unread);
                let follow = watch::follow_kind(Arc::clone(&shared), kind, scope.clone(), done);
                tasks.push(tokio::spawn(follow));
                progress.push(is_done);
            }
        }
        Self {
            shared,
            tasks,
            progress,
        }
    }

    /// Whether every kind has been read completely once.
    pub fn is_complete(&self) -> bool {
        self.progress.iter().all(|kind| *kind.borrow() == Progress::Read)
    }

    /// Waits until the world is known: every kind has been read completely once, or does not exist. Not waiting for a
    /// kind that does not exist lets the last objects go when the CRDs are being deleted.
    pub async fn completed(&self) {
        for kind in &self.progress {
            // The sender lives as long as its task, which only ends with this source.
            let _ = kind.clone().wait_for(|kind| *kind != Progress::Unread).await;
        }
    }
}

impl Kubernetes {
    /// Takes in how far a broker is that the operator runs itself; `None`: it does not run it any more.
    pub fn set_engine(&self, key: &ObjectKey, state: Option<EngineState>) {
        let change = self.shared.cache.lock().engine(key, state);
        if change == Change::World {
            self.shared.bump();
        }
    }
}

impl dereference::Secrets for Kubernetes {
    async fn secret(&self, namespace: &str, name: &str) -> Result<SecretData, ConnectionError> {
        self.shared.secrets.secret(namespace, name).await
    }
}

impl Source for Kubernetes {
    fn world(&self) -> Arc<World> {
        self.shared.cache.lock().world()
    }

    fn changed(&self) -> channel::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    async fn connection(&self, broker: &Object<BrokerSpec>) -> Result<Connection, ConnectionError> {
        dereference(broker, &self.shared.secrets).await
    }

    async fn write_status(&self, reports: Vec<StatusReport>) {
        stream::iter(reports)
            .for_each_concurrent(WRITERS * 2, |report| write::write_one(&self.shared, report))
            .await;
    }

    async fn ensure_finalizer(&self, key: &ObjectKey) -> Result<(), SourceError> {
        write::ensure_finalizer(&self.shared, key).await
    }

    async fn remove_finalizer(&self, key: &ObjectKey) -> Result<(), SourceError> {
        write::remove_finalizer(&self.shared, key).await
    }

    async fn warn(&self, key: &ObjectKey, reason: &'static str, message: String) {
        write::warn(&self.shared, key, reason, message);
    }
}

/// The status of an object that cannot even be read.
fn unreadable_report(unreadable: &Unreadable) -> StatusReport {
    let last = unreadable.written.status.last();
    StatusReport {
        key: unreadable.key.clone(),
        uid: unreadable.written.uid.clone(),
        generation: unreadable.generation,
        ready: Tri::False,
        reconciling: Tri::False,
        stalled: Tri::True,
        reason: Reason::InvalidArgument,
        message: format!(
            "spec cannot be read by this version of the operator: {}",
            unreadable.why
        ),
        name: last.name,
        vhost: last.vhost,
        applied: last.applied,
        did_something: false,
        broker: None,
        queue: None,
    }
}

#[cfg(test)]
mod tests;
