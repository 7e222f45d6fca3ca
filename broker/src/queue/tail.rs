//! The waiting messages behind the front of a long queue: pointers into the log, packed in pages where there are many.
//!
//! Comes in: messages at the end, seldom one in between. Goes out: runs from the front. A page takes a few bytes per
//! message and, once a checkpoint has put it on disk, none; the memory of a queue does not grow with its length. Does
//! not know about consumers, or what a message says.

use super::entry::{Entry, NOWHERE};
use super::stamp::{self, Millis};
use crate::message::{Footprint, Message};
use leveret_store::{Backlog, Handle, Live, Location, MessageId, Page, QueueId, StoredMessage};
use std::collections::VecDeque;

#[cfg(test)]
mod tests;

/// Messages in a page; few in tests, so that they come by every case.
const PAGE: usize = if cfg!(test) { 8 } else { 4096 };
/// Messages that are left of a page when others have expired, from which on they are packed again.
const REPACKED: usize = PAGE / 64 + 1;
/// Pages that are unpacked, and packed again, under one lock of the queue when some of their messages expire, however
/// many levels it has: about a millisecond.
const PAGES_AT_ONCE: usize = 4;
/// Number of stretches at the end that are not packed: a message that two publishers' race has delayed still finds its
/// place.
const OPEN: usize = 2;

/// Remains of an entry behind the front: the message is in the log, or in `message` if the log doesn't have it.
pub struct Cold {
    /// Its id.
    pub id: MessageId,
    /// Place of its record.
    pub location: Location,
    /// Length of the body, bytes.
    pub body_len: u32,
    /// Delivery count in the upper bits, redelivered in bit 1, durable in bit 0.
    flags: u32,
    /// The queue's number for it; 0: none.
    stamp: u64,
    message: Option<Box<Message>>,
}

/// A stretch of messages.
enum Chunk {
    Packed(Page),
    Loose(Loose),
}

/// A stretch in memory.
#[derive(Default)]
struct Loose {
    cold: VecDeque<Cold>,
    /// No message's time is over before, in milliseconds since 1970; `None` if no message expires.
    earliest: Option<Millis>,
}

/// Access to the log for one queue: pages are unpacked from there.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The log.
    pub log: &'a Handle,
    /// The queue.
    pub queue: QueueId,
    /// Memory that the messages at the queue's front may take before further durable ones are left in the log alone,
    /// bytes.
    pub budget: u64,
}

/// Work under one lock of the queue when messages expire: shared by all that hold some of them.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Messages that may still be taken out.
    messages: usize,
    /// Pages that may still be unpacked.
    pages: usize,
}

impl Turn {
    /// For `messages`, and a few pages.
    pub fn of(messages: usize) -> Self {
        Self {
            messages,
            pages: PAGES_AT_ONCE,
        }
    }

    /// Messages that may still be taken out.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// True if the rest is for another turn.
    pub fn is_over(&self) -> bool {
        self.messages == 0 || self.pages == 0
    }

    /// Messages were taken out.
    pub fn took(&mut self, messages: usize) {
        self.messages = self.messages.saturating_sub(messages);
    }
}

/// Messages ascending by id.
#[derive(Default)]
pub struct Tail {
    chunks: VecDeque<Chunk>,
    /// Everything at or below was delivered before the last start.
    delivered: MessageId,
    /// An id of the stretch that was last looked into. Who looks into one after the other (the log, when it moves
    /// records) should not leave all of them unpacked.
    looked_into: Option<MessageId>,
    /// The lowest id of the stretches whose turn it is when messages expire.
    expired: MessageId,
}

impl Tail {
    /// An empty one after a start. `delivered`: everything at or below was delivered before that.
    pub fn since(delivered: MessageId) -> Self {
        Self {
            delivered,
            ..Self::default()
        }
    }

    /// True if there are no messages.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The lowest id.
    pub fn first(&self) -> Option<MessageId> {
        self.chunks.front().and_then(Chunk::first)
    }

    /// The highest id.
    pub fn last(&self) -> Option<MessageId> {
        self.chunks.back().and_then(Chunk::last)
    }

    /// Adds a message with the highest id so far.
    pub fn push(&mut self, cold: Cold) {
        match self.chunks.back_mut() {
            Some(Chunk::Loose(chunk)) if chunk.cold.len() < PAGE => chunk.push_back(cold),
            _ => {
                self.pack_behind();
                self.chunks.push_back(Chunk::Loose(Loose::of(cold)));
            }
        }
    }

    /// Packs the stretch that is now far enough from the end.
    fn pack_behind(&mut self) {
        let behind = self.chunks.len().checked_sub(OPEN);
        if let Some(chunk) = behind.and_then(|at| self.chunks.get_mut(at)) {
            chunk.pack();
        }
    }

    /// Adds a message where its id belongs.
    pub fn insert(&mut self, cold: Cold, reader: Reader<'_>) {
        if self.last().is_none_or(|last| last < cold.id) {
            return self.push(cold);
        }
        let at = self.chunk_of(cold.id);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return self.push(cold);
        };
        chunk.open(reader, self.delivered).insert(cold);
    }

    /// Takes messages from the front: up to `most`, and up to `bytes` of bodies, but at least one.
    pub fn take(&mut self, most: usize, bytes: u64, reader: Reader<'_>) -> Vec<Cold> {
        let mut run = Vec::new();
        let mut taken = 0;
        while let Some(chunk) = self.chunks.front_mut() {
            let chunk = &mut chunk.open(reader, self.delivered).cold;
            while let Some(cold) = chunk.front() {
                taken += u64::from(cold.body_len);
                if !run.is_empty() && (run.len() >= most || taken > bytes) {
                    return run;
                }
                run.extend(chunk.pop_front());
            }
            self.chunks.pop_front();
        }
        run
    }

    /// Adds messages before all others, the last one first.
    pub fn put_before(&mut self, descending: impl Iterator<Item = Cold>) {
        let mut chunk = Loose::default();
        for cold in descending {
            chunk.note(&cold);
            chunk.cold.push_front(cold);
            if chunk.cold.len() >= PAGE {
                self.push_before(std::mem::take(&mut chunk));
            }
        }
        if !chunk.cold.is_empty() {
            self.push_before(chunk);
        }
    }

    fn push_before(&mut self, chunk: Loose) {
        let mut chunk = Chunk::Loose(chunk);
        chunk.pack();
        self.chunks.push_front(chunk);
    }

    /// Place of the stretch that an id belongs to.
    fn chunk_of(&self, id: MessageId) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < id))
    }

    /// The message with this id, if it is here.
    pub fn find(&mut self, id: MessageId, reader: Reader<'_>) -> Option<&mut Cold> {
        let at = self.chunk_of(id);
        if let Some(before) = self.looked_into.take().map(|before| self.chunk_of(before))
            && before != at
            && before + OPEN < self.chunks.len()
            && let Some(chunk) = self.chunks.get_mut(before)
        {
            chunk.pack();
        }
        let chunk = self
            .chunks
            .get_mut(at)
            .filter(|chunk| chunk.first().is_some_and(|first| first <= id))?;
        self.looked_into = Some(id);
        let chunk = &mut chunk.open(reader, self.delivered).cold;
        let at = chunk.binary_search_by_key(&id, |cold| cold.id).ok()?;
        chunk.get_mut(at)
    }

    /// No message's time is over before.
    pub fn earliest(&self) -> Option<Millis> {
        self.chunks.iter().map(Chunk::earliest).fold(None, stamp::earlier)
    }

    /// Takes out messages whose time is over, wherever they are: as many as the turn allows or a few more, the rest at
    /// the next turns, which begin where this one has ended. Gives none only if there are none, or the turn is over.
    pub fn expire(&mut self, now: Millis, turn: &mut Turn, reader: Reader<'_>) -> Vec<Cold> {
        let mut expired = Vec::new();
        let (from, count) = (self.chunk_of(self.expired), self.chunks.len());
        for at in (from..count).chain(0..from.min(count)) {
            if turn.is_over() {
                break;
            }
            let due = |chunk: &&mut Chunk| chunk.earliest().is_some_and(|earliest| earliest <= now);
            let Some(chunk) = self.chunks.get_mut(at).filter(due) else {
                continue;
            };
            self.expired = chunk.last().map_or(0, |last| last + 1);
            let packed = matches!(chunk, Chunk::Packed(_));
            let before = expired.len();
            chunk.open(reader, self.delivered).expire(now, &mut expired);
            turn.took(expired.len() - before);
            if packed {
                turn.pages -= 1;
                chunk.pack_from(REPACKED);
            }
        }
        self.chunks.retain(|chunk| chunk.first().is_some());
        if !turn.is_over() {
            // Nothing is left for another turn: the next time begins with the oldest.
            self.expired = 0;
        }
        // A turn that has gone around the end comes to older ones last: those become dead letters first all the same.
        expired.sort_by_key(|cold| cold.id);
        expired
    }

    /// Removes everything: pages as they are, and the rest that the log has.
    pub fn clear(&mut self) -> (Vec<Page>, Vec<(MessageId, Location)>) {
        let (mut pages, mut loose) = (Vec::new(), Vec::new());
        for chunk in std::mem::take(self).chunks {
            match chunk {
                Chunk::Packed(page) => pages.push(page),
                Chunk::Loose(chunk) => loose.extend(
                    chunk
                        .cold
                        .iter()
                        .filter(|cold| cold.durable())
                        .map(|cold| (cold.id, cold.location)),
                ),
            }
        }
        (pages, loose)
    }

    /// Adds the messages that the log has. Stretches that were unpacked for a moment are packed again.
    pub fn capture(&mut self, backlog: &mut Backlog) {
        let packable = self.chunks.len().saturating_sub(OPEN);
        for chunk in self.chunks.iter_mut().take(packable) {
            chunk.pack();
        }
        for chunk in &self.chunks {
            match chunk {
                Chunk::Packed(page) => backlog.pages.push(page.clone()),
                Chunk::Loose(chunk) => {
                    let durable = chunk.cold.iter().filter(|cold| cold.durable());
                    backlog.loose.extend(durable.map(Cold::stored));
                }
            }
        }
    }

    /// Puts in what a start found, into an empty tail. Returns the number of messages and the bytes of their payloads.
    pub fn restore(&mut self, backlog: Backlog, reader: Reader<'_>) -> (usize, u64) {
        let mut count = backlog.loose.len();
        let mut bytes: u64 = backlog.loose.iter().map(|message| u64::from(message.payload_len)).sum();
        self.delivered = backlog.delivered;
        let mut loose = backlog.loose.into_iter().peekable();
        for page in backlog.pages {
            count += page.count() as usize;
            bytes += page.payload_bytes();
            while let Some(message) = loose.next_if(|message| message.id < page.first()) {
                self.push_restored(Cold::of(&message, self.delivered));
            }
            let last = page.last();
            self.put_page(page, reader);
            while let Some(message) = loose.next_if(|message| message.id < last) {
                self.put(&message, reader);
            }
        }
        for message in loose {
            self.push_restored(Cold::of(&message, self.delivered));
        }
        (count, bytes)
    }

    /// As [`Tail::push`], without packing: a start need not take the time.
    fn push_restored(&mut self, cold: Cold) {
        match self.chunks.back_mut() {
            Some(Chunk::Loose(chunk)) if chunk.cold.len() < PAGE => chunk.push_back(cold),
            _ => self.chunks.push_back(Chunk::Loose(Loose::of(cold))),
        }
    }

    /// Adds a message that a start found.
    pub fn put(&mut self, message: &StoredMessage, reader: Reader<'_>) {
        self.insert(Cold::of(message, self.delivered), reader);
    }

    /// Adds a page that a start found, as it is if it lies behind all others.
    pub fn put_page(&mut self, page: Page, reader: Reader<'_>) {
        if self.last().is_none_or(|last| last < page.first()) {
            self.chunks.push_back(Chunk::Packed(page));
            return;
        }
        for message in reader.log.unpack(reader.queue, &page) {
            self.put(&message, reader);
        }
    }
}

impl Chunk {
    fn first(&self) -> Option<MessageId> {
        match self {
            Chunk::Packed(page) => Some(page.first()),
            Chunk::Loose(chunk) => chunk.cold.front().map(|cold| cold.id),
        }
    }

    fn last(&self) -> Option<MessageId> {
        match self {
            Chunk::Packed(page) => Some(page.last()),
            Chunk::Loose(chunk) => chunk.cold.back().map(|cold| cold.id),
        }
    }

    /// A page only if the log has all of it.
    fn pack(&mut self) {
        self.pack_from(PAGE / 2);
    }

    /// As [`Chunk::pack`], if there are at least `least` messages.
    fn pack_from(&mut self, least: usize) {
        let Chunk::Loose(Loose { cold, .. }) = self else { return };
        if cold.len() >= least && cold.iter().all(Cold::durable) {
            let stored: Vec<StoredMessage> = cold.iter().map(Cold::stored).collect();
            if let Some(page) = Page::pack(&stored) {
                *self = Chunk::Packed(page);
            }
        }
    }

    fn open(&mut self, reader: Reader<'_>, delivered: MessageId) -> &mut Loose {
        loop {
            match self {
                Chunk::Loose(chunk) => return chunk,
                Chunk::Packed(page) => {
                    let messages = reader.log.unpack(reader.queue, page);
                    *self = Chunk::Loose(Loose {
                        cold: messages.iter().map(|message| Cold::of(message, delivered)).collect(),
                        earliest: page_earliest(page),
                    });
                }
            }
        }
    }

    /// No message's time is over before.
    fn earliest(&self) -> Option<Millis> {
        match self {
            Chunk::Packed(page) => page_earliest(page),
            Chunk::Loose(chunk) => chunk.earliest,
        }
    }
}

/// The page need not be unpacked for it.
fn page_earliest(page: &Page) -> Option<Millis> {
    page.stamps().and_then(|stamps| stamp::deadline(*stamps.start()))
}

impl Loose {
    fn of(cold: Cold) -> Loose {
        let mut chunk = Loose::default();
        chunk.push_back(cold);
        chunk
    }

    fn push_back(&mut self, cold: Cold) {
        self.note(&cold);
        self.cold.push_back(cold);
    }

    /// Adds a message where its id belongs.
    fn insert(&mut self, cold: Cold) {
        self.note(&cold);
        let at = self.cold.partition_point(|other| other.id < cold.id);
        self.cold.insert(at, cold);
    }

    fn note(&mut self, cold: &Cold) {
        self.earliest = stamp::earlier(self.earliest, stamp::deadline(cold.stamp));
    }

    /// Moves the messages to `expired` whose time is over.
    fn expire(&mut self, now: Millis, expired: &mut Vec<Cold>) {
        self.earliest = None;
        for cold in std::mem::take(&mut self.cold) {
            if stamp::deadline(cold.stamp).is_some_and(|deadline| deadline <= now) {
                expired.push(cold);
            } else {
                self.push_back(cold);
            }
        }
    }
}

impl Cold {
    fn of(message: &StoredMessage, delivered: MessageId) -> Cold {
        let redelivered = message.redelivered || message.id <= delivered;
        Cold {
            id: message.id,
            location: message.location,
            body_len: message.payload_len,
            flags: flags(true, redelivered, message.delivery_count),
            stamp: message.stamp,
            message: None,
        }
    }

    fn stored(&self) -> StoredMessage {
        StoredMessage {
            id: self.id,
            location: self.location,
            payload_len: self.body_len,
            delivery_count: self.delivery_count(),
            redelivered: self.redelivered(),
            stamp: self.stamp,
        }
    }

    /// The part of it that changes in the log.
    pub fn live(&self) -> Live {
        Live {
            delivery_count: self.delivery_count(),
            stamp: self.stamp,
        }
    }

    /// True if the log has it.
    pub fn durable(&self) -> bool {
        self.flags & 1 != 0
    }

    fn redelivered(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Number of times that it came back.
    fn delivery_count(&self) -> u32 {
        self.flags >> 2
    }

    /// Memory that the message takes.
    pub fn resident(&self) -> Footprint {
        let message = self.message.as_ref();
        message.map(|message| message.footprint()).unwrap_or_default()
    }
}

fn flags(durable: bool, redelivered: bool, count: u32) -> u32 {
    u32::from(durable) | u32::from(redelivered) << 1 | count.min(u32::MAX >> 2) << 2
}

impl From<Entry> for Cold {
    fn from(entry: Entry) -> Self {
        let message = if entry.durable {
            None
        } else {
            entry.message.map(Box::new)
        };
        Self {
            id: entry.id,
            location: if entry.durable { entry.location } else { NOWHERE },
            body_len: entry.body_len,
            flags: flags(entry.durable, entry.redelivered, entry.delivery_count),
            stamp: entry.stamp,
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
            redelivered: cold.redelivered(),
            stamp: cold.stamp,
            durable: cold.durable(),
            message: cold.message.map(|message| *message),
        }
    }
}
