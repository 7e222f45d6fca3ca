//! The queues as they should be: a list of messages for each, and what becomes of them by a few lines for each rule.

use crate::queue::arguments::{Retry, RetryType};
use crate::queue::stamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

pub(super) const NAMES: [&str; 2] = ["a", "b"];

/// The arguments of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) ttl: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) delivery_limit: Option<u32>,
    /// Of its arguments alone.
    pub(super) max_priority: Option<u8>,
    /// The pauses before another attempt; of its arguments alone, too.
    pub(super) retry: Option<Retry>,
    /// The queue that dead letters go to.
    pub(super) dead_letters: Option<usize>,
}

impl Settings {
    /// Those that count under a policy.
    pub(super) fn under(&self, policy: &Settings) -> Settings {
        fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Settings {
            ttl: smaller(self.ttl, policy.ttl),
            max_length: smaller(self.max_length, policy.max_length),
            delivery_limit: smaller(self.delivery_limit, policy.delivery_limit),
            max_priority: self.max_priority,
            retry: self.retry,
            dead_letters: self.dead_letters.or(policy.dead_letters),
        }
    }
}

/// The place of a message in the order of a queue: level, and number of its arrival.
pub(super) type Place = (Reverse<u8>, u64);

/// A message as the model knows it; its number is also its body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) number: u32,
    pub(super) len: usize,
    pub(super) priority: Option<u8>,
    pub(super) deadline: Option<u64>,
    pub(super) expiration: Option<u64>,
    pub(super) durable: bool,
    pub(super) redelivered: bool,
    /// Returns, and those of them that were failures.
    pub(super) counts: (u32, u32),
    /// Queue, reason and count of its deaths, the latest first.
    pub(super) history: Vec<(usize, &'static str, i64)>,
}

/// A message that waits for another attempt.
pub(super) struct Delayed {
    /// The time when it is ready again.
    ready: u64,
    /// A restart has forgotten its deadline: its time begins again when it is ready.
    lost: bool,
    pub(super) known: Known,
}

#[derive(Default)]
pub(super) struct ModelQueue {
    pub(super) settings: Settings,
    pub(super) waiting: BTreeMap<Place, Known>,
    pub(super) out: BTreeMap<Place, Known>,
    pub(super) delayed: BTreeMap<Place, Delayed>,
    /// Durable messages up to here have been delivered.
    pub(super) mark: u64,
}

impl ModelQueue {
    fn is_too_long(&self) -> bool {
        let length = (self.waiting.len() + self.delayed.len()) as u64;
        self.settings.max_length.is_some_and(|most| length > most)
    }
}

/// The queues as they should be.
#[derive(Default)]
pub(super) struct Model {
    pub(super) queues: [ModelQueue; 2],
    pub(super) next: u64,
    pub(super) now: u64,
    pub(super) dead: VecDeque<(usize, &'static str, Vec<Known>)>,
}

impl Model {
    pub(super) fn expire(&mut self, at: usize) {
        let now = self.now;
        let over = |known: &Known| known.deadline.is_some_and(|deadline| deadline <= now);
        let expired = self.queues[at].waiting.extract_if(.., |_, known| over(known));
        let expired = expired.map(|(_, known)| known).collect();
        self.end(at, "expired", expired);
        if self.end_pauses(at) {
            self.limit(at);
        }
    }

    /// Messages whose pause is over wait again. True if there were some.
    fn end_pauses(&mut self, at: usize) -> bool {
        let now = self.now;
        let over = |known: &Known| known.deadline.is_some_and(|deadline| deadline <= now);
        let queue = &mut self.queues[at];
        let due = |delayed: &Delayed| delayed.ready <= now || over(&delayed.known);
        let mut due: Vec<_> = queue.delayed.extract_if(.., |_, delayed| due(delayed)).collect();
        due.sort_by_key(|(place, _)| place.1);
        let (mut expired, any) = (Vec::new(), !due.is_empty());
        for (place, Delayed { ready, lost, mut known }) in due {
            if lost {
                let left = queue.settings.ttl.into_iter().chain(known.expiration).min();
                known.deadline = left.map(|left| stamp::end(ready, left));
            }
            match over(&known) {
                true => expired.push(known),
                false => _ = queue.waiting.insert(place, known),
            }
        }
        self.end(at, "expired", expired);
        any
    }

    /// A consumer gives a message back.
    pub(super) fn take_back(&mut self, at: usize, place: Place, mut known: Known, failed: bool) {
        known.counts.0 += 1;
        known.counts.1 += u32::from(failed);
        let (queue, failures) = (&mut self.queues[at], known.counts.1);
        let limit = queue.settings.delivery_limit.filter(|_| failed);
        if limit.is_some_and(|limit| failures > limit) {
            return self.end(at, "delivery_limit", vec![known]);
        }
        let waits = |retry: &Retry| match retry.after {
            RetryType::All => true,
            RetryType::Failed => failed,
            RetryType::Returned => !failed,
            RetryType::Disabled => false,
        };
        match queue.settings.retry.filter(waits) {
            Some(Retry { min, max, .. }) => {
                let ready = self.now + max.min(min * u64::from(failures.max(1)));
                let lost = false;
                queue.delayed.insert(place, Delayed { ready, lost, known });
            }
            None => _ = queue.waiting.insert(place, known),
        }
        self.limit(at);
    }

    /// The limit may be another one, or messages may have come back: those whose time is over go first.
    pub(super) fn trim(&mut self, at: usize) {
        if self.queues[at].is_too_long() {
            self.expire(at);
        }
        self.limit(at);
    }

    pub(super) fn limit(&mut self, at: usize) {
        let queue = &mut self.queues[at];
        let mut dropped = Vec::new();
        while queue.is_too_long() {
            let Some((_, first)) = queue.waiting.pop_first() else {
                break;
            };
            dropped.push(first);
        }
        self.end(at, "maxlen", dropped);
    }

    pub(super) fn end(&mut self, at: usize, reason: &'static str, ended: Vec<Known>) {
        if !ended.is_empty() && self.queues[at].settings.dead_letters.is_some() {
            self.dead.push_back((at, reason, ended));
        }
    }

    pub(super) fn add(&mut self, at: usize, messages: Vec<Known>) {
        self.expire(at);
        for known in messages {
            self.next += 1;
            let queue = &mut self.queues[at];
            let most = queue.settings.max_priority.map(|most| most.max(1));
            let level = most.map_or(0, |most| known.priority.unwrap_or(0).min(most));
            queue.waiting.insert((Reverse(level), self.next), known);
        }
        self.limit(at);
        self.expire(at);
    }

    /// The end of a batch.
    pub(super) fn finish(&mut self) {
        while let Some((from, reason, ended)) = self.dead.pop_front() {
            let Some(to) = self.queues[from].settings.dead_letters else {
                continue;
            };
            for mut known in ended {
                let same = |death: &&(usize, &str, i64)| (death.0, death.1) == (from, reason);
                let count = known.history.iter().find(same).map_or(0, |death| death.2);
                known.history.retain(|death| !same(&death));
                known.history.insert(0, (from, reason, count + 1));
                let before_consumer = known.history.iter().take_while(|death| death.1 != "rejected");
                if reason != "rejected" && before_consumer.clone().any(|death| death.0 == to) {
                    continue;
                }
                (known.redelivered, known.counts) = (false, (0, 0));
                known.deadline = self.queues[to].settings.ttl.map(|ttl| stamp::end(self.now, ttl));
                known.expiration = None;
                self.add(to, vec![known]);
            }
        }
    }

    pub(super) fn restart(&mut self) {
        for at in 0..2 {
            let queue = &mut self.queues[at];
            queue.waiting.append(&mut queue.out);
            queue.waiting.retain(|_, known| known.durable);
            queue.delayed.retain(|_, delayed| delayed.known.durable);
            for Delayed { lost, known, .. } in queue.delayed.values_mut() {
                *lost |= known.deadline.take().is_some();
            }
            let mark = queue.mark;
            for ((_, id), known) in &mut queue.waiting {
                known.redelivered |= *id <= mark;
            }
        }
        for at in 0..2 {
            self.end_pauses(at);
            self.trim(at);
        }
    }
}
