//! The messages of a queue that have been delivered and wait for an acknowledgement, by id.
//!
//! Comes in: what `dispatch` handed to a channel that must acknowledge. Goes out: entries by id, to be forgotten or
//! requeued.
//! Does not know which channel has which message: the channel's list of delivery tags does.

use super::entries::Room;
use super::entry::Entry;
use super::outstanding::Outstanding;
use crate::message::{ENTRY, Footprint};
use leveret_store::{Backlog, Live, Location, MessageId, StoredMessage};

/// Memory that delivered messages may take before durable ones are only kept in the log.
const RESIDENT_BUDGET: u64 = 16 * 1024 * 1024;

/// Delivered messages.
#[derive(Default)]
pub struct Unsettled {
    entries: Outstanding,
    len: usize,
    resident: Footprint,
    body_bytes: u64,
}

impl Unsettled {
    /// Number of messages that wait for an acknowledgement.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if none does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bodies of these messages, bytes.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Memory that the messages take, also those whose message only the log has: there may be very many.
    pub fn resident(&self) -> Footprint {
        self.resident
    }

    /// Keeps a place for a message that is being delivered, so that those of several consumers can be added one
    /// consumer after the other.
    #[inline]
    pub fn expect(&mut self, id: MessageId) {
        self.entries.expect(id);
    }

    /// Adds a delivered message.
    pub fn insert(&mut self, mut entry: Entry) {
        if entry.durable && self.resident.bytes > RESIDENT_BUDGET {
            entry.message = None;
        }
        self.len += 1;
        self.resident += taken_by(&entry);
        self.body_bytes += u64::from(entry.body_len);
        self.entries.insert(entry);
    }

    /// Takes a message out. `None` if it isn't here (the queue was purged of it, deleted, or it was settled before).
    pub fn remove(&mut self, id: MessageId) -> Option<Entry> {
        let entry = self.entries.remove(id, self.len)?;
        self.has_left(taken_by(&entry), entry.body_len);
        Some(entry)
    }

    /// Drops a message that is done with, where it lies. The same `None`; `Some(None)` if the log doesn't have it, else
    /// the place of its record.
    pub fn acknowledge(&mut self, id: MessageId) -> Option<Option<Location>> {
        let seen = |entry: &Entry| {
            let logged = entry.durable.then_some(entry.location);
            (logged, taken_by(entry), entry.body_len)
        };
        let (logged, resident, body_len) = self.entries.forget(id, self.len, seen)?;
        self.has_left(resident, body_len);
        Some(logged)
    }

    #[inline]
    fn has_left(&mut self, resident: Footprint, body_len: u32) {
        self.len -= 1;
        self.resident -= resident;
        self.body_bytes = self.body_bytes.saturating_sub(u64::from(body_len));
    }

    /// Removes everything; returns the messages that the log has.
    pub fn clear(&mut self) -> Vec<(MessageId, Location)> {
        let entries = std::mem::take(self).entries;
        let durable = entries.iter().filter(|entry| entry.durable);
        durable.map(|entry| (entry.id, entry.location)).collect()
    }

    /// The delivery count and the stamp of a message, if it waits here.
    pub fn live(&self, id: MessageId) -> Option<Live> {
        self.entries.get(id).map(Entry::live)
    }

    /// Adds the messages that the log has, as redelivered: no client has them any more after a start.
    pub fn capture(&self, backlog: &mut Backlog) {
        let durable = self.entries.iter().filter(|entry| entry.durable);
        backlog.loose.extend(durable.map(|entry| StoredMessage {
            redelivered: true,
            ..entry.stored()
        }));
    }

    /// Memory that very many have left, for the place that they go to.
    #[inline]
    pub fn take_room(&mut self) -> Option<Room> {
        self.entries.take_room()
    }

    /// Memory of the place that very many come from.
    pub fn lend(&mut self, room: Room) {
        self.entries.lend(room);
    }

    /// Notes that a message's record has been moved. False if it isn't here.
    pub fn relocate(&mut self, id: MessageId, to: Location) -> bool {
        let entry = self.entries.get_mut(id);
        entry.map(|entry| entry.location = to).is_some()
    }
}

#[inline]
fn taken_by(entry: &Entry) -> Footprint {
    match &entry.message {
        Some(message) => message.footprint(),
        None => Footprint {
            bytes: ENTRY,
            elsewhere: 0,
        },
    }
}
