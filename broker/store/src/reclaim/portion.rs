//! The bytes that go to the disk at once while segments are emptied.
//!
//! In: the bytes that others have appended. Out: bytes. Does not know about segments.

use crate::shared::Counters;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Syncs of the log wait for the device meanwhile, and who waits for them notices more: a millisecond for each half of
/// a megabyte.
const LEAST: u64 = 256 << 10;
/// Each portion waits for the disk once, behind what others append: beside a busy log, small ones would fall behind.
const MOST: u64 = 4 << 20;
/// A portion is what others append in so long, within these bounds: their syncs are large then by themselves.
const SHARE: Duration = Duration::from_millis(16);
/// The shortest time that is looked at together.
const WINDOW: Duration = Duration::from_millis(100);

/// Follows the load of the log.
#[derive(Debug)]
pub(super) struct Portion {
    since: Instant,
    /// Bytes that others had appended then.
    appended: u64,
    bytes: u64,
}

impl Portion {
    pub(super) fn new() -> Portion {
        Portion {
            since: Instant::now(),
            appended: 0,
            bytes: LEAST,
        }
    }

    /// For the round to come.
    pub(super) fn next(&mut self, counters: &Counters) -> usize {
        let appended = counters.appended_bytes.load(Ordering::Relaxed);
        let others = appended.saturating_sub(counters.copied_bytes.load(Ordering::Relaxed));
        self.at(Instant::now(), others) as usize
    }

    fn at(&mut self, now: Instant, appended: u64) -> u64 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let bytes = appended.saturating_sub(self.appended);
            let share = u128::from(bytes) * SHARE.as_micros() / elapsed.as_micros();
            self.bytes = u64::try_from(share).unwrap_or(MOST).clamp(LEAST, MOST);
            (self.since, self.appended) = (now, appended);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_others_append() {
        let mut portion = Portion::new();
        let start = portion.since;
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(portion.at(at(10), 100 << 20), LEAST, "too early to tell");
        assert_eq!(portion.at(at(1000), 10 << 20), LEAST, "10 MiB a second");
        assert_eq!(
            portion.at(at(2000), 110 << 20),
            (100 << 20) * 16 / 1000,
            "100 MiB a second"
        );
        assert_eq!(portion.at(at(2050), 900 << 20), (100 << 20) * 16 / 1000);
        assert_eq!(portion.at(at(3000), 910 << 20), MOST);
        assert_eq!(portion.at(at(4000), 910 << 20), LEAST);
    }
}
