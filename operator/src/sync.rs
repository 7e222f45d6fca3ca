//! The pipeline: one loop for each broker, which keeps it in step with the resources that refer to it.
//!
//! In: a [`Source`] and a way to connect to brokers. Out: brokers that stand as declared, and statuses.
//! The steps in order: dereference (source), [`desired`] (pure), [`observe`] (broker), [`difference`] (pure), [`apply`]
//! (broker), [`report`] (pure), write (source). Does not know about Kubernetes, files, or the wire.

pub mod desired;

pub mod observe;

pub mod difference;

pub mod apply;

pub mod report;

mod memory;

mod pace;

mod link;

mod finalizer;

mod writer;

mod reconcile;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Connector;
use crate::metrics::Metrics;
use crate::object::{Kind, ObjectKey};
use crate::source::Source;
use reconcile::Reconciler;

/// How the pipeline behaves in time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the connections, as the broker shows them.
    pub connection_name: String,
    /// Between two complete lists of a broker that tells of its changes.
    pub resync: Duration,
    /// Between two complete lists of a broker that does not.
    pub resync_without_events: Duration,
    /// How long after a change others are waited for, to be handled in one pass.
    pub debounce: Duration,
    /// How long the deletion of a resource waits for a broker that does not answer.
    pub deletion_timeout: Duration,
    /// How long a broker may be away before its resources are no longer called Ready.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection_name: "leveret-operator".to_owned(),
            resync: Duration::from_secs(30),
            resync_without_events: Duration::from_secs(5),
            debounce: Duration::from_millis(20),
            deletion_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(2),
        }
    }
}

/// What all loops share.
struct Shared<S, N> {
    source: Arc<S>,
    connector: N,
    settings: Settings,
    metrics: Metrics,
    tally: Mutex<Tally>,
}

/// Resources by broker and kind: (ready, not ready).
type Tally = BTreeMap<ObjectKey, BTreeMap<Kind, (usize, usize)>>;

impl<S, N> Shared<S, N> {
    /// Counts the resources of one broker, each with whether it is Ready, and sets the sums over all brokers.
    fn count(&self, broker: &ObjectKey, resources: impl Iterator<Item = (Kind, bool)>) {
        let mut numbers: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
        for (kind, ready) in resources {
            let number = numbers.entry(kind).or_default();
            *(if ready { &mut number.0 } else { &mut number.1 }) += 1;
        }
        let mut tally = self.tally.lock();
        tally.insert(broker.clone(), numbers);
        for kind in Kind::ALL {
            let (ready, not_ready) = tally
                .values()
                .filter_map(|numbers| numbers.get(&kind))
                .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            self.metrics.objects(kind, ready, not_ready);
        }
    }
}

/// Runs the pipeline until `shutdown`: a loop for each broker that exists or is referred to. Returns when all loops have
/// ended; each ends within seconds.
pub async fn run<S: Source, N: Connector>(
    source: Arc<S>,
    connector: N,
    settings: Settings,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared {
        source: Arc::clone(&source),
        connector,
        settings,
        metrics,
        tally: Mutex::default(),
    });
    let mut changed = source.changed();
    let mut loops: BTreeMap<ObjectKey, (CancellationToken, JoinHandle<()>)> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        let needed = desired::broker_keys(&source.world());
        loops.retain(|key, (token, _)| {
            let keep = needed.contains(key);
            if !keep {
                token.cancel();
            }
            keep
        });
        for key in needed {
            loops.entry(key.clone()).or_insert_with(|| {
                let token = shutdown.child_token();
                let reconciler = Reconciler::new(key, Arc::clone(&shared));
                (token.clone(), tokio::spawn(reconciler.run(token)))
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = changed.changed() => if changed.is_err() { break },
        }
    }
    for (token, task) in loops.into_values() {
        token.cancel();
        if let Err(error) = task.await {
            tracing::error!("a sync loop ended early: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
