//! A queue at the limit of its length: the oldest waiting messages are dropped (RabbitMQ's `drop-head`), or new ones
//! refused.
//!
//! Comes in: a queue that may have got longer; new messages. Goes out: dead letters, or settlements, so that the log
//! doesn't bring back what was dropped; the ids of messages that are refused. Messages that have been delivered don't
//! count. A queue without a limit pays for a look at one field.
//! Does not know why the queue got longer.

use super::arguments::Overflow;
use super::bounds::Bounds;
use super::dead::AT_ONCE;
use super::entry::Entry;
use super::state::{Queue, State};
use crate::clock;
use crate::death::Reason;
use crate::outbox::Work;
use leveret_store::MessageId;
use std::sync::Arc;

impl Queue {
    /// The begin after a start, once every queue has its messages back: dead letters may go to any of them. What had
    /// been delivered waits again, so there may be more messages than the limit allows; what had a pause that is over
    /// by now waits at its place too, so that it is not younger ones that go. The log does not hear of a pause's end.
    /// True if [`Queue::trim`] has to go on with it.
    pub fn begin(self: &Arc<Self>, work: &mut Work) -> bool {
        let mut state = self.change();
        if state.delayed.is_some() {
            self.end_pauses(&mut state, usize::MAX, work);
            state.deadline = state.earliest();
        }
        self.watch_time(&mut state);
        self.begin_to_trim(&mut state, work)
    }

    /// Drops what is beyond the limit, now that so many have come. A queue that refuses new messages drops none. Where
    /// far more are to go than have come, as when a large message takes the place of very many small ones, the clock
    /// sees to the rest.
    pub(super) fn keep_to_limit(self: &Arc<Self>, state: &mut State, come: usize, work: &mut Work) {
        let more = self.drop_excess(state, come.saturating_add(AT_ONCE), work);
        if more && !state.trimming {
            self.upkeep.call(clock::now(), self);
        }
        state.trimming = more;
    }

    /// The clock has called, maybe to go on with that. True if there is more to drop.
    pub(super) fn go_on_trimming(self: &Arc<Self>, work: &mut Work) -> bool {
        let mut state = self.change();
        state.trimming && self.begin_to_trim(&mut state, work)
    }

    /// Begins to drop what is beyond a limit that may be far below the queue's length. Messages whose time is over go
    /// before that, as when others arrive (and in RabbitMQ). True if [`Queue::trim`] has to go on with it.
    pub(super) fn begin_to_trim(self: &Arc<Self>, state: &mut State, work: &mut Work) -> bool {
        if state.excess().is_none() {
            state.trimming = false;
            return false;
        }
        state.trimming = self.end_due(state, work) || self.drop_excess(state, AT_ONCE, work);
        self.dispatch_locked(state, work);
        state.trimming
    }

    /// Drops some more of what is beyond a new limit; clients get their turn in between, and the log its records. True
    /// if there may be more of it.
    pub fn trim(self: &Arc<Self>, work: &mut Work) -> bool {
        let mut state = self.change();
        self.begin_to_trim(&mut state, work)
    }

    /// Drops what is beyond the limit, `most` messages or a few more. True if there may be more.
    fn drop_excess(self: &Arc<Self>, state: &mut State, most: usize, work: &mut Work) -> bool {
        let mut left = most;
        while let Some(excess) = state.excess() {
            let count = match excess {
                (0, bytes) => state.ready.first_of(bytes, left.max(1)),
                (messages, _) => messages as usize,
            };
            if left == 0 {
                return true;
            }
            let dropped = state.ready.take_first(count.min(left), self.reader());
            left = left.saturating_sub(dropped.len());
            state.totals.dropped += dropped.len() as u64;
            self.end(state, dropped, Reason::MaxLen, work);
        }
        false
    }

    /// Adds new messages to a queue that may refuse them: as long as there is room, which consumers make who can take
    /// some. Gives the ids of those that there is no room for, if publishers are to hear of it. `bounds`: those of
    /// [`State::rejecting`].
    pub(super) fn refuse(
        self: &Arc<Self>,
        bounds: Bounds,
        state: &mut State,
        entries: impl Iterator<Item = Entry>,
        work: &mut Work,
    ) -> Vec<MessageId> {
        let full = |state: &State, entry: &Entry| {
            let (messages, bytes) = state.kept();
            bounds.excess(messages + 1, bytes + u64::from(entry.body_len)) != (0, 0)
        };
        let mut refused = Vec::new();
        for entry in entries {
            if full(state, &entry) {
                self.dispatch_locked(state, work);
            }
            if full(state, &entry) {
                refused.push(entry);
            } else {
                state.push(std::iter::once(entry), self.reader());
            }
        }
        let ids = refused.iter().map(|entry| entry.id).collect();
        state.totals.dropped += refused.len() as u64;
        match bounds.overflow {
            Overflow::RejectToDeadLetters => self.end(state, refused, Reason::MaxLen, work),
            _ => self.forget(&refused, work),
        }
        match bounds.overflow {
            Overflow::DropNew => Vec::new(),
            _ => ids,
        }
    }
}

impl State {
    /// Messages and bytes that are too many, if some are and a waiting message can go for it.
    fn excess(&self) -> Option<(u64, u64)> {
        let bounds = self.bounds.filter(|bounds| bounds.overflow == Overflow::DropHead)?;
        let (messages, bytes) = self.kept();
        let excess = bounds.excess(messages, bytes);
        (excess != (0, 0) && !self.ready.is_empty()).then_some(excess)
    }

    /// The bounds beyond which new messages are refused, if the queue does so.
    pub(super) fn rejecting(&self) -> Option<Bounds> {
        self.bounds.filter(|bounds| bounds.overflow != Overflow::DropHead)
    }
}

#[cfg(test)]
mod tests;
