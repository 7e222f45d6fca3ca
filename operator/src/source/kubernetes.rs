//! (client) Source "Kubernetes": the custom resources of a cluster, or of some of its namespaces.
//!
//! In: watches of the API server. Out: the `Snapshot`, and writes of status and finalizers.
//! Does not know about brokers or the pipeline.

/// One reading, for `leveret plan`.
pub mod snapshot;

/// Brokers that are claimed, and those of others.
mod claims;

/// Lists and watches.
mod watch;

/// Statuses and finalizers.
mod write;

/// The parts that the tasks share.
mod shared;

/// Events.
mod events;

/// Secrets, looked up when they are needed.
mod secrets;

/// The objects as they stand in the cluster.
mod cache;

/// Resources of RabbitMQ's topology operator, as that operator reads and writes them.
mod theirs;

/// Names of users that stand elsewhere.
mod names;

/// The status to write, and what is worth an event.
mod status;

/// One operator for a Broker.
mod claim;

/// A watch that fails.
mod pauses;

/// The operator among others.
mod operator;

/// Names by which the API server knows things.
mod api;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use kube::Client;
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::object::{
    Connection, ConnectionError, EngineState, Group, GroupKind, Kind, Object, ObjectKey, Password, ServerKey, Snapshot,
    StatusReport,
};
use crate::resource::BrokerSpec;
use crate::source::dereference::{self, SecretData, Trust, dereference};
use crate::source::seam::{Source, SourceError};
pub use api::MANAGER;
use api::THEIRS;
use cache::Change;
use events::{Told, When};
pub use operator::Operator;
pub use pauses::said;
use shared::{Shared, WRITERS};
use watch::Progress;

/// The resources of a cluster. Its watches end when it is dropped.
pub struct Kubernetes {
    shared: Arc<Shared>,
    trust: Trust,
    tasks: Vec<JoinHandle<()>>,
    progress: Vec<(GroupKind, channel::Receiver<Progress>)>,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Kubernetes {
    /// Starts watching `namespaces`, or all when there are none, for `operator`: its own kinds, and those of `groups`.
    pub fn start(
        client: Client,
        namespaces: &[String],
        groups: &[Group],
        trust: Trust,
        operator: Operator,
        metrics: Metrics,
    ) -> Self {
        let shared = Arc::new(Shared::start(client, namespaces, operator, metrics));
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let (mut tasks, mut progress) = (Vec::new(), Vec::new());
        let theirs = groups.iter().filter(|group| **group != Group::Leveret);
        let theirs = theirs.flat_map(|group| THEIRS.map(|kind| GroupKind { group: *group, kind }));
        for kind in Kind::OWN.into_iter().map(GroupKind::from).chain(theirs) {
            for scope in &scopes {
                let (done, is_done) = channel::channel(Progress::Unread);
                let follow = watch::follow_kind(Arc::clone(&shared), kind, scope.clone(), done);
                tasks.push(tokio::spawn(follow));
                progress.push((kind, is_done));
            }
        }
        Self {
            shared,
            trust,
            tasks,
            progress,
        }
    }

    /// True once every kind has been read completely, wherever that is allowed.
    pub fn is_complete(&self) -> bool {
        let count = |is: fn(Group, Progress) -> bool| {
            let all = self.progress.iter();
            all.filter(|(kind, progress)| is(kind.group, *progress.borrow()))
                .count()
        };
        // A namespace that is gone, or not given to this operator, is no reason for not being ready for the others; nor
        // are kinds of another operator's that are not there.
        let fine = count(|group, progress| match progress {
            Progress::Read | Progress::Forbidden => true,
            Progress::NotInstalled => group != Group::Leveret,
            Progress::Unread => false,
        });
        count(|group, progress| group == Group::Leveret && progress == Progress::Read) > 0
            && fine == self.progress.len()
    }

    /// Waits until what no condition tells has been told.
    pub async fn flush(&self) {
        self.shared.events.flush().await;
    }

    /// Claims the Brokers that no other operator keeps, until `stop`. What another one keeps is taken over after at
    /// most twice `patience` without a sign of it.
    pub async fn claim(&self, patience: Duration, stop: CancellationToken) {
        claims::run(&self.shared, patience, stop).await;
    }

    /// Waits until the snapshot is known: every kind has been read completely once, or does not exist, or may not
    /// be read. Not waiting for
    /// a kind that does not exist lets the last objects go when the CRDs are being deleted.
    pub async fn completed(&self) {
        for (_, progress) in &self.progress {
            // The sender lives as long as its task, which only ends with this source.
            let _ = progress
                .clone()
                .wait_for(|progress| *progress != Progress::Unread)
                .await;
        }
    }
}

impl Kubernetes {
    /// Takes in how far a broker is that the operator runs itself; `None`: it does not run it any more.
    pub fn set_engine(&self, key: &ObjectKey, state: Option<EngineState>) {
        let change = self.shared.cache.lock().engine(key, state);
        if change == Change::Relevant {
            self.shared.bump();
        }
    }

    /// Takes in the passwords of all Users whose specs only say where they are.
    pub fn set_passwords(&self, all: &BTreeMap<ObjectKey, Password>) {
        let change = self.shared.cache.lock().passwords(all);
        if change == Change::Relevant {
            self.shared.bump();
        }
    }

    /// Takes in the keys of all ZeroMQ sockets that need one.
    pub fn set_keys(&self, all: &BTreeMap<ObjectKey, ServerKey>) {
        let change = self.shared.cache.lock().keys(all);
        if change == Change::Relevant {
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
    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.cache.lock().snapshot()
    }

    fn changed(&self) -> channel::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    async fn connection(&self, broker: &Object<BrokerSpec>) -> Result<Connection, ConnectionError> {
        dereference(broker, &self.shared.secrets, self.trust).await
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

    async fn announce(&self, reason: &'static str, message: String) {
        self.shared.events.tell(Told {
            about: self.shared.operator.lease(),
            warning: true,
            reason,
            message,
            when: When::Aside,
            by_the_dozen: false,
        });
    }
}

#[cfg(test)]
mod tests;
