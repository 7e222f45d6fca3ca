//! Counters of one queue, and what can be said from them: rates, depth, memory.
//!
//! Comes in: increments under the queue's lock. Goes out: a snapshot for the HTTP API and the metrics.

use super::{Queue, State};
use std::time::Instant;

/// Counts since the queue was declared or the broker started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Messages that were routed to it.
    pub published: u64,
    /// Delivered to consumers that acknowledge.
    pub delivered: u64,
    /// Delivered to consumers that don't.
    pub delivered_no_ack: u64,
    /// Fetched by basic.get, to be acknowledged.
    pub got: u64,
    /// Fetched by basic.get without acknowledgement.
    pub got_no_ack: u64,
    /// basic.get that found nothing.
    pub get_empty: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Delivered or fetched again.
    pub redelivered: u64,
    /// When something last happened.
    pub last_active: Option<Instant>,
}

impl Totals {
    pub(super) fn touch(&mut self) {
        self.last_active = Some(Instant::now());
    }
}

/// A queue at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Counters.
    pub totals: Totals,
    /// Waiting messages.
    pub ready: usize,
    /// Delivered, not yet acknowledged.
    pub unacked: usize,
    /// Bodies of the waiting messages, bytes.
    pub ready_bytes: u64,
    /// Bodies of the unacknowledged messages, bytes.
    pub unacked_bytes: u64,
    /// Waiting messages that the log holds, and their bodies in bytes.
    pub persistent: (usize, u64),
    /// Memory that messages take, bytes.
    pub memory: u64,
    /// Consumers.
    pub consumers: usize,
}

impl Queue {
    /// The queue as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().snapshot()
    }
}

impl State {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            totals: self.totals,
            ready: self.ready.len(),
            unacked: self.unsettled.len(),
            ready_bytes: self.ready.body_bytes(),
            unacked_bytes: self.unsettled.body_bytes(),
            persistent: self.ready.durable(),
            memory: self.ready.resident() + self.unsettled.resident(),
            consumers: self.consumers.len(),
        }
    }
}
