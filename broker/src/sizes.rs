//! Sizes of published messages, as a histogram with RabbitMQ's buckets.
//!
//! Comes in: the size of each message, counted by its connection; a batch at a time, those of all. Goes out: counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// The largest size of each bucket but the last, which has none, bytes.
pub const BOUNDS: [u64; 8] = [
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// The sizes of all messages.
#[derive(Debug, Default)]
pub struct Sizes {
    buckets: [AtomicU64; BUCKETS],
    bytes: AtomicU64,
}

impl Sizes {
    /// Messages of each bucket, and the bytes of all.
    pub fn counts(&self) -> ([u64; BUCKETS], u64) {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        (buckets, self.bytes.load(Ordering::Relaxed))
    }
}

/// The sizes of one connection's messages since all were told last.
#[derive(Debug, Default)]
pub struct Untold {
    buckets: [u64; BUCKETS],
    /// A bit for each bucket that has messages.
    some: u32,
    bytes: u64,
}

impl Untold {
    /// Counts a message.
    #[inline]
    pub fn note(&mut self, bytes: u64) {
        let bucket = match bytes {
            0..=100 => 0,
            101..=1_000 => 1,
            _ => larger(bytes),
        };
        if let Some(messages) = self.buckets.get_mut(bucket) {
            *messages += 1;
        }
        self.some |= 1 << bucket;
        self.bytes += bytes;
    }

    /// Adds what was counted to the sizes of all messages.
    pub fn tell(&mut self, sizes: &Sizes) {
        while self.some != 0 {
            let bucket = self.some.trailing_zeros() as usize;
            self.some &= self.some - 1;
            if let (Some(of_all), Some(own)) = (sizes.buckets.get(bucket), self.buckets.get_mut(bucket)) {
                of_all.fetch_add(std::mem::take(own), Ordering::Relaxed);
            }
        }
        sizes
            .bytes
            .fetch_add(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

fn larger(bytes: u64) -> usize {
    BOUNDS.iter().filter(|most| bytes > **most).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_the_first_bucket_that_holds_it() {
        let (sizes, mut untold) = (Sizes::default(), Untold::default());
        let bounds = [0, 100, 101, 1_000, 1_001, 10_000, 10_001, 100_000_000, 100_000_001];
        bounds.iter().for_each(|bytes| untold.note(*bytes));
        untold.tell(&sizes);
        untold.tell(&sizes);
        let expected = ([2, 2, 2, 1, 0, 0, 0, 1, 1], bounds.iter().sum());
        assert_eq!(sizes.counts(), expected);
    }
}
