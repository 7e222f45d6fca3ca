//! What all connections of a load count together.
//!
//! In: what the event loops see. Out: sums, and histograms of latency. Does not know about time spans: who reads takes
//! differences.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// The shortest latency that is told apart, and the longest, ns. A microsecond is less than a wake-up costs.
const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 3_600_000_000_000;

/// Sums since the load began.
#[derive(Debug, Default)]
pub struct Counters {
    pub published: AtomicU64,
    pub confirmed: AtomicU64,
    /// Refused by the broker: basic.nack.
    pub nacked: AtomicU64,
    /// Came back, since no queue took them: basic.return.
    pub returned: AtomicU64,
    pub consumed: AtomicU64,
    /// Connections that the broker has told to wait: connection.blocked.
    pub blocked: AtomicU64,
    /// All loops end.
    pub stop: AtomicBool,
}

/// The sums at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub published: u64,
    pub confirmed: u64,
    pub nacked: u64,
    pub returned: u64,
    pub consumed: u64,
}

impl Counters {
    #[must_use]
    pub fn read(&self) -> Counts {
        Counts {
            published: self.published.load(Relaxed),
            confirmed: self.confirmed.load(Relaxed),
            nacked: self.nacked.load(Relaxed),
            returned: self.returned.load(Relaxed),
            consumed: self.consumed.load(Relaxed),
        }
    }

    /// Adds what one batch of frames brought.
    pub fn add(&self, counts: Counts) {
        for (counter, count) in [
            (&self.published, counts.published),
            (&self.confirmed, counts.confirmed),
            (&self.nacked, counts.nacked),
            (&self.returned, counts.returned),
            (&self.consumed, counts.consumed),
        ] {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }
}

/// Latencies in ns: from when a message was sent (or, at a fixed rate, was due) until it came, or was confirmed.
#[derive(Clone, Debug)]
pub struct Latencies {
    pub deliver: Histogram<u64>,
    pub confirm: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let empty = || Histogram::new_with_bounds(SHORTEST, LONGEST, 3).expect("the bounds are far enough apart");
        Latencies {
            deliver: empty(),
            confirm: empty(),
        }
    }
}

impl Latencies {
    /// Adds all of another's.
    pub fn add(&mut self, other: &Latencies) {
        for (own, other) in [(&mut self.deliver, &other.deliver), (&mut self.confirm, &other.confirm)] {
            // Both have the same bounds, so there is nothing to fail.
            let _ = own.add(other);
        }
    }

    /// `count` messages that came after `nanoseconds`. What is out of range (another machine's clock) is left out.
    pub fn delivered(&mut self, nanoseconds: u64, count: u64) {
        if nanoseconds <= LONGEST {
            let _ = self.deliver.record_n(nanoseconds, count);
        }
    }

    /// A message that was confirmed after `nanoseconds`.
    pub fn confirmed(&mut self, nanoseconds: u64) {
        self.confirm.saturating_record(nanoseconds);
    }
}

/// The latencies of one loop until they are taken.
#[derive(Debug, Default)]
pub struct Latest(pub Mutex<Latencies>);

impl Latest {
    /// The counts since the last time.
    #[must_use]
    pub fn take(&self) -> Latencies {
        let empty = Latencies::default();
        mem::replace(&mut self.0.lock(), empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_taken_once_and_added_up() {
        let latest = Latest::default();
        latest.0.lock().delivered(2_000_000, 3);
        latest.0.lock().delivered(u64::MAX, 1);
        latest.0.lock().confirmed(1_000_000);
        let mut all = Latencies::default();
        all.add(&latest.take());
        all.add(&latest.take());
        assert_eq!((all.deliver.len(), all.confirm.len()), (3, 1));
        assert!(all.deliver.value_at_quantile(0.5).abs_diff(2_000_000) < 2_000);
    }

    #[test]
    fn counts_add_up() {
        let counters = Counters::default();
        let some = Counts {
            published: 2,
            consumed: 1,
            ..Counts::default()
        };
        counters.add(some);
        counters.add(some);
        assert_eq!((counters.read().published, counters.read().consumed), (4, 2));
    }
}
