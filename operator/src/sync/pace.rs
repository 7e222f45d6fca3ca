//! Spreads out the numbers of queues: they change all the time, and an API server is no place for that.
//!
//! In: numbers that have changed since they were last told. Out: some of them, every second.
//! Does not know about resources beyond their keys, or where the numbers go.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{ObjectKey, QueueNumbers};

/// Most queues of one broker whose numbers are told in one turn.
const TURN: usize = 50;
/// Between two turns.
const PAUSE: Duration = Duration::from_secs(1);

/// Numbers that wait to be told.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waiting: BTreeMap<ObjectKey, QueueNumbers>,
    /// The last queue that had its turn: those behind it come first.
    last: Option<ObjectKey>,
    /// Times at which numbers were last taken in, and told.
    taken: Option<Instant>,
    told: Option<Instant>,
}

impl Pace {
    /// True when numbers listed at a time are to be taken in: at most once in `every`, and each list once.
    pub(super) fn is_due(&self, listed: Instant, every: Duration) -> bool {
        self.taken
            .is_none_or(|taken| listed.saturating_duration_since(taken) >= every.mul_f64(0.9))
    }

    /// Takes in what has changed, as of the list made at a time.
    pub(super) fn take(&mut self, listed: Instant, changed: BTreeMap<ObjectKey, QueueNumbers>) {
        self.taken = Some(listed);
        self.waiting = changed;
    }

    /// The numbers to tell now.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<(ObjectKey, QueueNumbers)> {
        if self.next().is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.told = Some(now);
        let behind = match &self.last {
            Some(last) => self.waiting.range((Bound::Excluded(last.clone()), Bound::Unbounded)),
            None => self.waiting.range::<ObjectKey, _>(..),
        };
        let keys: Vec<ObjectKey> = behind.map(|(key, _)| key).take(TURN).cloned().collect();
        let more: Vec<ObjectKey> = self.waiting.keys().take(TURN - keys.len()).cloned().collect();
        self.last = keys.last().or(more.last()).cloned();
        let mut turn = Vec::new();
        for key in keys.into_iter().chain(more) {
            turn.extend(self.waiting.remove_entry(&key));
        }
        turn
    }

    /// Time at which the next turn is due; `None` when nothing waits.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = self.told.map(|told| told + PAUSE).or(self.taken);
        next.filter(|_| !self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    fn changed(count: usize) -> BTreeMap<ObjectKey, QueueNumbers> {
        let key = |index| ObjectKey::new(Kind::Queue, "shop", format!("q{index:04}"));
        (0..count).map(|index| (key(index), QueueNumbers::default())).collect()
    }

    #[test]
    fn fifty_a_second_and_everybody_has_a_turn() {
        let mut pace = Pace::default();
        let mut told = std::collections::BTreeSet::new();
        let mut now = Instant::now();
        for _ in 0..2 {
            let listed = now;
            assert!(pace.is_due(listed, Duration::from_secs(30)));
            pace.take(listed, changed(2_000));
            for _ in 0..30 {
                let turn = pace.turn(now);
                assert_eq!(turn.len(), TURN);
                assert!(pace.turn(now).is_empty(), "once a second");
                told.extend(turn.into_iter().map(|(key, _)| key));
                now += PAUSE;
            }
        }
        assert_eq!(told.len(), 2_000, "those that were left out come first the next time");
    }

    #[test]
    fn nothing_new_is_nothing_to_tell() {
        let mut pace = Pace::default();
        let listed = Instant::now();
        pace.take(listed, BTreeMap::new());
        assert_eq!((pace.next(), pace.turn(listed).len()), (None, 0));
        assert!(!pace.is_due(listed + Duration::from_secs(5), Duration::from_secs(30)));
        assert!(pace.is_due(listed + Duration::from_secs(30), Duration::from_secs(30)));
    }
}
