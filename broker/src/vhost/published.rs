//! Messages that clients publish, counted: those of a vhost, or of all.
//!
//! Comes in: counts of a batch. Goes out: sums. Does not know about exchanges and queues.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of published messages since the broker started.
#[derive(Debug, Default)]
pub struct Published {
    messages: AtomicU64,
    to_confirm: AtomicU64,
    confirmed: AtomicU64,
    dropped_unroutable: AtomicU64,
    returned_unroutable: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages that clients published.
    pub messages: u64,
    /// Of those, messages published on a channel with confirms or transactions.
    pub to_confirm: u64,
    /// Messages confirmed to publishers.
    pub confirmed: u64,
    /// Messages that led nowhere and were dropped.
    pub dropped_unroutable: u64,
    /// Messages that led nowhere and were given back.
    pub returned_unroutable: u64,
}

impl Published {
    /// Messages of a batch.
    pub fn count(&self, messages: u64, to_confirm: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.to_confirm.fetch_add(to_confirm, Ordering::Relaxed);
    }

    /// Messages that were confirmed.
    pub fn confirm(&self, messages: u64) {
        self.confirmed.fetch_add(messages, Ordering::Relaxed);
    }

    /// A message that leads nowhere.
    pub fn unroutable(&self, returned: bool) {
        let counter = match returned {
            true => &self.returned_unroutable,
            false => &self.dropped_unroutable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            messages: load(&self.messages),
            to_confirm: load(&self.to_confirm),
            confirmed: load(&self.confirmed),
            dropped_unroutable: load(&self.dropped_unroutable),
            returned_unroutable: load(&self.returned_unroutable),
        }
    }
}
