//! The arrival of messages that go to the same queues: what the log is to know of each queue's copy, and the copies.
//!
//! Comes in: queues, and messages with their places in the log. Goes out: the destinations of a record; messages to a
//! consumer that takes them as they come, and to each queue copies of those that must wait or be acknowledged.
//! Does not know about routes or confirms.

use super::arguments::Overflow;
use super::bounds::Bounds;
use super::consumers::{ROUND, cost};
use super::entry::Entry;
use super::stamp::{self, Millis};
use super::state::{Changing, Queue, State};
use super::subscriber::Again;
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
                    copy.stamp_by(stamp);
                }
                copy
            };
            refused.extend(queue.arrive(Copies { entries, copy }, work));
        }
        if mixed || !last.logged() {
            for entry in entries.iter_mut() {
                entry.durable &= in_log(last, entry);
            }
        }
        if let Some(now) = now {
            let stamp = stamps(last, now);
            entries.iter_mut().for_each(|entry| entry.stamp_by(&stamp));
        }
        refused.extend(last.enqueue(entries, work));
    }
    entries.clear();
    if queues.len() > 1 {
        refused.sort_unstable();
        refused.dedup();
    }
    refused
}

/// New messages of one queue: to be looked at, then taken, the first ones first.
trait Arriving {
    /// Those that have not been taken. Of the queue's copies only what all copies share counts.
    fn look(&self) -> &[Entry];

    /// Takes as many, as the queue is to have them. One that is taken and not looked at costs nothing.
    fn take(&mut self, count: usize) -> impl ExactSizeIterator<Item = Entry>;
}

impl Arriving for &mut Vec<Entry> {
    fn look(&self) -> &[Entry] {
        self
    }

    fn take(&mut self, count: usize) -> impl ExactSizeIterator<Item = Entry> {
        self.drain(..count)
    }
}

/// Messages that go to other queues too: each is copied when the queue has to have it.
struct Copies<'a, C> {
    entries: &'a [Entry],
    copy: C,
}

impl<C: Fn(&Entry) -> Entry> Arriving for Copies<'_, C> {
    fn look(&self) -> &[Entry] {
        self.entries
    }

    fn take(&mut self, count: usize) -> impl ExactSizeIterator<Item = Entry> {
        let (taken, others) = self.entries.split_at(count);
        self.entries = others;
        taken.iter().map(&self.copy)
    }
}

impl Queue {
    /// Adds a run of new messages and hands out what consumers can take. Empties `entries`; gives the ids of those that
    /// the queue refuses because it is full.
    pub fn enqueue(self: &Arc<Self>, entries: &mut Vec<Entry>, work: &mut Work) -> Vec<MessageId> {
        self.arrive(entries, work)
    }

    fn arrive(self: &Arc<Self>, mut new: impl Arriving, work: &mut Work) -> Vec<MessageId> {
        let mut state = self.change();
        let count = new.look().len();
        if state.deleted {
            drop(state);
            self.release(new.take(count));
            return Vec::new();
        }
        self.expire(&mut state, work);
        state.totals.published += count as u64;
        state.totals.touch(work.now());
        let refused = match state.rejecting() {
            Some(bounds) => self.arrive_bounded(bounds, &mut state, new, work),
            None => {
                let straight = self.hand_straight(&mut state, new.look(), work);
                self.keep(&mut state, new.take(straight), work);
                self.add(&mut state, new.take(count - straight), work);
                Vec::new()
            }
        };
        self.hand_out(state, count, work);
        refused
    }

    /// Adds messages to a queue that may refuse some: apart, since few do. A subscriber that can take them at once
    /// misses none.
    #[cold]
    fn arrive_bounded(
        self: &Arc<Self>,
        bounds: Bounds,
        state: &mut State,
        mut new: impl Arriving,
        work: &mut Work,
    ) -> Vec<MessageId> {
        if bounds.overflow == Overflow::DropNew {
            let straight = self.hand_straight(state, new.look(), work);
            self.keep(state, new.take(straight), work);
        }
        let others = new.look().len();
        self.refuse(bounds, state, new.take(others), work)
    }

    /// Frees what the log has of messages that come to a deleted queue.
    fn release(&self, entries: impl Iterator<Item = Entry>) {
        let durable: Vec<Location> = entries
            .filter(|entry| entry.durable)
            .map(|entry| entry.location)
            .collect();
        self.log.release(&durable);
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
            consumer.subscriber.deliver(straight, Again::default(), work);
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
        self.keep_to_limit(&mut state, count, work);
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

impl Entry {
    /// Gives a new message its stamp.
    #[inline]
    fn stamp_by(&mut self, stamp: &impl Fn(&Message) -> u64) {
        self.stamp = self.message.as_ref().map_or(stamp::NONE, stamp);
    }
}

/// The stamps of messages that are published to a queue now.
fn stamps(queue: &Queue, now: Millis) -> impl Fn(&Message) -> u64 {
    let ttl = queue.ttl.get();
    let priorities = queue.definition.arguments.values.priorities();
    move |message| {
        let left = stamp::earlier(ttl, message.expiration());
        let deadline = left.map(|left| stamp::end(now, left));
        stamp::new(priorities.map(|priorities| priorities.level(message)), deadline)
    }
}
