//! Counters of one queue, and its state in figures.
//!
//! Comes in: increments under the queue's lock. Goes out: snapshots, and sums of them, for the HTTP API and the
//! metrics.

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
    /// Time of the last change.
    pub last_active: Option<Instant>,
}

impl Totals {
    /// Adds another queue's counts.
    pub fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.delivered_no_ack += other.delivered_no_ack;
        self.got += other.got;
        self.got_no_ack += other.got_no_ack;
        self.get_empty += other.get_empty;
        self.acked += other.acked;
        self.redelivered += other.redelivered;
        self.last_active = self.last_active.max(other.last_active);
    }

    /// Messages handed out in any way (RabbitMQ's `deliver_get`).
    pub fn handed_out(&self) -> u64 {
        self.delivered + self.delivered_no_ack + self.got + self.got_no_ack
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.last_active = Some(now);
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
    /// Waiting messages that the log has.
    pub persistent: usize,
    /// Bodies of these messages, bytes.
    pub persistent_bytes: u64,
    /// Memory that messages take, bytes.
    pub memory: u64,
    /// Consumers.
    pub consumers: usize,
}

impl Snapshot {
    /// Adds another queue.
    pub fn add(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.ready += other.ready;
        self.unacked += other.unacked;
        self.ready_bytes += other.ready_bytes;
        self.unacked_bytes += other.unacked_bytes;
        self.persistent += other.persistent;
        self.persistent_bytes += other.persistent_bytes;
        self.memory += other.memory;
        self.consumers += other.consumers;
    }
}
