//! Consumers that have a message for too long: they are cancelled, and the message goes back.
//!
//! Comes in: consumers with a time limit that go, calls of the clock. Goes out: overdue messages to their places, the
//! word to the client that its consumer has ended. One call of the clock is ahead at a time; nothing has a timer. A
//! queue whose consumers have no limit pays for a look at one field for each run of deliveries.
//! Does not know how a client is told.

use super::consumers::{Consumer, cancelled};
use super::dead::AT_ONCE;
use super::stamp;
use super::state::{Queue, State};
use crate::clock::Millis;
use crate::outbox::Work;
use leveret_store::MessageId;
use std::sync::{Arc, Weak};

impl Queue {
    /// Has the clock call for a delivery that must have ended by `next`.
    pub(super) fn watch_deliveries(self: &Arc<Self>, state: &mut State, next: Option<Millis>) {
        let Some(next) = next else { return };
        if state.timeouts.get_or_insert_default().to_call(next) {
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
        let next = state.next_timeout();
        self.watch_deliveries(state, next);
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
        let mut late = Vec::new();
        let mut back: Vec<MessageId> = Vec::new();
        let mut left = AT_ONCE;
        let State {
            consumers,
            unsettled,
            timeouts,
            ..
        } = state;
        for consumer in consumers.iter_mut() {
            let Some(limit) = &mut consumer.time_limit else {
                continue;
            };
            // A message that the client settles at this moment stays with it.
            let overdue = limit.overdue(at, left, unsettled);
            left -= overdue.len();
            let taken = consumer.subscriber.take_back(overdue);
            if !taken.is_empty() {
                late.push(consumer.id);
            }
            back.extend(taken);
        }
        if let Some(timeouts) = timeouts {
            back.extend(timeouts.take_back(at, left, unsettled));
        }
        if !back.is_empty() {
            back.sort_unstable();
            self.take_back(state, &back, false, work);
        }
        late
    }
}

impl State {
    fn next_timeout(&self) -> Option<Millis> {
        let limits = self
            .consumers
            .iter()
            .filter_map(|consumer| consumer.time_limit.as_ref());
        let next = limits.filter_map(|limit| limit.next()).min();
        stamp::earlier(next, self.timeouts.as_ref().and_then(|timeouts| timeouts.next()))
    }

    /// A consumer has left the queue: what it has still must come back in time, too.
    pub(super) fn consumer_has_gone(&mut self, consumer: &mut Consumer) {
        if let Some(limit) = consumer.time_limit.take() {
            let timeouts = self.timeouts.get_or_insert_default();
            timeouts.keep(limit, consumer.subscriber.clone(), &self.unsettled);
        }
    }
}
