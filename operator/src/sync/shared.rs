//! What the loops of all brokers share: the source, the way to connect, settings, and who is connected to whom.
//!
//! In: settings. Out: `Shared`. Does not know about the loops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::twins::Twins;
use crate::metrics::Metrics;
use crate::object::ObjectKey;

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
    /// Least time between two writes of the numbers of a queue; `None`: no numbers are written.
    pub queue_numbers: Option<Duration>,
    /// Time for which a broker may be away before its resources are no longer called Ready.
    pub grace: Duration,
    /// Time for which a new resource need not be told what other resource it waits for: most often that comes.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection_name: "leveret-operator".to_owned(),
            resync: Duration::from_secs(30),
            resync_without_events: Duration::from_secs(5),
            debounce: Duration::from_millis(20),
            deletion_timeout: Duration::from_secs(60),
            queue_numbers: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(2),
            // The second attempt at it is a second after the first.
            patience: Duration::from_secs(2),
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
    pub(super) twins: Twins,
}

impl<S, N> Shared<S, N> {
    /// Brokers that lead to the same broker as this one.
    pub(super) fn twins(&self, broker: &ObjectKey) -> BTreeSet<ObjectKey> {
        self.twins.of(broker)
    }
}
