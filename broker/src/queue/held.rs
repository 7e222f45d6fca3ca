//! The time for which messages wait although there are consumers: none of them can take more.
//!
//! Comes in: whether it is so, after each change. Goes out: the sum. Does not know why consumers can't.

use std::time::{Duration, Instant};

/// Time for which the consumers of a queue could take no more. Most queues never have any.
#[derive(Debug, Default)]
pub struct Held(Option<Box<Times>>);

#[derive(Debug, Default)]
struct Times {
    since: Option<Instant>,
    before: Duration,
}

impl Held {
    /// True if it is so now, as far as has been noted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|times| times.since.is_some())
    }

    /// It has begun, or ended.
    #[cold]
    pub fn turn(&mut self, on: bool, now: Instant) {
        let times = self.0.get_or_insert_default();
        if let Some(since) = times.since.take() {
            times.before += now.saturating_duration_since(since);
        }
        times.since = on.then_some(now);
    }

    /// All of the time.
    pub fn total(&self) -> Duration {
        let Some(times) = &self.0 else {
            return Duration::ZERO;
        };
        times.before + times.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed() {
        let (mut held, begin) = (Held::default(), Instant::now());
        assert_eq!((held.is_on(), held.total()), (false, Duration::ZERO));
        for second in [1, 10] {
            held.turn(true, begin + Duration::from_secs(second));
            assert!(held.is_on());
            held.turn(false, begin + Duration::from_secs(second + 2));
        }
        assert_eq!((held.is_on(), held.total()), (false, Duration::from_secs(4)));
    }
}
