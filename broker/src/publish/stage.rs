//! Messages of one batch, enqueued in one go: one append to the log, one lock per run of messages with the same route.
//!
//! Comes in: checked messages with their routes. Goes out: entries to queues, records to the log, and the position of
//! the log that each confirm waits for.
//! Does not know about exchanges or frames.

use crate::clock::Millis;
use crate::error::Result;
use crate::message::Message;
use crate::outbox::Work;
use crate::queue::arrival;
use crate::queue::entry::{Entry, NOWHERE};
use crate::vhost::route::{Logged, Route};
use leveret_store::{Appended, Batch, Destination, Handle, Lsn, Relative, Urgency};
use std::sync::Arc;

/// Messages that have been read and routed and are enqueued together.
#[derive(Default)]
pub struct Stage {
    runs: Vec<Run>,
    messages: u64,
    records: Batch,
    places: Vec<Option<Relative>>,
    entries: Vec<Entry>,
    destinations: Vec<Destination>,
    spare: Vec<Vec<Message>>,
    /// Messages handed on by the last flush, for whoever confirms them.
    handed_on: Vec<HandedOn>,
    /// Messages that a queue has refused since the last look.
    refused: Vec<Refused>,
}

/// Messages of a channel up to a tag that have been appended, if they must survive, and enqueued.
#[derive(Clone, Copy, Debug)]
pub struct HandedOn {
    /// The channel.
    pub channel: u16,
    pub(super) tag: u64,
    /// The position of the log that makes them safe; `None` if they need none.
    pub(super) lsn: Option<Lsn>,
}

/// A message that a queue has refused because it is full. Other queues may have taken it.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The channel.
    pub channel: u16,
    /// Its tag; `None` without confirms.
    pub tag: Option<u64>,
}

/// Messages of one channel, one after the other, that go to the same queues.
struct Run {
    channel: u16,
    route: Route,
    messages: Vec<Message>,
    /// Tag of the last one, if the channel is in confirm mode.
    confirm: Option<u64>,
    /// True if the messages have numbers in their queues: deadlines, or levels.
    stamped: bool,
    /// The time of the flush, if they have: that of the whole batch, so that a message whose time is over at once is
    /// still offered to a consumer.
    now: Option<Millis>,
}

impl Stage {
    /// Adds a message that goes to the queues of `route`. `confirm`: its tag on the channel.
    pub fn push(&mut self, channel: u16, route: Route, message: Message, confirm: Option<u64>) {
        self.messages += 1;
        let stamped = route.stamped || message.expiration().is_some();
        if let Some(run) = self.runs.last_mut()
            && run.channel == channel
            && Arc::ptr_eq(&run.route.queues, &route.queues)
            && run.stamped == stamped
        {
            run.messages.push(message);
            run.confirm = confirm;
            return;
        }
        let mut messages = self.spare.pop().unwrap_or_default();
        messages.push(message);
        self.runs.push(Run {
            channel,
            route,
            messages,
            confirm,
            stamped,
            now: None,
        });
    }

    /// Appends to the log the messages that must survive, then enqueues all of them.
    ///
    /// # Errors
    /// The log has failed: nothing is enqueued.
    pub fn flush(&mut self, log: &Handle, work: &mut Work) -> Result<Option<Lsn>> {
        self.flush_waited(false, log, work)
    }

    /// [`Stage::flush`] where a client waits although nothing is to be confirmed: tx.commit.
    ///
    /// # Errors
    /// The log has failed: nothing is enqueued.
    pub fn flush_now(&mut self, log: &Handle, work: &mut Work) -> Result<Option<Lsn>> {
        self.flush_waited(true, log, work)
    }

    fn flush_waited(&mut self, waited: bool, log: &Handle, work: &mut Work) -> Result<Option<Lsn>> {
        if self.runs.is_empty() {
            return Ok(None);
        }
        for run in self.runs.iter_mut().filter(|run| run.stamped) {
            run.now = Some(work.millis());
        }
        let first_id = log.next_ids(self.messages);
        self.encode(first_id);
        let appended = if self.records.is_empty() {
            None
        } else {
            let waited = waited || self.runs.iter().any(|run| run.confirm.is_some());
            Some(log.append(&mut self.records, if waited { Urgency::Now } else { Urgency::Soon })?)
        };
        self.messages = 0;
        self.hand_on(first_id, appended.as_ref(), work);
        Ok(appended.map(|appended| appended.lsn))
    }

    /// Enqueues everything, now that the log has it.
    fn hand_on(&mut self, first_id: u64, appended: Option<&Appended>, work: &mut Work) {
        let mut places = self.places.drain(..);
        let mut id = first_id;
        for mut run in self.runs.drain(..) {
            let mut lsn = None;
            let end = id + run.messages.len() as u64;
            for message in run.messages.drain(..) {
                let location = match (places.next().flatten(), appended) {
                    (Some(place), Some(appended)) => {
                        lsn = Some(appended.lsn);
                        appended.location(place)
                    }
                    _ => NOWHERE,
                };
                self.entries.push(Entry::new(id, location, message));
                id += 1;
            }
            let refused = arrival::enqueue(&run.route.queues, &mut self.entries, run.now, work);
            let channel = run.channel;
            self.refused.extend(refused.into_iter().map(|id| {
                Refused {
                    channel,
                    // Tags begin with 1, and may have begun within the run.
                    tag: run
                        .confirm
                        .and_then(|last| (last + 1 + id).checked_sub(end))
                        .filter(|tag| *tag > 0),
                }
            }));
            if let Some(tag) = run.confirm {
                self.handed_on.push(HandedOn { channel, tag, lsn });
            }
            self.spare.push(run.messages);
        }
    }

    /// The messages with tags that were handed on since the last call.
    pub fn take_handed_on(&mut self) -> std::vec::Drain<'_, HandedOn> {
        self.handed_on.drain(..)
    }

    /// The messages that queues have refused since the last call, in their order.
    pub fn take_refused(&mut self) -> std::vec::Drain<'_, Refused> {
        self.refused.drain(..)
    }

    /// True if a message of this channel was refused since the last call. Forgets those of the channel.
    pub fn refused_any(&mut self, channel: u16) -> bool {
        let before = self.refused.len();
        self.refused.retain(|refused| refused.channel != channel);
        self.refused.len() < before
    }

    /// Writes the records of messages that must survive; notes where each one's record lies.
    fn encode(&mut self, first_id: u64) {
        let mut id = first_id;
        for run in &self.runs {
            self.destinations.clear();
            // The same for all of the run, unless each has its own number, or some queues keep it and others don't.
            let each = run.now.is_some() || (run.route.logged == Logged::All && run.route.queues.len() > 1);
            for message in &run.messages {
                let logged = run.route.is_logged(message);
                if logged && (self.destinations.is_empty() || each) {
                    self.destinations.clear();
                    arrival::destinations(&run.route.queues, message, run.now, &mut self.destinations);
                }
                self.places.push(logged.then(|| {
                    let mut length = [0; 4];
                    self.records
                        .publish(id, &self.destinations, &message.record(&mut length))
                }));
                id += 1;
            }
        }
    }
}
