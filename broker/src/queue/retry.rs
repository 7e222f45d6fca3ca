//! Another attempt for messages that have come back: after a pause, which grows with each failure.
//!
//! Comes in: messages that a consumer has given back. Goes out: the same to their places, once the pause is over, or
//! dead letters if their time is over before. The clock calls for them as for deadlines. A queue without pauses pays
//! for a look at its values when messages come back.
//! Does not know what became of a delivery.

use super::delayed::{Deadline, Delayed, Waiting};
use super::entry::{self, Entry};
use super::returns;
use super::stamp;
use super::state::{Queue, State, note_deadline};
use crate::clock::{self, Millis};
use crate::death::Reason;
use crate::outbox::Work;
use std::sync::Arc;

/// Memory of messages that wait from which on a queue adds no more to them while memory is short, bytes.
const MUCH: u64 = 4 << 20;

/// The time after which a queue that hands out nothing looks again whether memory is short, milliseconds.
const LOOK_AGAIN: Millis = 500;

impl Queue {
    /// The stamp of a message that has come back, if it is to wait: with the time when it is ready again.
    pub(super) fn pause(&self, state: &State, entry: &Entry, failed: bool, now: Millis) -> Option<u64> {
        let retry = self.values(state).retry().filter(|retry| retry.is_for(failed))?;
        if state.delays_many() && self.is_short_of_memory() {
            // It waits where it was, and that the queue hands out nothing meanwhile is its pause.
            return None;
        }
        let pause = retry.pause(returns::failures(entry.delivery_count));
        Some(stamp::waiting(entry.stamp, now.saturating_add(pause)))
    }

    /// True while the queue should hand out nothing: memory is short, those that wait for another attempt take much of
    /// it, and each that is handed out may become one more. The clock has it look again.
    pub(super) fn holds_back(self: &Arc<Self>, state: &mut State) -> bool {
        if !state.delays_many() || !self.is_short_of_memory() {
            return false;
        }
        if state.delayed.as_mut().is_some_and(|delayed| !delayed.hold_back()) {
            self.upkeep.call(clock::now().saturating_add(LOOK_AGAIN), self);
        }
        true
    }

    /// The clock has called, maybe for this: goes on to hand out messages if it was held back.
    pub(super) fn look_again(self: &Arc<Self>, work: &mut Work) {
        let mut state = self.change();
        if state.delayed.as_mut().is_some_and(|delayed| delayed.let_go()) {
            state.consumers.come_back();
            self.dispatch_locked(&mut state, work);
        }
    }

    /// Puts messages whose pause is over to their places. True if there may be more of them.
    pub(super) fn end_pauses(&self, state: &mut State, most: usize, work: &mut Work) -> bool {
        let Some(delayed) = &mut state.delayed else {
            return false;
        };
        let now = work.millis();
        let due = delayed.due(now, most);
        if delayed.is_empty() {
            state.delayed = None;
        }
        let (more, mut expired, mut noted) = (due.len() >= most, Vec::new(), Vec::new());
        // Backwards, so that they go to the front one after the other instead of each behind the last.
        for Waiting { mut entry, deadline } in due.into_iter().rev() {
            let deadline = match deadline {
                Deadline::Known(deadline) => deadline,
                Deadline::Lost => self.time_again(&mut entry),
            };
            entry.stamp = self.stamp_of(entry.stamp, deadline);
            if stamp::is_over(entry.stamp, Some(now)) {
                expired.push(entry);
                continue;
            }
            if entry.durable && deadline.is_some() {
                // The log has the end of the pause in its place.
                noted.push(entry.returned());
            }
            note_deadline(&mut state.deadline, &entry);
            state.ready.insert(entry, self.reader());
        }
        if !noted.is_empty() {
            noted.reverse();
            work.records(&self.log).returned(self.id, &noted);
        }
        expired.reverse();
        state.totals.expired += expired.len() as u64;
        self.end(state, expired, Reason::Expired, work);
        more
    }

    /// The end of a message's time that begins now again, as a start has lost it.
    fn time_again(&self, entry: &mut Entry) -> Option<Millis> {
        let ready = stamp::ready_at(entry.stamp).unwrap_or_default();
        if entry.message.is_none() {
            entry.message = entry::read(&self.log, entry.location);
        }
        let expiration = entry.message.as_ref().and_then(|message| message.expiration());
        self.deadline(expiration, ready)
    }

    fn stamp_of(&self, waiting: u64, deadline: Option<Millis>) -> u64 {
        let priorities = self.definition.arguments.values.priorities();
        stamp::new(priorities.map(|_| stamp::level(waiting)), deadline)
    }
}

impl State {
    /// True if those that wait for another attempt take much memory.
    fn delays_many(&self) -> bool {
        self.delayed
            .as_ref()
            .is_some_and(|delayed| delayed.resident().bytes > MUCH)
    }

    /// Messages that wait for a consumer or for another attempt, and the bytes of their bodies: what limits count.
    pub(super) fn kept(&self) -> (u64, u64) {
        let (messages, bytes) = (self.ready.len() as u64, self.ready.body_bytes());
        match &self.delayed {
            Some(delayed) => (messages + delayed.len() as u64, bytes + delayed.body_bytes()),
            None => (messages, bytes),
        }
    }

    /// Adds a message that waits for another attempt.
    pub(super) fn delay(&mut self, entry: Entry, deadline: Option<Millis>) {
        let delayed: &mut Delayed = self.delayed.get_or_insert_default();
        delayed.insert(entry, Deadline::Known(deadline));
        self.deadline = stamp::earlier(self.deadline, delayed.earliest());
    }
}
