//! Consumers that have a message for too long: they are cancelled, and the message goes back.
//!
//! Comes in: consumers with a time limit that go, calls of the clock. Goes out: overdue messages to their places, the
//! word to the client that its consumer has ended. One call of the clock is ahead at a time; nothing has a timer. A
//! queue whose consumers have no limit pays for a look at one field for each run of deliveries.
//! Does not know how a client is told.

use super::consumers::{Consumer, cancelled};
use super::dead::AT_ONCE;
use super::state::{Queue, State};
use crate::clock::Millis;
use crate::outbox::Work;
use leveret_store::MessageId;
use std::sync::{Arc, Weak};

impl Queue {
    /// Has the clock call when the first delivery must have ended.
    pub(super) fn watch_deliveries(self: &Arc<Self>, state: &mut State) {
        let Some(timeouts) = &mut state.timeouts else { return };
        if let Some(next) = timeouts.next()
            && timeouts.to_call(next)
        {
            self.upkeep.call(next, self);
        }
    }

    /// The clock has called for `at`, maybe for this.
    pub(super) fn end_overdue(self: &Arc<Self>, at: Millis, work: &mut Work) {
        let mut guard = self.change();
        let state = &mut *guard;
        if !state.timeouts.as_mut().is_some_and(|timeouts| timeouts.called(at)) {
            return;
        }
        let late = self.take_overdue(state, at, work);
        self.watch_deliveries(state);
        let mut ended = Vec::new();
        for id in late {
            ended.extend(state.consumers.remove(id));
        }
        let last = !ended.is_empty() && self.ends_with_consumers(state);
        for consumer in &mut ended {
            state.consumer_has_gone(consumer);
        }
        if !ended.is_empty() {
            self.renew(state);
        }
        self.expire(state, work);
        self.dispatch_locked(state, work);
        self.watch_time(state);
        drop(guard);
        cancelled(&ended, &mut work.wakes);
        if last && let Some(owner) = self.upkeep.owner.as_ref().and_then(Weak::upgrade) {
            owner.end_unused(self.id);
        }
    }

    /// Puts overdue messages back, some of them where they are many: the clock calls at once for the rest. Gives the
    /// consumers that had some.
    fn take_overdue(self: &Arc<Self>, state: &mut State, at: Millis, work: &mut Work) -> Vec<u64> {
        let (mut late, mut back): (Vec<u64>, Vec<MessageId>) = Default::default();
        let mut left = AT_ONCE;
        let State {
            consumers,
            unsettled,
            timeouts: Some(timeouts),
            ..
        } = state
        else {
            return late;
        };
        while left > 0
            && let Some(id) = timeouts.next_due(at)
        {
            // A look that finds none counts, too.
            left -= 1;
            let Some(Consumer {
                subscriber, time_limit, ..
            }) = consumers.find_mut(id)
            else {
                let taken = timeouts.take_back(id, at, left, unsettled);
                left = left.saturating_sub(taken.len());
                back.extend(taken);
                continue;
            };
            let Some(limit) = time_limit else { continue };
            let overdue = timeouts.overdue((id, limit), at, left, unsettled);
            left = left.saturating_sub(overdue.len());
            // A message that the client settles at this moment stays with it.
            let taken = subscriber.take_back(overdue);
            if !taken.is_empty() {
                late.push(id);
            }
            back.extend(taken);
        }
        if !back.is_empty() {
            back.sort_unstable();
            self.take_back(state, &back, false, work);
        }
        late
    }
}

impl State {
    /// A consumer has left the queue: what it has still must come back in time, too.
    pub(super) fn consumer_has_gone(&mut self, consumer: &mut Consumer) {
        if let Some(limit) = consumer.time_limit.take() {
            let timeouts = self.timeouts.get_or_insert_default();
            timeouts.keep(consumer.id, limit, consumer.subscriber.clone(), &self.unsettled);
        }
    }
}
