//! Time until the next look at a limit.
//!
//! Comes in: the distance to the limit, and the rate at which it shrinks. Goes out: a time. Pure.

use std::time::Duration;

/// Bytes per second by which disk space may shrink, or memory grow, before it has been seen: faster than most machines.
pub const UNSEEN_RATE: f64 = (1u64 << 30) as f64;
/// The shortest time between two looks.
const OFTEN: Duration = Duration::from_millis(20);
/// The longest.
pub const SELDOM: Duration = Duration::from_secs(1);

/// Half the time in which `room` bytes could be gone at `rate` bytes a second.
pub fn pause(room: u64, rate: f64) -> Duration {
    Duration::from_secs_f64((room as f64 / 2.0 / rate).min(SELDOM.as_secs_f64())).max(OFTEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_more_often_it_looks() {
        const GIB: u64 = 1 << 30;
        assert_eq!(pause(100 * GIB, UNSEEN_RATE), SELDOM);
        assert_eq!(pause(GIB, UNSEEN_RATE), Duration::from_millis(500));
        assert_eq!(pause(GIB, 4.0 * UNSEEN_RATE), Duration::from_millis(125));
        assert_eq!(pause(0, UNSEEN_RATE), OFTEN);
    }
}
