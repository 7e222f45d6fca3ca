//! A look at a queue: its figures and consumers.
//!
//! Comes in: nothing. Goes out: copies of what stands behind the lock, for the HTTP API and the metrics.

use super::arguments::Overflow;
use super::consumers::Consumer;
use super::state::Queue;
use super::totals::Snapshot;
use leveret_amqp::properties::raw;

impl Queue {
    /// The queue in figures.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        let mut snapshot = state.snapshot();
        let values = self.values(&state);
        if values.dead_letter_exchange.is_some() {
            snapshot.dead_lettered = snapshot.totals.deaths();
            if values.overflow == Some(Overflow::Reject) {
                snapshot.dead_lettered.maxlen = 0; // refused, and no dead letters
            }
        }
        snapshot
    }

    /// True if messages that it refuses, because it is full, become dead letters.
    pub fn buries_refused(&self) -> bool {
        let rejecting = self.state.lock().rejecting();
        rejecting.is_some_and(|bounds| bounds.overflow == Overflow::RejectToDeadLetters)
    }

    /// Calls `visit` for each consumer, under the lock: keep it short.
    pub fn each_consumer(&self, visit: impl FnMut(&Consumer)) {
        self.state.lock().consumers.iter().for_each(visit);
    }

    /// The timestamp property of the first waiting message, if it has one and is in memory.
    pub fn head_timestamp(&self) -> Option<u64> {
        let state = self.state.lock();
        let message = state.ready.first()?.message.as_ref()?;
        raw::timestamp(message.properties())
    }
}
