//! The end of a delivery: acknowledged, rejected, or back to its place.
//!
//! Comes in: ids of delivered messages, and what has become of them. Goes out: settlements for the log, dead letters,
//! and what consumers can take now. A message that has come back as a failure more often than the queue's delivery
//! limit allows leaves it. Does not know about delivery tags, or whose they are.

use super::entry::Entry;
use super::returns;
use super::stamp;
use super::state::{Queue, State, note_deadline};
use crate::death::Reason;
use crate::outbox::Work;
use leveret_store::{Location, MessageId, Returned};
use std::sync::Arc;

/// The end of a delivered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Acked,
    /// Rejected for good.
    Rejected,
    /// Back to its place.
    Requeued,
    /// Back to its place: its consumer could not deal with it.
    Failed,
}

impl Queue {
    /// Ends a run of delivered messages and hands out what consumers can take now. Ids that are not known any more are
    /// skipped.
    pub fn settle(self: &Arc<Self>, consumer: u64, ids: &[MessageId], outcome: Outcome, work: &mut Work) {
        let mut guard = self.change();
        let state = &mut *guard;
        match outcome {
            Outcome::Acked => self.acknowledge(state, ids, work),
            Outcome::Rejected => self.reject(state, ids, work),
            Outcome::Requeued | Outcome::Failed => self.take_back(state, ids, outcome == Outcome::Failed, work),
        }
        state.totals.touch(work.now());
        state.consumers.credit(consumer, ids.len() as u32);
        self.expire(state, work);
        self.dispatch_locked(state, work);
        if state.deadline.is_some() {
            self.watch_time(state);
        }
    }

    /// Very many messages come back, in several runs, the last ones first. Nothing is handed out before
    /// [`Queue::end_returns`].
    pub fn begin_returns(&self) {
        self.state.lock().returning += 1;
    }

    /// All of them are back: hands out what consumers can take.
    pub fn end_returns(self: &Arc<Self>, work: &mut Work) {
        let mut state = self.change();
        state.returning = state.returning.saturating_sub(1);
        self.expire(&mut state, work);
        self.dispatch_locked(&mut state, work);
    }

    fn acknowledge(&self, state: &mut State, ids: &[MessageId], work: &mut Work) {
        let mut logged: Vec<(MessageId, Location)> = Vec::new();
        for &id in ids {
            let Some(location) = state.unsettled.acknowledge(id) else {
                continue;
            };
            logged.extend(location.map(|location| (id, location)));
            state.totals.acked += 1;
        }
        if !logged.is_empty() {
            self.log_mark(state, work);
            work.records(&self.log).settle(self.id, &logged);
        }
    }

    fn reject(&self, state: &mut State, ids: &[MessageId], work: &mut Work) {
        let rejected: Vec<Entry> = ids.iter().filter_map(|id| state.unsettled.remove(*id)).collect();
        state.totals.rejected += rejected.len() as u64;
        self.end(state, rejected, Reason::Rejected, work);
    }

    /// Puts delivered messages back to their places.
    pub(super) fn take_back(self: &Arc<Self>, state: &mut State, ids: &[MessageId], failed: bool, work: &mut Work) {
        let limit = self.values(state).delivery_limit().filter(|_| failed);
        let mut reader = self.reader();
        if state.returning > 0 {
            // Very many come, and there is no telling when they will leave again.
            reader.budget = 0;
        }
        let (mut returned, mut worn_out): (Vec<Returned>, Vec<Entry>) = Default::default();
        // Backwards, so that they go to the front one after the other instead of each behind the last.
        for &id in ids.iter().rev() {
            let Some(mut entry) = state.unsettled.remove(id) else {
                continue;
            };
            if let Some(room) = state.unsettled.take_room() {
                state.ready.lend(room);
            }
            entry.come_back(failed);
            let deadline = stamp::deadline(entry.stamp);
            if limit.is_some_and(|limit| returns::failures(entry.delivery_count) > limit) {
                worn_out.push(entry);
                continue;
            }
            let pause = self.pause(state, &entry, failed, work.millis());
            entry.stamp = pause.unwrap_or(entry.stamp);
            if entry.durable {
                returned.push(entry.returned());
            }
            if pause.is_some() {
                state.delay(entry, deadline);
                continue;
            }
            note_deadline(&mut state.deadline, &entry);
            state.ready.insert(entry, reader);
        }
        if !returned.is_empty() {
            returned.reverse();
            self.log_mark(state, work);
            work.records(&self.log).returned(self.id, &returned);
        }
        self.keep_to_limit(state, ids.len(), work);
        worn_out.reverse();
        state.totals.worn_out += worn_out.len() as u64;
        self.end(state, worn_out, Reason::DeliveryLimit, work);
    }
}
