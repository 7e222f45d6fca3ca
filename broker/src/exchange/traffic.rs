//! Messages that pass through an exchange, counted.
//!
//! Comes in: counts of a batch. Goes out: sums since the exchange was declared or the broker started. Does not know
//! about messages.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one exchange.
#[derive(Debug)]
pub struct Traffic {
    /// Its number: no other has had it.
    pub id: u64,
    published: AtomicU64,
    routed: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            published: AtomicU64::new(0),
            routed: AtomicU64::new(0),
        }
    }
}

impl Traffic {
    /// So many messages were published to it, and so many copies of them came to queues.
    pub fn count(&self, published: u64, routed: u64) {
        self.published.fetch_add(published, Ordering::Relaxed);
        self.routed.fetch_add(routed, Ordering::Relaxed);
    }

    /// Messages that clients have published to it.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Copies of them that came to queues, by whatever way.
    pub fn routed(&self) -> u64 {
        self.routed.load(Ordering::Relaxed)
    }
}
