//! The arrival of messages that go to the same queues: what the log is to know of each queue's copy, and the copies.
//!
//! Comes in: queues, and messages with their places in the log. Goes out: the destinations of a record; a run for each
//! queue.
//! Does not know about routes or confirms.

use super::entry::Entry;
use super::stamp::{self, Millis};
use super::state::Queue;
use crate::message::Message;
use crate::outbox::Work;
use leveret_store::{Destination, MessageId};
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
    // A message that isn't persistent is in the log only for the queues that keep all of theirs there.
    let mixed = queues.len() > 1 && queues.iter().any(|queue| queue.keeps_all());
    let in_log = |queue: &Queue, entry: &Entry| match mixed {
        true => entry.message.as_ref().is_some_and(|message| queue.keeps(message)),
        false => queue.logged(),
    };
    if let Some((last, others)) = queues.split_last() {
        for queue in others {
            let mut copies = entries
                .iter()
                .map(|entry| entry.copy_for(in_log(queue, entry)))
                .collect();
            stamp_all(queue, &mut copies, now);
            refused.extend(queue.enqueue(&mut copies, work));
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
