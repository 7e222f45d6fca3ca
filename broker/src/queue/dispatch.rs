//! Hands waiting messages to consumers, in rounds: whoever has credit takes one in turn, then each gets its run in one
//! go.
//!
//! Comes in: a queue with something new (messages, consumers, credit, room). Goes out: runs of messages to their
//! subscribers, and to `unsettled` those that must be acknowledged.
//! Does not know about channels, or how a delivery looks on the wire.

use super::consumers::{Consumer, ROUND};
use super::entry::Entry;
use super::run::Skipped;
use super::state::{Queue, State};
use super::subscriber::Again;
use super::turns::Place;
use crate::outbox::{Stalled, Work};
use std::sync::Arc;

impl Stalled for Queue {
    fn resume(self: Arc<Self>, work: &mut Work) {
        self.dispatch(work);
    }

    fn resume_consumer(self: Arc<Self>, consumer: u64, work: &mut Work) {
        let mut state = self.change();
        state.consumers.has_share(consumer);
        self.expire(&mut state, work);
        self.dispatch_locked(&mut state, work);
    }
}

impl Queue {
    /// Hands out what consumers can take, after one of them has room or credit again.
    pub fn dispatch(self: &Arc<Self>, work: &mut Work) {
        let mut state = self.change();
        state.consumers.come_back();
        self.expire(&mut state, work);
        self.dispatch_locked(&mut state, work);
    }

    pub(super) fn dispatch_locked(self: &Arc<Self>, state: &mut State, work: &mut Work) {
        if state.delayed.is_some() && self.holds_back(state) {
            return;
        }
        while state.returning == 0 && !state.ready.is_empty() && !state.consumers.is_empty() {
            if !self.round(state, work) {
                break;
            }
        }
        state.note_held(|| work.now());
    }

    /// One round. False when no consumer can take more.
    fn round(self: &Arc<Self>, state: &mut State, work: &mut Work) -> bool {
        let reader = self.reader();
        // The last millisecond of a message counts: one that expires at once if no consumer takes it is for these.
        let now = state.deadline.map(|_| work.millis().saturating_sub(1));
        let mut skipped = Skipped::default();
        let mut go_on = true;
        let mut left = ROUND;
        let several = state.consumers.len() > 1;
        state.consumers.begin_round();
        while left > 0 && !state.ready.is_empty() {
            let Some(place) = state.consumers.pick() else {
                go_on = false;
                break;
            };
            let Some(entry) = state.ready.pop(now, reader, &mut skipped) else {
                break;
            };
            left -= 1;
            if state.assign(place, entry, several) {
                break;
            }
        }
        let has_room = self.end_round(state, left < ROUND, work);
        if !skipped.is_empty() {
            self.end_skipped(skipped, state, work);
        }
        has_room || go_on
    }

    /// A round with new messages that need not wait: nothing is before them. Leaves those that no consumer takes now.
    pub(super) fn round_of_new(
        self: &Arc<Self>,
        state: &mut State,
        entries: &mut impl ExactSizeIterator<Item = Entry>,
        work: &mut Work,
    ) {
        let mut left = ROUND;
        let several = state.consumers.len() > 1;
        state.consumers.begin_round();
        while left > 0 && entries.len() > 0 {
            let Some(place) = state.consumers.pick() else { break };
            let Some(entry) = entries.next() else { break };
            left -= 1;
            if state.assign(place, entry, several) {
                break;
            }
        }
        self.end_round(state, left < ROUND, work);
    }

    /// The end of a round. True if a consumer whose client had no room has some after all.
    fn end_round(self: &Arc<Self>, state: &mut State, handed_out: bool, work: &mut Work) -> bool {
        if handed_out {
            self.hand_over(state, work);
        }
        let stalls = |consumer: &Consumer| {
            let stalled: Arc<dyn Stalled> = self.clone();
            match consumer.lacks_share() {
                true => consumer.subscriber.line_up(&stalled, consumer.id),
                false => consumer.subscriber.stall(&stalled),
            }
        };
        // Room may have come between the look and the note: then another round.
        state.consumers.stall(stalls)
    }

    /// Writes each consumer's run and keeps what must be acknowledged.
    fn hand_over(self: &Arc<Self>, state: &mut State, work: &mut Work) {
        if let Some(room) = state.ready.take_room() {
            state.unsettled.lend(room);
        }
        let declared = &*self.definition.arguments.values;
        let mut timed = false;
        let State {
            consumers,
            unsettled,
            totals,
            delivered_mark,
            policies,
            timeouts,
            ..
        } = state;
        let values = || policies.as_ref().map_or(declared, |policies| &policies.values);
        let served = consumers.take_served();
        for &place in &served {
            let Some(consumer) = consumers.get_mut(place) else {
                continue;
            };
            let mut batch = std::mem::take(&mut consumer.batch);
            let messages = batch.iter().filter(|entry| entry.redelivered).count();
            totals.redelivered += messages as u64;
            let tell = messages > 0 && values().tell_returns();
            let again = Again { messages, tell };
            let first = consumer.subscriber.deliver(&batch, again, work);
            if consumer.terms.no_ack {
                totals.delivered_no_ack += batch.len() as u64;
                let settled: Vec<_> = batch
                    .drain(..)
                    .filter(|e| e.durable)
                    .map(|e| (e.id, e.location))
                    .collect();
                if !settled.is_empty() {
                    work.records(&self.log).settle(self.id, &settled);
                }
            } else {
                totals.delivered += batch.len() as u64;
                if let Some(limit) = &mut consumer.time_limit {
                    limit.note(&batch, first, work.millis(), unsettled);
                    timeouts.get_or_insert_default().watch(consumer.id, limit);
                    timed = true;
                }
                for entry in batch.drain(..) {
                    if entry.durable {
                        *delivered_mark = (*delivered_mark).max(entry.id);
                    }
                    unsettled.insert(entry);
                }
            }
            consumer.batch = batch;
        }
        consumers.give_back(served);
        self.log_mark(state, work);
        if timed {
            self.watch_deliveries(state);
        }
    }
}

impl State {
    /// Gives the consumer at this place a message of this round; `several`: it is not the only one. True if the round
    /// must end here.
    #[inline]
    fn assign(&mut self, place: Place, entry: Entry, several: bool) -> bool {
        if several && self.consumers.acknowledges(place) {
            self.unsettled.expect(entry.id);
        }
        self.consumers.assign(place, entry)
    }
}
