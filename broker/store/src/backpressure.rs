//! Backpressure: the log takes much more than what is needed in it, and reclaim has to come first.
//!
//! In: what it takes, what of it is needed, from time to time. Out: whether those who append messages should wait. Does
//! not know how space is freed. What becomes free at once (a purge, a large queue that is drained) is no reason to
//! wait: only growth is.

/// Beyond this percentage of what is needed...
const MOST: u64 = 190;
/// ...and this number of segments, the log may grow only...
const BASE: u64 = 6;
/// ...by this number of segments more.
const MARGIN: u64 = 2;

/// Follows the size of the log. All sizes in bytes.
#[derive(Debug, Default)]
pub(crate) struct Backpressure {
    /// The size up to which the log may grow while it takes too much.
    ceiling: Option<u64>,
}

impl Backpressure {
    /// True if appending has to wait. `total`: all that the log takes; `live`: what is needed of it.
    pub(crate) fn look(&mut self, total: u64, live: u64, segment_bytes: u64) -> bool {
        let allowed = (live / 100).saturating_mul(MOST) + BASE * segment_bytes;
        if total <= allowed {
            self.ceiling = None;
            return false;
        }
        let most = total + MARGIN * segment_bytes;
        let ceiling = self.ceiling.map_or(most, |ceiling| ceiling.min(most)).max(allowed);
        self.ceiling = Some(ceiling);
        total > ceiling
    }

    /// Reclaim has nothing to do, or cannot do it: nothing would come of waiting.
    pub(crate) fn forget(&mut self) {
        self.ceiling = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1000;

    #[test]
    fn a_log_within_its_bounds_grows_freely() {
        let mut pressure = Backpressure::default();
        for live in 0..100 {
            assert!(!pressure.look(live * 1900 + 6 * SEGMENT, live * 1000, SEGMENT));
        }
    }

    #[test]
    fn beyond_them_it_grows_by_a_margin_and_waits_until_it_has_shrunk() {
        let mut pressure = Backpressure::default();
        assert!(!pressure.look(26_000, 10_000, SEGMENT));
        assert!(!pressure.look(28_000, 10_000, SEGMENT));
        assert!(pressure.look(28_001, 10_000, SEGMENT));
        assert!(!pressure.look(25_500, 10_000, SEGMENT));
        assert!(
            pressure.look(27_600, 10_000, SEGMENT),
            "what was won back is not lost again"
        );
        assert!(!pressure.look(27_600, 12_000, SEGMENT), "more is needed");
        assert!(!pressure.look(29_000, 12_000, SEGMENT));
    }

    #[test]
    fn what_dies_at_once_is_no_reason_to_wait() {
        let mut pressure = Backpressure::default();
        assert!(!pressure.look(1_000_000, 1_000_000, SEGMENT));
        for live in (0..100).rev() {
            assert!(!pressure.look(1_000_900, live * 10_000, SEGMENT));
        }
        assert!(pressure.look(1_003_000, 0, SEGMENT));
        pressure.forget();
        assert!(!pressure.look(1_003_000, 0, SEGMENT));
    }
}
