//! What the loops of all brokers share: the source, the way to connect, settings, and the sums of resources.
//!
//! In: settings. Out: `Shared`. Does not know about the loops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::object::{Kind, ObjectKey};

/// The pipeline's times.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the connections, as the broker shows them.
    pub connection_name: String,
    /// Between two complete lists of a broker that tells of its changes.
    pub resync: Duration,
    /// Between two complete lists of a broker that does not.
    pub resync_without_events: Duration,
    /// Pause after a change, in which others come to be handled in the same pass.
    pub debounce: Duration,
    /// Longest wait of a deletion for a broker that does not answer.
    pub deletion_timeout: Duration,
    /// Time for which a broker may be away before its resources are no longer called Ready.
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

impl Settings {
    /// Between two complete lists of a broker.
    pub(super) fn between_lists(&self, has_events: bool) -> Duration {
        match has_events {
            true => self.resync,
            false => self.resync_without_events,
        }
    }
}

/// The parts that all loops share.
pub(super) struct Shared<S, N> {
    pub(super) source: Arc<S>,
    pub(super) connector: N,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) tally: Mutex<Tally>,
}

/// Resources by broker and kind: (ready, not ready).
pub(super) type Tally = BTreeMap<ObjectKey, BTreeMap<Kind, (usize, usize)>>;

impl<S, N> Shared<S, N> {
    /// Counts the resources of one broker, each with whether it is Ready, and sets the sums over all brokers.
    pub(super) fn count(&self, broker: &ObjectKey, resources: impl Iterator<Item = (Kind, bool)>) {
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
