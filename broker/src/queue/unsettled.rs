//! The messages of a queue that have been delivered and wait for an acknowledgement, ascending by id.
//!
//! Comes in: what `dispatch` handed to a channel that must acknowledge. Goes out: entries by id, to be forgotten or
//! requeued.
//! Does not know which channel has which message: the channel's list of delivery tags does.

use super::entry::Entry;
use super::run::KEPT;
use leveret_store::{Backlog, Live, Location, MessageId, StoredMessage};
use std::collections::VecDeque;

/// Memory that delivered messages may take before durable ones are only kept in the log.
const RESIDENT_BUDGET: u64 = 16 * 1024 * 1024;

/// Delivered messages by id. Deliveries come mostly in ascending order and are mostly settled from the front, so a ring
/// with holes does the work of a map.
#[derive(Default)]
pub struct Unsettled {
    ring: VecDeque<(MessageId, Option<Entry>)>,
    len: usize,
    resident: u64,
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

    /// Memory that the messages take, bytes.
    pub fn resident(&self) -> u64 {
        self.resident
    }

    /// Adds a delivered message.
    pub fn insert(&mut self, mut entry: Entry) {
        if entry.durable && self.resident > RESIDENT_BUDGET {
            entry.message = None;
        }
        self.len += 1;
        self.resident += entry.resident();
        self.body_bytes += u64::from(entry.body_len);
        if self.ring.back().is_none_or(|(last, _)| *last < entry.id) {
            self.ring.push_back((entry.id, Some(entry)));
            return;
        }
        match self.ring.binary_search_by_key(&entry.id, |(id, _)| *id) {
            Ok(at) => {
                if let Some(slot) = self.ring.get_mut(at) {
                    slot.1 = Some(entry);
                }
            }
            Err(at) => self.ring.insert(at, (entry.id, Some(entry))),
        }
    }

    /// Takes a message out. `None` if it isn't here (the queue was purged of it, deleted, or it was settled before).
    pub fn remove(&mut self, id: MessageId) -> Option<Entry> {
        let at = self.place(id)?;
        let entry = self.ring.get_mut(at)?.1.take()?;
        self.len -= 1;
        self.resident = self.resident.saturating_sub(entry.resident());
        self.body_bytes = self.body_bytes.saturating_sub(u64::from(entry.body_len));
        while matches!(self.ring.front(), Some((_, None))) {
            self.ring.pop_front();
        }
        if self.ring.is_empty() && self.ring.capacity() > KEPT {
            self.ring = VecDeque::new();
        }
        if self.ring.len() > 4096 && self.ring.len() > self.len * 4 {
            self.ring.retain(|(_, entry)| entry.is_some());
        }
        Some(entry)
    }

    /// The place of a message, or of its hole. A queue's ids lie mostly evenly, so that its share of the way from the
    /// first id to the last tells the place, give or take one.
    #[inline]
    fn place(&self, id: MessageId) -> Option<usize> {
        let ((first, _), (last, _)) = (self.ring.front()?, self.ring.back()?);
        let (way, whole) = (id.checked_sub(*first)?, (last - first).max(1));
        let guess = (way as f64 * (self.ring.len() - 1) as f64 / whole as f64) as usize;
        let near = [guess, guess.wrapping_sub(1), guess + 1];
        near.into_iter()
            .find(|at| self.ring.get(*at).is_some_and(|(there, _)| *there == id))
            .or_else(|| self.search(id))
    }

    #[cold]
    fn search(&self, id: MessageId) -> Option<usize> {
        self.ring.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    /// Removes everything; returns the messages that the log has.
    pub fn clear(&mut self) -> Vec<(MessageId, Location)> {
        let ring = std::mem::take(self).ring;
        ring.into_iter()
            .filter_map(|(id, entry)| entry.filter(|e| e.durable).map(|e| (id, e.location)))
            .collect()
    }

    /// The delivery count and the stamp of a message, if it waits here.
    pub fn live(&self, id: MessageId) -> Option<Live> {
        let at = self.place(id)?;
        self.ring.get(at)?.1.as_ref().map(Entry::live)
    }

    /// Adds the messages that the log has, as redelivered: no client has them any more after a start.
    pub fn capture(&self, backlog: &mut Backlog) {
        let entries = self.ring.iter().filter_map(|(_, entry)| entry.as_ref());
        backlog
            .loose
            .extend(entries.filter(|entry| entry.durable).map(|entry| StoredMessage {
                redelivered: true,
                ..entry.stored()
            }));
    }

    /// Notes that a message's record has been moved. False if it isn't here.
    pub fn relocate(&mut self, id: MessageId, to: Location) -> bool {
        match self.place(id).and_then(|at| self.ring.get_mut(at)) {
            Some((_, Some(entry))) => {
                entry.location = to;
                true
            }
            _ => false,
        }
    }
}
