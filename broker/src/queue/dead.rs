//! Messages that leave a queue although no consumer has acknowledged them.
//!
//! Comes in: messages that were rejected, whose time is over, or for which there is no room. Goes out: settlements to
//! the log; or, where the queue has a dead-letter exchange, dead letters for its owner. Does not know about exchanges
//! and routes: the owner does.

use super::burial::Burial;
use super::entry::Entry;
use super::stamp;
use super::state::{Queue, State};
use super::upkeep::Dead;
use crate::clock::{self, Millis, Timed};
use crate::death::Reason;
use crate::outbox::Work;
use leveret_store::{Location, MessageId};
use std::sync::Arc;

/// Messages taken out under one lock of the queue: its clients get their turn in between. Turns go by the ends of
/// messages' time, one turn by their order: the model in tests, which knows no turns, has fewer that are due at once.
pub(super) const AT_ONCE: usize = if cfg!(test) { 128 } else { 1024 };

/// Times in a row that the clock's thread takes messages out of one queue.
const TURNS: usize = 64;

impl Queue {
    /// Ends messages that have been taken from their places: they become dead letters, or are dropped.
    pub(super) fn end(&self, state: &State, entries: Vec<Entry>, reason: Reason, work: &mut Work) {
        if entries.is_empty() {
            return;
        }
        let values = self.values(state);
        if let (Some(exchange), Some(owner)) = (&values.dead_letter_exchange, &self.upkeep.owner) {
            let dead = Dead {
                queue: self.name().clone(),
                id: self.id,
                exchange: exchange.clone(),
                routing_key: values.dead_letter_routing_key.clone(),
                reason,
                entries,
                under_way: self.log.under_way(),
            };
            work.leave(Box::new(Burial {
                owner: owner.clone(),
                dead,
                later: self.upkeep.burials.clone(),
            }));
            return;
        }
        self.forget(&entries, work);
    }

    /// The log forgets messages that have been taken from their places.
    pub(super) fn forget(&self, entries: &[Entry], work: &mut Work) {
        let logged: Vec<(MessageId, Location)> = entries
            .iter()
            .filter(|entry| entry.durable)
            .map(|entry| (entry.id, entry.location))
            .collect();
        if !logged.is_empty() {
            work.records(&self.log).settle(self.id, &logged);
        }
    }

    /// The end of a message's time in this queue, if it is published now: the shorter one of the queue's time to live
    /// and the message's expiration.
    pub fn deadline(&self, expiration: Option<Millis>, now: Millis) -> Option<Millis> {
        let left = stamp::earlier(self.ttl.get(), expiration)?;
        Some(stamp::end(now, left))
    }

    /// True if the log keeps a number with each message: its time is limited, or it has a level.
    pub fn stamps(&self) -> bool {
        self.ttl.get().is_some() || self.definition.arguments.values.priorities().is_some()
    }

    /// Takes out messages whose time is over. True if there may be more of them.
    pub(super) fn expire(self: &Arc<Self>, state: &mut State, work: &mut Work) -> bool {
        match state.deadline {
            Some(deadline) if deadline <= work.millis() => self.expire_some(state, work),
            _ => false,
        }
    }

    fn expire_some(self: &Arc<Self>, state: &mut State, work: &mut Work) -> bool {
        let pauses = state.delayed.is_some();
        let more = self.end_due(state, work);
        if pauses {
            // Some may wait again: there may be more than the limit allows, and something for consumers.
            self.keep_to_limit(state, AT_ONCE, work);
            self.dispatch_locked(state, work);
        }
        more
    }

    /// Takes out messages whose time is over and puts back those whose pause is, and nothing else. True if there may be
    /// more of them.
    pub(super) fn end_due(&self, state: &mut State, work: &mut Work) -> bool {
        let now = work.millis();
        if state.deadline.is_none_or(|deadline| deadline > now) {
            return false;
        }
        let expired = state.ready.expire(now, AT_ONCE, self.reader());
        state.totals.expired += expired.len() as u64;
        self.end(state, expired, Reason::Expired, work);
        let more = self.end_pauses(state, AT_ONCE, work);
        state.deadline = state.earliest();
        more || state.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Has the clock call when the next message's time is over.
    pub(super) fn watch_time(self: &Arc<Self>, state: &mut State) {
        let Some(deadline) = state.deadline else { return };
        if state.called_at.is_none_or(|at| deadline < at) {
            self.call_at(state, deadline);
        }
    }
}

impl Queue {
    /// The clock has called for `at`: takes out some of the messages whose time is over. True if there may be more of
    /// them.
    pub(crate) fn time_over(self: &Arc<Self>, at: Millis, work: &mut Work) -> bool {
        let mut state = self.change();
        // By the time that was asked for, not by the time now: if that has been set back, another call is needed.
        state.called_at = state.called_at.filter(|called| *called > at);
        let more = self.expire(&mut state, work);
        if !more {
            self.watch_time(&mut state);
        }
        drop(state);
        // Nothing waits for these records; a failed log is noticed by whoever appends next.
        let _ = work.finish(&self.log);
        more
    }
}

impl Queue {
    /// More is due than the clock has time for now: it is the turn of others that have waited for it.
    fn call_again(self: &Arc<Self>) {
        self.call_at(&mut self.change(), clock::now());
    }

    fn call_at(self: &Arc<Self>, state: &mut State, at: Millis) {
        state.called_at = Some(at);
        self.upkeep.call(at, self);
    }
}

impl Timed for Queue {
    fn due(self: Arc<Self>, at: Millis) {
        self.end_lease(at);
        let mut work = Work::default();
        self.end_overdue(at, &mut work);
        self.look_again(&mut work);
        // Nothing waits for these records; a failed log is noticed by whoever appends next.
        let _ = work.finish(&self.log);
        for _ in 0..TURNS {
            let trims = self.go_on_trimming(&mut work);
            let _ = work.finish(&self.log);
            if !self.time_over(at, &mut Work::default()) && !trims {
                return;
            }
        }
        self.call_again();
    }
}
