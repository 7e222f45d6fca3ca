//! The messages of a queue that wait for a consumer, in order.
//!
//! Comes in: new entries at the end, requeued ones at their old position. Goes out: the next one. The front is kept in
//! memory; beyond a budget the durable messages behind it are only pointers into the log, read back in runs when their
//! turn comes.
//! Does not know about consumers or channels.

use super::deadlines::Deadlines;
use super::entry::Entry;
use super::stamp::{self, Millis};
use super::tail::{Cold, Reader, Tail};
use crate::message::Message;
use leveret_store::{Backlog, Handle, Live, Location, MessageId, Page};
use std::collections::VecDeque;
use tracing::error;

/// Messages for which a queue that has run empty keeps room; the rest of a burst's is given back.
pub(super) const KEPT: usize = 4096;

/// Messages, and bytes of their bodies, read back from the log at a time. They share memory, so a message that stays
/// holds that much.
const REFILL_RUN: usize = 1024;
const REFILL_BYTES: u64 = 128 * 1024;

/// Waiting messages, ascending by id.
#[derive(Default)]
pub struct Ready {
    head: VecDeque<Entry>,
    tail: Tail,
    /// Deadlines of the head's messages, if one ever had any.
    deadlines: Option<Box<Deadlines>>,
    resident: u64,
    body_bytes: u64,
    durable: usize,
    durable_bytes: u64,
}

impl Ready {
    /// Number of messages that wait.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// Bodies of the waiting messages, bytes.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Number and body bytes of those that the log has.
    pub fn durable(&self) -> (usize, u64) {
        (self.durable, self.durable_bytes)
    }

    /// Memory that the messages take, bytes.
    pub fn resident(&self) -> u64 {
        self.resident
    }

    /// Puts in what a start found. Nothing must be waiting yet.
    pub fn restore(&mut self, backlog: Backlog, reader: Reader<'_>) {
        let (count, bytes) = self.tail.restore(backlog, reader);
        self.durable = count;
        (self.durable_bytes, self.body_bytes) = (bytes, bytes);
    }

    /// Adds a new message at the end. Two publishers that took their ids at once may come in the other order: then it
    /// goes to where its id belongs.
    pub fn push(&mut self, entry: Entry, reader: Reader<'_>) {
        let last = self.tail.last().or_else(|| self.head.back().map(|entry| entry.id));
        if last.is_some_and(|last| last > entry.id) {
            return self.insert(entry, reader);
        }
        self.count(&entry);
        if self.tail.is_empty() && self.resident < reader.budget {
            self.resident += entry.resident();
            self.note(&entry);
            self.head.push_back(entry);
        } else {
            let cold = Cold::from(entry);
            self.resident += cold.resident();
            self.tail.push(cold);
        }
    }

    /// Puts a message back to its old position (or where its id belongs, if others were requeued meanwhile).
    pub fn insert(&mut self, entry: Entry, reader: Reader<'_>) {
        self.count(&entry);
        if self.tail.first().is_none_or(|first| entry.id < first) {
            self.resident += entry.resident();
            self.note(&entry);
            let at = self.head.partition_point(|other| other.id < entry.id);
            self.head.insert(at, entry);
        } else {
            let cold = Cold::from(entry);
            self.resident += cold.resident();
            self.tail.insert(cold, reader);
        }
    }

    /// Takes the first message, in memory. Messages that the log can't give back any more, and those whose time is over
    /// by `now`, are handed to `skipped`.
    pub fn pop(&mut self, now: Option<Millis>, reader: Reader<'_>, skipped: &mut Skipped) -> Option<Entry> {
        loop {
            if self.head.is_empty() {
                self.warm(reader);
            }
            let mut entry = self.head.pop_front()?;
            if self.head.is_empty() && self.head.capacity() > KEPT {
                self.head = VecDeque::new();
            }
            if let Some(deadlines) = &mut self.deadlines {
                deadlines.forget_below(self.head.front().map(|first| first.id), self.head.len());
            }
            self.resident = self.resident.saturating_sub(entry.resident());
            self.uncount(entry.body_len, entry.durable);
            if stamp::is_over(entry.stamp, now) {
                skipped.expired.push(entry);
                continue;
            }
            if entry.message.is_none() {
                match read(reader.log, entry.location) {
                    Some(message) => entry.message = Some(message),
                    None => {
                        skipped.lost.push((entry.id, entry.location));
                        continue;
                    }
                }
            }
            return Some(entry);
        }
    }

    /// Number of the first messages that have this many bytes together, or of those of them that are in memory; at
    /// least one.
    pub fn first_of(&self, bytes: u64) -> usize {
        let mut sum = 0;
        let some = self.head.iter().take_while(|entry| {
            let before = sum;
            sum += u64::from(entry.body_len);
            before < bytes
        });
        some.count().max(1)
    }

    /// Takes out the first messages. Those that were not in memory come without the message.
    pub fn take_first(&mut self, count: usize, reader: Reader<'_>) -> Vec<Entry> {
        let from_head = count.min(self.head.len());
        let mut first: Vec<Entry> = self.head.drain(..from_head).collect();
        if count > from_head {
            let cold = self.tail.take(count - from_head, u64::MAX, reader);
            first.extend(cold.into_iter().map(Entry::from));
        }
        self.left(&first);
        first
    }

    /// Counts out messages that have been taken from their places.
    fn left(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.resident = self.resident.saturating_sub(entry.resident());
            self.uncount(entry.body_len, entry.durable);
        }
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.forget_below(self.head.front().map(|first| first.id), self.head.len());
        }
    }

    /// No message's time is over before.
    pub fn earliest(&self) -> Option<Millis> {
        let head = self.deadlines.as_ref().and_then(|deadlines| deadlines.earliest());
        stamp::earlier(head, self.tail.earliest())
    }

    /// Takes out messages whose time is over, wherever they wait: `most` or a few more, the rest at the next call.
    /// Those that were not in memory come without the message.
    pub fn expire(&mut self, now: Millis, most: usize, reader: Reader<'_>) -> Vec<Entry> {
        let mut expired = self.expire_head(now);
        if expired.len() < most {
            let cold = self.tail.expire(now, most - expired.len(), reader);
            expired.extend(cold.into_iter().map(Entry::from));
        }
        self.left(&expired);
        expired
    }

    fn expire_head(&mut self, now: Millis) -> Vec<Entry> {
        let Some(deadlines) = &mut self.deadlines else {
            return Vec::new();
        };
        let mut due = deadlines.due(now);
        due.sort_unstable();
        let mut expired = Vec::new();
        let mut rest = due.iter().peekable();
        // Mostly they are the first ones, in order.
        while let Some(id) = rest.peek() {
            match self.head.pop_front_if(|first| first.id <= **id) {
                Some(first) if first.id == **id => expired.push(first),
                Some(first) => {
                    self.head.push_front(first);
                    break;
                }
                None => {}
            }
            rest.next();
        }
        if rest.peek().is_some() {
            let (gone, kept) = std::mem::take(&mut self.head)
                .into_iter()
                .partition(|entry| due.binary_search(&entry.id).is_ok());
            self.head = kept;
            expired.extend::<VecDeque<Entry>>(gone);
        }
        expired
    }

    #[inline]
    fn note(&mut self, entry: &Entry) {
        if let Some(deadline) = stamp::deadline(entry.stamp) {
            self.note_deadline(deadline, entry.id);
        }
    }

    #[cold]
    fn note_deadline(&mut self, deadline: Millis, id: MessageId) {
        self.deadlines.get_or_insert_default().note(deadline, id);
    }

    /// Removes everything.
    pub fn clear(&mut self) -> Cleared {
        let messages = self.len();
        let Self { head, mut tail, .. } = std::mem::take(self);
        let (pages, cold) = tail.clear();
        let head = head.iter().filter(|entry| entry.durable);
        let loose = head.map(|entry| (entry.id, entry.location)).chain(cold).collect();
        Cleared { messages, loose, pages }
    }

    /// The delivery count and the stamp of a message that the log has, if it waits here.
    pub fn live(&mut self, id: MessageId, reader: Reader<'_>) -> Option<Live> {
        if let Ok(at) = self.head.binary_search_by_key(&id, |entry| entry.id) {
            return self.head.get(at).map(Entry::live);
        }
        self.tail.find(id, reader).map(|cold| cold.live())
    }

    /// Notes that a message's record has been moved. False if it doesn't wait here.
    pub fn relocate(&mut self, id: MessageId, to: Location, reader: Reader<'_>) -> bool {
        if let Ok(at) = self.head.binary_search_by_key(&id, |entry| entry.id) {
            return self.head.get_mut(at).map(|entry| entry.location = to).is_some();
        }
        self.tail.find(id, reader).map(|cold| cold.location = to).is_some()
    }

    /// Adds the messages that the log has.
    pub fn capture(&mut self, backlog: &mut Backlog) {
        let head = self.head.iter().filter(|entry| entry.durable);
        backlog.loose.extend(head.map(Entry::stored));
        self.tail.capture(backlog);
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

    /// Moves the next run from the tail to the head, with the messages. What can't be read now is tried again when it
    /// is popped.
    fn warm(&mut self, reader: Reader<'_>) {
        let run = self.tail.take(REFILL_RUN, REFILL_BYTES, reader);
        let in_memory: u64 = run.iter().map(Cold::resident).sum();
        self.resident = self.resident.saturating_sub(in_memory);
        for entry in run.into_iter().map(Entry::from) {
            self.note(&entry);
            self.head.push_back(entry);
        }
        let missing = |entry: &&Entry| entry.durable && entry.message.is_none();
        let locations: Vec<Location> = self.head.iter().filter(missing).map(|entry| entry.location).collect();
        let mut payloads = reader.log.read_run(&locations).into_iter();
        for entry in &mut self.head {
            if entry.durable && entry.message.is_none() {
                entry.message = payloads.next().and_then(Result::ok).and_then(Message::decode);
            }
            self.resident += entry.resident();
        }
    }
}

/// Messages that have left on the way to the next one.
#[derive(Default)]
pub struct Skipped {
    /// Those that the log can't give back.
    pub lost: Vec<(MessageId, Location)>,
    /// Those whose time is over.
    pub expired: Vec<Entry>,
}

impl Skipped {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.expired.is_empty()
    }
}

/// Contents of a queue that was emptied.
pub struct Cleared {
    /// Number of messages.
    pub messages: usize,
    /// Those of them that the log has, except the ones in pages.
    pub loose: Vec<(MessageId, Location)>,
    /// Packed stretches, all of them in the log.
    pub pages: Vec<Page>,
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
