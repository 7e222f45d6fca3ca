//! Attempts at what could not be made for a resource, each after a longer pause.
//!
//! In: failures and successes. Out: which resources wait, and until when. Does not know about what is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{Meta, ObjectKey};

/// First and longest pause after a problem.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Resources for which something could not be made.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<ObjectKey, Problem>);

#[derive(Debug)]
struct Problem {
    /// Of the resource.
    generation: i64,
    attempts: u32,
    due: Instant,
}

impl Retries {
    /// It is too soon for another attempt at the resource as it stands.
    pub(super) fn waits(&self, owner: &Meta) -> bool {
        let same = self
            .0
            .get(&owner.key)
            .filter(|problem| problem.generation == owner.generation);
        same.is_some_and(|problem| problem.due > Instant::now())
    }

    pub(super) fn over(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    pub(super) fn failed(&mut self, owner: &Meta) {
        let attempts = self
            .0
            .get(&owner.key)
            .map_or(0, |problem| problem.attempts.saturating_add(1));
        let pause = (PAUSE.0 * 2_u32.saturating_pow(attempts.min(8))).min(PAUSE.1);
        let again = Problem {
            generation: owner.generation,
            attempts,
            due: Instant::now() + pause,
        };
        self.0.insert(owner.key.clone(), again);
    }

    /// Forgets the others.
    pub(super) fn keep_only(&mut self, here: &BTreeSet<&ObjectKey>) {
        self.0.retain(|key, _| here.contains(key));
    }

    /// The time of the next attempt.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|problem| problem.due).min()
    }
}
