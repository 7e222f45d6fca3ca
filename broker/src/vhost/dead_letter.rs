//! Dead letters on their way from the queue that they left to the queues of its dead-letter exchange.
//!
//! Comes in: messages taken out of a queue, which the log still has there. Goes out: one batch of the log that
//! publishes them where they go and settles them where they were, so that a crash finds each of them in exactly one of
//! the two; then entries to the queues. A letter that leads nowhere, or back on a way that no consumer has broken, is
//! dropped (RabbitMQ's rules); so is one whose way takes more steps than a message may take. Does not know why they
//! died: that is in their history.

use super::route::NoRoute;
use super::routes::RouteCache;
use super::state::Vhost;
use crate::clock;
use crate::death::{Death, MOST_DEATHS, Reason};
use crate::error::Error;
use crate::message::Message;
use crate::outbox::Work;
use crate::queue::Queue;
use crate::queue::arrival::{self, destinations};
use crate::queue::entry::{self, Entry, NOWHERE};
use crate::queue::upkeep::{Dead, Owner};
use leveret_store::{Batch, Location, MessageId, QueueId, Relative, Urgency};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::{debug, error, warn};

/// Bodies that are moved on in one batch, bytes; each message counts as a few more. Thousands of large messages may die
/// at once, and are not read back into memory all together.
const PORTION_BYTES: usize = 1 << 20;
const ENTRY_BYTES: usize = 256;

/// A dead letter and the queues that it goes to.
struct Letter {
    message: Message,
    queues: Vec<Arc<Queue>>,
    place: Option<Relative>,
}

/// Letters whose way is too far.
#[derive(Default)]
struct Lost {
    letters: u64,
    reason: Option<Box<Error>>,
}

impl Owner for Vhost {
    fn bury(&self, mut dead: Dead, work: &mut Work) {
        let mut rest = std::mem::take(&mut dead.entries).into_iter().peekable();
        let mut routes = RouteCache::default();
        while rest.peek().is_some() {
            let mut bytes = 0;
            while let Some(entry) = rest.next_if(|entry| bytes == 0 || bytes + entry.body_len as usize <= PORTION_BYTES)
            {
                bytes += ENTRY_BYTES + entry.body_len as usize;
                dead.entries.push(entry);
            }
            if let Err(error) = self.move_on(&mut dead, &mut routes, work) {
                let queue = dead.queue.to_str_lossy();
                error!(%error, %queue, "dead letters cannot be moved on: the log has failed");
                return;
            }
            dead.entries.clear();
        }
    }

    fn end_unused(&self, queue: QueueId) {
        let Some(queue) = self.shared.queues.get(queue) else {
            return;
        };
        if let Err(error) = self.expire_queue(&queue, true) {
            let queue = queue.name().to_str_lossy();
            error!(%error, %queue, "a queue without consumers can't be deleted: the log has failed");
        }
    }

    fn end_lease(&self, queue: QueueId) {
        let Some(queue) = self.shared.queues.get(queue) else {
            return;
        };
        // An unused queue has no consumers that must be told.
        if let Err(error) = self.end_queue(&queue, Queue::delete_unused) {
            let queue = queue.name().to_str_lossy();
            error!(%error, %queue, "a queue whose lease is over can't be deleted: the log has failed");
        }
    }
}

impl Vhost {
    /// Moves some dead letters on, in one batch of the log.
    fn move_on(&self, dead: &mut Dead, routes: &mut RouteCache, work: &mut Work) -> Result<(), leveret_store::Error> {
        entry::read_back(&self.log, &mut dead.entries);
        for lost in dead.entries.iter().filter(|entry| entry.message.is_none()) {
            error!(location = ?lost.location, "a dead letter can't be read back from the log; it is dropped");
        }
        let now = work.millis();
        let (mut batch, mut wanted) = (Batch::default(), Vec::new());
        let mut lost = Lost::default();
        let letters = dead.entries.iter();
        let letters = letters.filter_map(|entry| self.letter(dead, entry, now, routes, &mut lost));
        let mut letters: Vec<Letter> = letters.collect();
        if let Some(reason) = lost.reason {
            self.churn.letters_lost.fetch_add(lost.letters, Ordering::Relaxed);
            let queue = dead.queue.to_str_lossy();
            warn!(%queue, letters = lost.letters, %reason, "dead letters are dropped: they can't be routed");
        }
        let first = self.log.next_ids(letters.len() as u64);
        for (id, letter) in (first..).zip(&mut letters) {
            if letter.queues.iter().any(|queue| queue.keeps(&letter.message)) {
                wanted.clear();
                destinations(&letter.queues, &letter.message, Some(now), &mut wanted);
                let mut length = [0; 4];
                letter.place = Some(batch.publish(id, &wanted, &letter.message.record(&mut length)));
            }
        }
        let settled: Vec<(MessageId, Location)> = dead
            .entries
            .iter()
            .filter(|entry| entry.durable)
            .map(|entry| (entry.id, entry.location))
            .collect();
        if !settled.is_empty() {
            batch.settle(dead.id, &settled);
        }
        let appended = match batch.is_empty() {
            true => None,
            false => Some(self.log.append(&mut batch, Urgency::Soon)?),
        };
        for (id, letter) in (first..).zip(letters) {
            let location = match (letter.place, &appended) {
                (Some(place), Some(appended)) => appended.location(place),
                _ => NOWHERE,
            };
            let mut run = vec![Entry::new(id, location, letter.message)];
            // A full queue may refuse it: then it is dropped, as in RabbitMQ.
            let _ = arrival::enqueue(&letter.queues, &mut run, Some(now), work);
        }
        Ok(())
    }

    /// The letter that becomes of a message, and where it goes; `None` if it goes nowhere.
    fn letter(
        &self,
        dead: &Dead,
        entry: &Entry,
        now: clock::Millis,
        routes: &mut RouteCache,
        lost: &mut Lost,
    ) -> Option<Letter> {
        let (message, deaths) = entry.message.as_ref()?.dead(&Death {
            reason: dead.reason,
            queue: &dead.queue,
            time: now / 1000,
            exchange: &dead.exchange,
            routing_key: dead.routing_key.as_ref(),
        });
        if deaths > MOST_DEATHS {
            lost.letters += 1;
            lost.reason = Some(Box::new(Error::Precondition(
                "they have died in too many queues".into(),
            )));
            return None;
        }
        let route = match routes.route(self, None, &message) {
            Ok(route) => route,
            Err(NoRoute::Refused(reason)) => {
                lost.letters += 1;
                lost.reason = Some(reason);
                return None;
            }
            // As if it led nowhere.
            Err(NoRoute::Missing | NoRoute::Internal) => return None,
        };
        let circle =
            |queue: &Arc<Queue>| dead.reason != Reason::Rejected && message.returns_to(queue.name().as_bytes());
        let (dropped, queues): (Vec<_>, Vec<_>) = route.queues.iter().cloned().partition(circle);
        for queue in dropped {
            debug!(queue = %queue.name().to_str_lossy(), "a dead letter is dropped: it went round in a circle that no consumer broke");
        }
        (!queues.is_empty()).then_some(Letter {
            message,
            queues,
            place: None,
        })
    }
}

#[cfg(test)]
mod tests;
