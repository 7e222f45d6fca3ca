//! The pipeline: one loop for each broker, which keeps it in step with the resources that refer to it.
//!
//! In: a `Source` and a way to connect to brokers. Out: brokers that stand as declared, and statuses.
//! The steps in order: dereference (source), `desired` (pure), `observe` (broker), `difference` (pure), `apply`
//! (broker), `report` (pure), write (source). The modules stand from the loop down to the first step, since each names
//! only those below it. Does not know about Kubernetes, files, or the wire.

/// The loop: waits, and makes a pass.
mod reconcile;

/// One pass: all steps.
mod pass;

/// A Broker that is being deleted.
mod parting;

/// Resources of a Broker that is another operator's to see.
mod aside;

/// Reports, where something is new.
mod tell;

/// The life of the connection.
mod link;

/// The settings of a broker, as it says.
mod settings;

/// A connection in place of one that is up.
mod renewal;

/// An attempt to connect.
mod connect;

/// The parts that all loops share.
mod shared;

/// Reports to the source, by a task.
mod writer;

/// Finalizers, many at the same time.
mod finalizer;

/// Drift, put back and told.
mod repair;

/// The states of ZeroMQ sockets.
mod sockets;

/// The numbers of queues, spread out.
mod pace;

/// Steps that failed, and when they are tried again.
mod troubles;

/// The memory of a loop between two passes.
mod memory;

/// Several Brokers for one broker.
mod twins;

/// Step 6: what a user is told.
pub mod report;

/// Reasons why there is no connection.
pub mod away;

/// Step 5: a plan, carried out.
pub mod apply;

/// Step 4: what has to be done.
pub mod difference;

/// Step 3: what stands on the broker.
pub mod observe;

/// Step 2: what should stand there.
pub mod desired;

/// A part of it: what a Broker lets a namespace ask for.
mod tenancy;

/// A part of it: passwords, keys and users that a spec refers to.
mod referred;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::broker::Connector;
use crate::metrics::Metrics;
use crate::object::{ObjectKey, Snapshot};
use crate::source::Source;
use reconcile::Reconciler;
pub use shared::Settings;
use shared::Shared;
use twins::Twins;

/// Runs the pipeline until `shutdown`: a loop for each broker that exists or is referred to. Returns when all loops
/// have ended; each ends within seconds.
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
        twins: Twins::default(),
    });
    let mut changed = source.changed();
    let mut loops: BTreeMap<ObjectKey, (CancellationToken, JoinHandle<()>)> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        let needed = needed(&source.snapshot());
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
        // Most often it is one of many, and no Broker.
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep(shared.settings.debounce) => {}
        }
    }
    for (token, task) in loops.into_values() {
        token.cancel();
        if let Err(error) = task.await {
            tracing::error!("a sync loop ended early: {error}");
        }
    }
}

/// The brokers that have a loop. The snapshot must not be kept while waiting: its next change would be one of a copy.
fn needed(snapshot: &Snapshot) -> BTreeSet<ObjectKey> {
    let mut needed = desired::broker_keys(snapshot);
    needed.retain(|key| !snapshot.others.contains(key));
    needed
}

#[cfg(test)]
mod tests;
