//! The messages of a queue that wait for a consumer, in order.
//!
//! Comes in: new entries at the end, requeued ones at their old position. Goes out: the next one. The front is kept in memory;
//! beyond a budget the durable messages behind it are only pointers into the log, read back in runs when their turn comes.
//! Does not know about consumers or channels.

use super::entry::Entry;
use crate::message::Message;
use leveret_store::{Handle, Location, MessageId};
use std::collections::VecDeque;
use tracing::error;

/// Memory that one queue's waiting messages may take before further durable ones are left in the log alone.
const RESIDENT_BUDGET: u64 = 16 * 1024 * 1024;
/// Messages, and bytes of their bodies, read back from the log at a time. They share memory, so a message that stays holds that
/// much.
const REFILL_RUN: usize = 1024;
const REFILL_BYTES: u64 = 128 * 1024;

/// What remains of an entry behind the front: the message is in the log, or in `message` if the log doesn't have it.
struct Cold {
    id: MessageId,
    location: Location,
    body_len: u32,
    /// Delivery count in the upper bits, redelivered in bit 1, durable in bit 0.
    flags: u32,
    message: Option<Box<Message>>,
}

/// Waiting messages, ascending by id.
#[derive(Default)]
pub struct Ready {
    head: VecDeque<Entry>,
    tail: VecDeque<Cold>,
    resident: u64,
    body_bytes: u64,
    durable: usize,
    durable_bytes: u64,
}

impl Ready {
    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// Bodies of the waiting messages, bytes.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Number and body bytes of those that the log holds.
    pub fn durable(&self) -> (usize, u64) {
        (self.durable, self.durable_bytes)
    }

    /// Memory that the messages take, bytes.
    pub fn resident(&self) -> u64 {
        self.resident
    }

    /// Adds a new message at the end. Two publishers that took their ids at once may come in the other order: then it goes to
    /// where its id belongs.
    pub fn push(&mut self, entry: Entry) {
        let last = self
            .tail
            .back()
            .map(|cold| cold.id)
            .or_else(|| self.head.back().map(|entry| entry.id));
        if last.is_some_and(|last| last > entry.id) {
            return self.insert(entry);
        }
        self.count(&entry);
        if self.tail.is_empty() && self.resident < RESIDENT_BUDGET {
            self.resident += entry.resident();
            self.head.push_back(entry);
        } else {
            let cold = Cold::from(entry);
            self.resident += cold.resident();
            self.tail.push_back(cold);
        }
    }

    /// Puts a message back to its old position (or where its id belongs, if others were requeued meanwhile).
    pub fn insert(&mut self, entry: Entry) {
        self.count(&entry);
        if self.tail.front().is_none_or(|cold| entry.id < cold.id) {
            self.resident += entry.resident();
            let at = self.head.partition_point(|other| other.id < entry.id);
            self.head.insert(at, entry);
        } else {
            let at = self.tail.partition_point(|other| other.id < entry.id);
            let cold = Cold::from(entry);
            self.resident += cold.resident();
            self.tail.insert(at, cold);
        }
    }

    /// Takes the first message, in memory. Messages that the log can't give back any more are handed to `lost` and skipped.
    pub fn pop(&mut self, log: &Handle, lost: &mut Vec<(MessageId, Location)>) -> Option<Entry> {
        loop {
            if self.head.is_empty() {
                self.warm(log);
            }
            let mut entry = self.head.pop_front()?;
            self.resident = self.resident.saturating_sub(entry.resident());
            self.uncount(entry.body_len, entry.durable);
            if entry.message.is_none() {
                match read(log, entry.location) {
                    Some(message) => entry.message = Some(message),
                    None => {
                        lost.push((entry.id, entry.location));
                        continue;
                    }
                }
            }
            return Some(entry);
        }
    }

    /// Removes everything; returns what the log holds of it and the number of all messages.
    pub fn clear(&mut self) -> (Vec<(MessageId, Location)>, usize) {
        let count = self.len();
        let head = self
            .head
            .drain(..)
            .filter(|entry| entry.durable)
            .map(|entry| (entry.id, entry.location));
        let tail = self
            .tail
            .drain(..)
            .filter(Cold::durable)
            .map(|cold| (cold.id, cold.location));
        let durable = head.chain(tail).collect();
        *self = Self::default();
        (durable, count)
    }

    /// The delivery count of a message that the log holds, if it waits here.
    pub fn live(&self, id: MessageId) -> Option<u32> {
        if let Ok(at) = self.head.binary_search_by_key(&id, |entry| entry.id) {
            return self.head.get(at).map(|entry| entry.delivery_count);
        }
        let at = self.tail.binary_search_by_key(&id, |cold| cold.id).ok()?;
        self.tail.get(at).map(Cold::delivery_count)
    }

    /// Notes that a message's record has been moved. False if it doesn't wait here.
    pub fn relocate(&mut self, id: MessageId, to: Location) -> bool {
        if let Ok(at) = self.head.binary_search_by_key(&id, |entry| entry.id) {
            return self.head.get_mut(at).map(|entry| entry.location = to).is_some();
        }
        let Ok(at) = self.tail.binary_search_by_key(&id, |cold| cold.id) else {
            return false;
        };
        self.tail.get_mut(at).map(|cold| cold.location = to).is_some()
    }

    fn count(&mut self, entry: &Entry) {
        self.body_bytes += u64::from(entry.body_len);
        if entry.durable {
            self.durable += 1;
            self.durable_bytes += u64::from(entry.body_len);
        }
    }

    fn uncount(&mut self, body_len: u32, durable: bool) {
        self.body_bytes = self.body_bytes.saturating_sub(u64::from(body_len));
        if durable {
            self.durable = self.durable.saturating_sub(1);
            self.durable_bytes = self.durable_bytes.saturating_sub(u64::from(body_len));
        }
    }

    /// Moves the next run from the tail to the head, with the messages. What can't be read now is tried again when it is popped.
    fn warm(&mut self, log: &Handle) {
        let mut bytes = 0;
        let run = self.tail.iter().take(REFILL_RUN).take_while(|cold| {
            bytes += u64::from(cold.body_len);
            bytes <= REFILL_BYTES
        });
        let run = run.count().max(1).min(self.tail.len());
        self.head.extend(self.tail.drain(..run).map(Entry::from));
        let cold = || {
            self.head
                .iter()
                .filter(|entry| entry.durable && entry.message.is_none())
        };
        let locations: Vec<Location> = cold().map(|entry| entry.location).collect();
        let mut payloads = log.read_run(&locations).into_iter();
        for entry in self
            .head
            .iter_mut()
            .filter(|entry| entry.durable && entry.message.is_none())
        {
            entry.message = payloads.next().and_then(Result::ok).and_then(Message::decode);
            self.resident += entry.resident();
        }
        if self.tail.is_empty() {
            self.tail.shrink_to(REFILL_RUN);
        }
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

impl Cold {
    fn durable(&self) -> bool {
        self.flags & 1 != 0
    }

    fn delivery_count(&self) -> u32 {
        self.flags >> 2
    }

    fn resident(&self) -> u64 {
        self.message.as_ref().map_or(0, |message| message.footprint())
    }
}

impl From<Entry> for Cold {
    fn from(entry: Entry) -> Self {
        let flags =
            u32::from(entry.durable) | u32::from(entry.redelivered) << 1 | entry.delivery_count.min(u32::MAX >> 2) << 2;
        let message = if entry.durable {
            None
        } else {
            entry.message.map(Box::new)
        };
        Self {
            id: entry.id,
            location: entry.location,
            body_len: entry.body_len,
            flags,
            message,
        }
    }
}

impl From<Cold> for Entry {
    fn from(cold: Cold) -> Self {
        Self {
            id: cold.id,
            location: cold.location,
            body_len: cold.body_len,
            delivery_count: cold.delivery_count(),
            redelivered: cold.flags & 2 != 0,
            durable: cold.durable(),
            message: cold.message.map(|message| *message),
        }
    }
}
