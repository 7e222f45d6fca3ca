//! A message in a queue: what the queue knows of it, and the message itself while it is in memory.
//!
//! Does not know about consumers, channels or the log's format.

use super::returns;
use crate::message::{Footprint, Message};
use leveret_store::{Handle, Live, Location, MessageId, Returned, StoredMessage};
use std::borrow::Cow;
use tracing::error;

/// The location of a message that isn't in the log.
pub const NOWHERE: Location = Location {
    segment: 0,
    offset: 0,
    len: 0,
};

/// One message in one queue.
#[derive(Debug)]
pub struct Entry {
    /// Ascending over the whole broker: the order in the queue, and what a requeue restores.
    pub id: MessageId,
    /// Place of its record in the log; [`NOWHERE`] unless `durable`.
    pub location: Location,
    /// Length of the body, bytes.
    pub body_len: u32,
    /// Number of times that it came back, and how many of them were failures: see [`returns`].
    pub delivery_count: u32,
    /// True if it had been delivered before (AMQP 0-9-1 `redelivered`).
    pub redelivered: bool,
    /// The queue's number for it, kept by the log; 0: none.
    pub stamp: u64,
    /// True if the log has it for this queue: a persistent message in a durable queue.
    pub durable: bool,
    /// The message; `None` when only the log has it.
    pub message: Option<Message>,
}

impl Entry {
    /// A new message, in the log unless `location` is [`NOWHERE`].
    pub fn new(id: MessageId, location: Location, message: Message) -> Self {
        let body_len = message.body_len();
        let durable = location != NOWHERE;
        Self {
            id,
            location,
            body_len,
            delivery_count: 0,
            redelivered: false,
            stamp: 0,
            durable,
            message: Some(message),
        }
    }

    /// A message that a start has found in the log, and that had come back before.
    pub fn found(message: &StoredMessage) -> Self {
        Self {
            id: message.id,
            location: message.location,
            body_len: message.payload_len,
            delivery_count: message.delivery_count,
            redelivered: true,
            stamp: message.stamp,
            durable: true,
            message: None,
        }
    }

    /// The place of a message that is not there: neither in memory nor in the log.
    pub fn hole(id: MessageId) -> Self {
        Self {
            id,
            location: NOWHERE,
            body_len: 0,
            delivery_count: 0,
            redelivered: false,
            stamp: 0,
            durable: false,
            message: None,
        }
    }

    /// True if it is a place and nothing else.
    #[inline]
    pub fn is_hole(&self) -> bool {
        !self.durable && self.message.is_none()
    }

    /// Takes the message out of its place.
    pub fn take_out(&mut self) -> Self {
        let message = self.message.take();
        let durable = std::mem::take(&mut self.durable);
        Self {
            durable,
            message,
            ..*self
        }
    }

    /// Drops the message where it lies.
    #[inline]
    pub fn leave_hole(&mut self) {
        self.message = None;
        self.durable = false;
    }

    /// The same message for another queue, which the log knows about or not.
    pub fn copy_for(&self, logged: bool) -> Self {
        Self {
            durable: self.durable && logged,
            message: self.message.clone(),
            ..*self
        }
    }

    /// It comes back from a consumer. `failed`: that one could not deal with it.
    pub fn come_back(&mut self, failed: bool) {
        self.redelivered = true;
        self.delivery_count = returns::after(self.delivery_count, failed);
    }

    /// The properties that a consumer gets. `tell`: with its returns in its headers; the message stays without them.
    #[inline]
    pub fn properties(&self, tell: bool) -> Cow<'_, [u8]> {
        match &self.message {
            None => Cow::Borrowed(&[]),
            Some(message) if tell && self.delivery_count > 0 => returns::told(message, self.delivery_count).into(),
            Some(message) => message.properties().into(),
        }
    }

    /// The same message with its returns in its headers, for somebody who takes it away.
    pub fn told(&self) -> Self {
        let message = self.message.as_ref();
        Self {
            message: message.map(|message| message.with_properties(&self.properties(true))),
            ..*self
        }
    }

    /// As the log's checkpoint keeps it.
    pub fn stored(&self) -> StoredMessage {
        StoredMessage {
            id: self.id,
            location: self.location,
            payload_len: self.body_len,
            delivery_count: self.delivery_count,
            redelivered: self.redelivered,
            stamp: self.stamp,
        }
    }

    /// The part of it that changes in the log.
    pub fn live(&self) -> Live {
        Live {
            delivery_count: self.delivery_count,
            stamp: self.stamp,
        }
    }

    /// As the log notes that it came back.
    pub fn returned(&self) -> Returned {
        Returned {
            id: self.id,
            location: self.location,
            delivery_count: self.delivery_count,
            stamp: self.stamp,
        }
    }

    /// Memory that the message itself takes; none when only the log has it.
    #[inline]
    pub fn resident(&self) -> Footprint {
        self.message.as_ref().map(Message::footprint).unwrap_or_default()
    }
}

/// Reads a message back from the log; says so in the log file if it can't.
pub fn read(log: &Handle, location: Location) -> Option<Message> {
    match log.read(location) {
        Ok(payload) => Message::decode(payload).or_else(|| {
            error!(?location, "a record in the log is not a message; it is skipped");
            None
        }),
        Err(error) => {
            error!(%error, ?location, "a message can't be read back from the log; it is skipped");
            None
        }
    }
}

/// Reads the messages that only the log has, in one go. What can't be read stays as it is.
pub fn read_back(log: &Handle, entries: &mut [Entry]) {
    let missing = |entry: &&mut Entry| entry.durable && entry.message.is_none();
    let places: Vec<Location> = entries.iter_mut().filter(missing).map(|entry| entry.location).collect();
    if places.is_empty() {
        return;
    }
    let payloads = log.read_run(&places);
    for (entry, payload) in entries.iter_mut().filter(missing).zip(payloads) {
        entry.message = payload.ok().and_then(Message::decode);
    }
}
