//! Counters of one queue, and its state in figures.
//!
//! Comes in: increments under the queue's lock. Goes out: snapshots, and sums of them, for the HTTP API and the
//! metrics.

use super::arguments::QueueType;
use std::time::{Duration, Instant};

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
    /// Dropped or refused because the queue was at its limit.
    pub dropped: u64,
    /// Taken out because their time was over.
    pub expired: u64,
    /// Rejected for good.
    pub rejected: u64,
    /// Taken out because they had failed too often.
    pub worn_out: u64,
    /// Time of the last change.
    pub last_active: Option<Instant>,
}

impl Totals {
    /// Adds another queue's counts.
    pub fn add(&mut self, other: &Self) {
        // All fields by name, so that none is forgotten.
        let &Self {
            published,
            delivered,
            delivered_no_ack,
            got,
            got_no_ack,
            get_empty,
            acked,
            redelivered,
            dropped,
            expired,
            rejected,
            worn_out,
            last_active,
        } = other;
        self.published += published;
        self.delivered += delivered;
        self.delivered_no_ack += delivered_no_ack;
        self.got += got;
        self.got_no_ack += got_no_ack;
        self.get_empty += get_empty;
        self.acked += acked;
        self.redelivered += redelivered;
        self.dropped += dropped;
        self.expired += expired;
        self.rejected += rejected;
        self.worn_out += worn_out;
        self.last_active = self.last_active.max(last_active);
    }

    /// Messages handed out in any way (RabbitMQ's `deliver_get`).
    pub fn handed_out(&self) -> u64 {
        self.delivered + self.delivered_no_ack + self.got + self.got_no_ack
    }

    /// Messages that left without being acknowledged.
    pub fn deaths(&self) -> Deaths {
        Deaths {
            rejected: self.rejected,
            expired: self.expired,
            maxlen: self.dropped,
            delivery_limit: self.worn_out,
        }
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.last_active = Some(now);
    }
}

/// Counts of messages that left without being acknowledged, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaths {
    /// Rejected for good.
    pub rejected: u64,
    /// Their time was over.
    pub expired: u64,
    /// The queue was at its limit.
    pub maxlen: u64,
    /// They had failed too often.
    pub delivery_limit: u64,
}

impl Deaths {
    fn add(&mut self, other: &Self) {
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.maxlen += other.maxlen;
        self.delivery_limit += other.delivery_limit;
    }
}

/// A queue at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Counters.
    pub totals: Totals,
    /// Deaths, among the counters, in a queue with a dead-letter exchange.
    pub dead_lettered: Deaths,
    /// Waiting messages.
    pub ready: usize,
    /// Delivered, not yet acknowledged.
    pub unacked: usize,
    /// Waiting for another attempt.
    pub delayed: usize,
    /// Bodies of these messages, bytes.
    pub delayed_bytes: u64,
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
    /// Time for which messages waited although there were consumers.
    pub held: Duration,
}

impl Snapshot {
    /// All messages.
    pub fn messages(&self) -> usize {
        self.ready + self.unacked + self.delayed
    }

    /// Bodies of all messages, bytes.
    pub fn bytes(&self) -> u64 {
        self.ready_bytes + self.unacked_bytes + self.delayed_bytes
    }

    /// The counters alone: what is left of a queue that is deleted.
    pub fn counts(&self) -> Self {
        Self {
            totals: self.totals,
            dead_lettered: self.dead_lettered,
            ..Self::default()
        }
    }

    /// Adds another queue.
    pub fn add(&mut self, other: &Self) {
        let &Self {
            ref totals,
            ref dead_lettered,
            ready,
            unacked,
            delayed,
            delayed_bytes,
            ready_bytes,
            unacked_bytes,
            persistent,
            persistent_bytes,
            memory,
            consumers,
            held,
        } = other;
        self.totals.add(totals);
        self.dead_lettered.add(dead_lettered);
        self.ready += ready;
        self.unacked += unacked;
        self.delayed += delayed;
        self.delayed_bytes += delayed_bytes;
        self.ready_bytes += ready_bytes;
        self.unacked_bytes += unacked_bytes;
        self.persistent += persistent;
        self.persistent_bytes += persistent_bytes;
        self.memory += memory;
        self.consumers += consumers;
        self.held += held;
    }
}

/// Sums over the queues of each type.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByType {
    classic: Snapshot,
    quorum: Snapshot,
}

impl ByType {
    /// Adds a queue of this type.
    pub fn add(&mut self, queue_type: QueueType, queue: &Snapshot) {
        match queue_type {
            QueueType::Classic | QueueType::Stream => self.classic.add(queue),
            QueueType::Quorum => self.quorum.add(queue),
        }
    }

    /// Adds the sums of other queues.
    pub fn add_all(&mut self, others: &Self) {
        for (queue_type, sum) in others.each() {
            self.add(queue_type, sum);
        }
    }

    /// The sums.
    pub fn each(&self) -> [(QueueType, &Snapshot); 2] {
        [(QueueType::Classic, &self.classic), (QueueType::Quorum, &self.quorum)]
    }

    /// The sum over all queues.
    pub fn all(&self) -> Snapshot {
        let mut all = self.classic;
        all.add(&self.quorum);
        all
    }
}
