//! The arrival of messages that go to the same queues: what the log is to know of each queue's copy, and the copies.
//!
//! Comes in: queues, and messages with their places in the log. Goes out: the destinations of a record; messages to a
//! consumer that takes them as they come, and to each queue copies of those that must wait or be acknowledged.
//! Does not know about routes or confirms.

use super::consumers::{ROUND, cost};
use super::entry::Entry;
use super::stamp::{self, Millis};
use super::state::{Changing, Queue, State};
use crate::message::Message;
use crate::outbox::Work;
use leveret_store::{Destination, Location, MessageId};
use std::sync::Arc;

/// The queues whose copy of a message the log keeps, with the stamps that it gets there. `now`: the time, if a queue or
/// the message limits the time that it may wait, or a queue has priorities.
pub fn destinations(queues: &[Arc<Queue>], message: &Message, now: Option<Millis>, into: &mut Vec<Destination>) {
    let logged = queues.iter().filter(|queue| queue.keeps(message));
    into.extend(logged.map(|queue| Destination {
        queue: queue.id,
        stamp: now.map_or(stamp::NONE, |now| stamps(queue, now)(message)),
    }));
}

/// Adds a run of messages to each of its queues. Empties `entries`; gives the ids, ascending, of those that a queue
/// has refused because it is full. `now`: as with [`destinations`].
pub fn enqueue(
    queues: &[Arc<Queue>],
    entries: &mut Vec<Entry>,
    now: Option<Millis>,
    work: &mut Work,
) -> Vec<MessageId> {
    let mut refused = Vec::new();
    if queues.len() > 1 {
        count_once(queues, entries);
    }
    // A message that isn't persistent is in the log only for the queues that keep all of theirs there.
    let mixed = queues.len() > 1 && queues.iter().any(|queue| queue.keeps_all());
    let in_log = |queue: &Queue, entry: &Entry| match mixed {
        true => entry.message.as_ref().is_some_and(|message| queue.keeps(message)),
        false => queue.logged(),
    };
    if let Some((last, others)) = queues.split_last() {
        for queue in others {
            let stamp = now.map(|now| stamps(queue, now));
            let copy = |entry: &Entry| {
                let mut copy = entry.copy_for(in_log(queue, entry));
                if let Some(stamp) = &stamp {
                    copy.stamp = copy.message.as_ref().map_or(stamp::NONE, stamp);
                }
                copy
            };
            refused.extend(queue.enqueue_copies(entries, copy, work));
        }
        if mixed || !last.logged() {
            for entry in entries.iter_mut() {
                entry.durable &= in_log(last, entry);
            }
        }
        stamp_all(last, entries, now);
        refused.extend(last.enqueue(entries, work));
    }
    entries.clear();
    if queues.len() > 1 {
        refused.sort_unstable();
        refused.dedup();
    }
    refused
}

impl Queue {
    /// Adds a run of new messages and hands out what consumers can take. Empties `entries`; gives the ids of those that
    /// the queue refuses because it is full.
    pub fn enqueue(self: &Arc<Self>, entries: &mut Vec<Entry>, work: &mut Work) -> Vec<MessageId> {
        let mut state = self.change();
        if state.deleted {
            drop(state);
            self.release(entries.drain(..));
            return Vec::new();
        }
        let count = self.admit(&mut state, entries, work);
        let mut refused = Vec::new();
        if state.rejects() {
            refused = self.refuse(&mut state, entries, work);
            state.push(entries.drain(..), self.reader());
        } else {
            let straight = self.hand_straight(&mut state, entries, work);
            self.keep(&mut state, entries.drain(..straight), work);
            self.add(&mut state, entries.drain(..), work);
        }
        self.hand_out(state, count, work);
        refused
    }

    /// The same for messages that go to other queues too. `copy`: a message as this queue is to have it. One that a
    /// consumer takes at once, without acknowledging it, needs none.
    fn enqueue_copies(
        self: &Arc<Self>,
        entries: &[Entry],
        copy: impl Fn(&Entry) -> Entry,
        work: &mut Work,
    ) -> Vec<MessageId> {
        let mut state = self.change();
        if state.deleted {
            drop(state);
            self.release(entries.iter().map(copy));
            return Vec::new();
        }
        let count = self.admit(&mut state, entries, work);
        let mut refused = Vec::new();
        if state.rejects() {
            let mut copies = entries.iter().map(copy).collect();
            refused = self.refuse(&mut state, &mut copies, work);
            state.push(copies.into_iter(), self.reader());
        } else {
            let straight = self.hand_straight(&mut state, entries, work);
            let (straight, others) = entries.split_at(straight);
            self.keep(&mut state, straight.iter().map(&copy), work);
            self.add(&mut state, others.iter().map(copy), work);
        }
        self.hand_out(state, count, work);
        refused
    }

    /// Frees what the log has of messages that come to a deleted queue.
    fn release(&self, entries: impl Iterator<Item = Entry>) {
        let durable: Vec<Location> = entries
            .filter(|entry| entry.durable)
            .map(|entry| entry.location)
            .collect();
        self.log.release(&durable);
    }

    fn admit(self: &Arc<Self>, state: &mut State, entries: &[Entry], work: &mut Work) -> usize {
        self.expire(state, work);
        state.totals.published += entries.len() as u64;
        state.totals.touch(work.now());
        entries.len()
    }

    /// Hands the first messages of a run to the queue's consumer, if they need not wait: nothing is before them, the
    /// consumer is the only one, and it has credit and room. What that one does not acknowledge the queue need not have
    /// at all. Gives their number.
    fn hand_straight(&self, state: &mut State, entries: &[Entry], work: &mut Work) -> usize {
        if self.must_wait(state) || entries.is_empty() {
            return 0;
        }
        let Some(consumer) = state.consumers.only() else {
            return 0;
        };
        let acknowledges = !consumer.terms.no_ack;
        let allowance = consumer.subscriber.allowance();
        // The log is to hear of a message that it has and that is done with: those go the long way.
        let credit = consumer.credit_alone(allowance);
        let Some(most) = credit.filter(|_| acknowledges || !self.logged()) else {
            return 0;
        };
        let mut room = allowance.room;
        let fits = |entry: &&Entry| {
            let fits = room > 0 && entry.message.is_some() && !entry.redelivered;
            room = room.saturating_sub(cost(entry));
            fits
        };
        let count = entries.iter().take(most.min(ROUND)).take_while(fits).count();
        let (straight, _) = entries.split_at(count);
        if !straight.is_empty() {
            consumer.subscriber.deliver(straight, false, &mut work.wakes);
            consumer.got(count);
        }
        count
    }

    /// True if new messages can't go straight to consumers: others are before them, or come first by their priority.
    fn must_wait(&self, state: &State) -> bool {
        let by_level = self.definition.arguments.values.priorities().is_some();
        by_level || !state.ready.is_empty() || state.returning > 0 || state.delayed.is_some()
    }

    /// Adds new messages: consumers take turns with the first of them, the others wait.
    fn add(self: &Arc<Self>, state: &mut State, mut entries: impl ExactSizeIterator<Item = Entry>, work: &mut Work) {
        if entries.len() > 0 && !state.consumers.is_empty() && !self.must_wait(state) {
            self.round_of_new(state, &mut entries, work);
        }
        state.push(entries, self.reader());
    }

    /// Keeps messages that the only consumer has got until it acknowledges them, if it does.
    fn keep(&self, state: &mut State, straight: impl ExactSizeIterator<Item = Entry>, work: &mut Work) {
        let count = straight.len() as u64;
        if count == 0 {
            return;
        }
        if state.consumers.only().is_some_and(|consumer| consumer.terms.no_ack) {
            state.totals.delivered_no_ack += count;
            return;
        }
        state.totals.delivered += count;
        for entry in straight {
            if entry.durable {
                state.delivered_mark = state.delivered_mark.max(entry.id);
            }
            state.unsettled.insert(entry);
        }
        self.log_mark(state, work);
    }

    /// The end of an arrival: consumers take what they can, and what is beyond a limit goes.
    fn hand_out(self: &Arc<Self>, mut state: Changing<'_>, count: usize, work: &mut Work) {
        self.dispatch_locked(&mut state, work);
        self.keep_to_limit(&mut state, work);
        if state.deadline.is_some() {
            // A time to live of 0 is for messages that a consumer takes at once.
            self.expire(&mut state, work);
            self.watch_time(&mut state);
        }
        let now = work.now();
        work.pause = work.pause.max(state.pause(count, now));
    }
}

/// Has messages that go to several queues count once for all of them, as long as one has them. Those of a client come
/// here so.
fn count_once(queues: &[Arc<Queue>], entries: &mut [Entry]) {
    let Some(queue) = queues.first() else { return };
    for entry in entries {
        if let Some(message) = entry.message.take_if(|message| !message.is_counted()) {
            entry.message = Some(message.counted(|buffer| queue.memory.count_buffer(buffer)));
        }
    }
}

fn stamp_all(queue: &Queue, entries: &mut Vec<Entry>, now: Option<Millis>) {
    let Some(now) = now else { return };
    let stamp = stamps(queue, now);
    for entry in entries {
        entry.stamp = entry.message.as_ref().map_or(stamp::NONE, &stamp);
    }
}

/// The stamps of messages that are published to a queue now.
fn stamps(queue: &Queue, now: Millis) -> impl Fn(&Message) -> u64 {
    let ttl = queue.ttl.get();
    let priorities = queue.definition.arguments.values.priorities();
    move |message| {
        let left = stamp::earlier(ttl, message.expiration());
        let deadline = left.map(|left| now.saturating_add(left));
        stamp::new(priorities.map(|priorities| priorities.level(message)), deadline)
    }
}
