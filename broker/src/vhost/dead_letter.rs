//! Dead letters on their way from the queue that they left to the queues of its dead-letter exchange.
//!
//! Comes in: messages taken out of a queue, which the log still has there. Goes out: one batch of the log that publishes
//! them where they go and settles them where they were, so that a crash finds each of them in exactly one of the two;
//! then entries to the queues. A letter that leads nowhere, or back on a way that no consumer has broken, is dropped
//! (RabbitMQ's rules).
//! Does not know why they died: that is in their history.

use super::state::Vhost;
use crate::clock;
use crate::message::Message;
use crate::message::death::{Death, Reason};
use crate::outbox::Work;
use crate::queue::Queue;
use crate::queue::arrival::{self, destinations};
use crate::queue::dead::{Dead, Owner};
use crate::queue::entry::{Entry, NOWHERE};
use leveret_amqp::ShortString;
use leveret_store::{Batch, Location, MessageId, Relative, Urgency};
use std::sync::Arc;
use tracing::{debug, error};

/// A dead letter and the queues that it goes to.
struct Letter {
    message: Message,
    queues: Vec<Arc<Queue>>,
    place: Option<Relative>,
}

impl Owner for Vhost {
    fn bury(&self, dead: Dead, work: &mut Work) {
        let Dead {
            from,
            reason,
            mut entries,
            under_way,
        } = dead;
        self.read_back(&mut entries);
        let now = work.millis();
        let (mut batch, mut wanted) = (Batch::default(), Vec::new());
        let mut letters: Vec<Letter> = entries
            .iter()
            .filter_map(|entry| self.letter(&from, reason, entry, now))
            .collect();
        let first = self.log.next_ids(letters.len() as u64);
        for (id, letter) in (first..).zip(&mut letters) {
            if letter.message.persistent() && letter.queues.iter().any(|queue| queue.logged()) {
                wanted.clear();
                destinations(&letter.queues, &letter.message, Some(now), &mut wanted);
                let mut length = [0; 4];
                letter.place = Some(batch.publish(id, &wanted, &letter.message.record(&mut length)));
            }
        }
        let settled: Vec<(MessageId, Location)> = entries
            .iter()
            .filter(|entry| entry.durable)
            .map(|entry| (entry.id, entry.location))
            .collect();
        if !settled.is_empty() {
            batch.settle(from.id, &settled);
        }
        let appended = match batch.is_empty() {
            true => None,
            false => match self.log.append(&mut batch, Urgency::Soon) {
                Ok(appended) => Some(appended),
                Err(error) => {
                    error!(%error, queue = %from.name().to_str_lossy(), "dead letters cannot be moved on: the log has failed");
                    return;
                }
            },
        };
        drop(under_way);
        for (id, letter) in (first..).zip(letters) {
            let location = match (letter.place, &appended) {
                (Some(place), Some(appended)) => appended.location(place),
                _ => NOWHERE,
            };
            let mut run = vec![Entry::new(id, location, letter.message)];
            arrival::enqueue(&letter.queues, &mut run, Some(now), work);
        }
    }
}

impl Vhost {
    /// Reads the messages that only the log has.
    fn read_back(&self, entries: &mut [Entry]) {
        let missing = |entry: &&Entry| entry.durable && entry.message.is_none();
        let places: Vec<Location> = entries.iter().filter(missing).map(|entry| entry.location).collect();
        if places.is_empty() {
            return;
        }
        let mut payloads = self.log.read_run(&places).into_iter();
        for entry in entries
            .iter_mut()
            .filter(|entry| entry.durable && entry.message.is_none())
        {
            entry.message = payloads.next().and_then(Result::ok).and_then(Message::decode);
            if entry.message.is_none() {
                error!(location = ?entry.location, "a dead letter can't be read back from the log; it is dropped");
            }
        }
    }

    /// The letter that becomes of a message, and where it goes; `None` if it goes nowhere.
    fn letter(&self, from: &Queue, reason: Reason, entry: &Entry, now: clock::Millis) -> Option<Letter> {
        let message = entry.message.as_ref()?;
        let values = &from.definition.arguments.values;
        let exchange: &ShortString = values.dead_letter_exchange.as_ref()?;
        let message = message.dead(&Death {
            reason,
            queue: from.name(),
            time: now / 1000,
            exchange,
            routing_key: values.dead_letter_routing_key.as_ref(),
        });
        let route = self.route(&message, None).ok()?;
        let circle = |queue: &Arc<Queue>| reason != Reason::Rejected && message.returns_to(queue.name().as_bytes());
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
