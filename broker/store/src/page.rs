//! A stretch of a queue's messages, packed: a few bytes per message, none in memory once a checkpoint has put them on
//! disk.
//!
//! In: messages ascending by id. Out: the same messages again, and sums over them that need no unpacking. Pages never
//! change: whoever removes or moves a message of one unpacks it first. Does not know which queue it belongs to, or when
//! checkpoints are taken.

use crate::error::Error;
use crate::ids::MessageId;
use crate::location::Location;
use crate::pages::{PageFile, Slot};
use crate::record::{self, put, take};
use crate::segment;
use crate::stored::StoredMessage;
use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Most messages in a page: bounds what a damaged count can make anyone allocate.
const MOST: u32 = 1 << 16;

/// Messages of one queue, ascending by id, packed. A clone is the same page.
#[derive(Debug, Clone)]
pub struct Page(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    summary: Summary,
    body: Mutex<Body>,
}

/// The facts about a page that need no unpacking.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub(crate) first: MessageId,
    pub(crate) last: MessageId,
    pub(crate) count: u32,
    /// Payloads, bytes.
    pub(crate) payload_bytes: u64,
    /// The lowest and the highest stamp of those messages that have one; 0 if none has.
    pub(crate) lowest_stamp: u64,
    pub(crate) highest_stamp: u64,
    pub(crate) shares: Vec<Share>,
}

/// The part of a page's messages whose records lie in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) segment: u32,
    pub(crate) count: u32,
    /// Lengths of the records, bytes.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
enum Body {
    Memory(Arc<[u8]>),
    Disk(Slot, Arc<PageFile>),
}

impl Page {
    /// Packs messages, which must ascend by id. `None` when there are none, or more than 65,536.
    pub fn pack(messages: &[StoredMessage]) -> Option<Page> {
        let (first, last) = (messages.first()?.id, messages.last()?.id);
        let count = u32::try_from(messages.len()).ok().filter(|&count| count <= MOST)?;
        let mut summary = Summary {
            first,
            last,
            count,
            ..Summary::default()
        };
        for message in messages {
            summary.add(message);
        }
        Some(Page::new(summary, Body::Memory(encode(messages).into())))
    }

    fn new(summary: Summary, body: Body) -> Page {
        Page(Arc::new(Inner {
            summary,
            body: Mutex::new(body),
        }))
    }

    /// A page whose bytes a checkpoint holds itself.
    pub(crate) fn inline(summary: Summary, bytes: &[u8]) -> Page {
        Page::new(summary, Body::Memory(bytes.into()))
    }

    /// A page that a checkpoint refers to.
    pub(crate) fn stored(summary: Summary, slot: Slot, file: Arc<PageFile>) -> Page {
        Page::new(summary, Body::Disk(slot, file))
    }

    /// The lowest id.
    pub fn first(&self) -> MessageId {
        self.0.summary.first
    }

    /// The highest id.
    pub fn last(&self) -> MessageId {
        self.0.summary.last
    }

    /// Number of messages, at least 1.
    pub fn count(&self) -> u32 {
        self.0.summary.count
    }

    /// Their payloads in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.0.summary.payload_bytes
    }

    /// The lowest and the highest stamp of the messages that have one; `None` if none has. The page need not be
    /// unpacked for it.
    pub fn stamps(&self) -> Option<RangeInclusive<u64>> {
        let Summary {
            lowest_stamp,
            highest_stamp,
            ..
        } = self.0.summary;
        (highest_stamp != 0).then_some(lowest_stamp..=highest_stamp)
    }

    /// Memory that it takes, in bytes.
    pub fn resident(&self) -> u64 {
        let body = match &*self.0.body.lock() {
            Body::Memory(bytes) => bytes.len(),
            Body::Disk(..) => 0,
        };
        (size_of::<Inner>() + self.0.summary.shares.len() * size_of::<Share>() + body) as u64
    }

    pub(crate) fn summary(&self) -> &Summary {
        &self.0.summary
    }

    /// The messages. Reads the disk if a checkpoint has put the page there.
    ///
    /// # Errors
    /// [`Error::DamagedPage`], or what the system reports.
    pub(crate) fn unpack(&self) -> Result<Vec<StoredMessage>, Error> {
        let (slot, file) = {
            let body = self.0.body.lock();
            match &*body {
                Body::Memory(bytes) => {
                    let bytes = Arc::clone(bytes);
                    drop(body);
                    return self.decode(&bytes).ok_or_else(|| self.damaged());
                }
                Body::Disk(slot, file) => (*slot, Arc::clone(file)),
            }
        };
        let bytes = file.read(slot)?;
        bytes
            .and_then(|bytes| self.decode(&bytes))
            .ok_or_else(|| self.damaged())
    }

    fn decode(&self, bytes: &[u8]) -> Option<Vec<StoredMessage>> {
        let messages = decode(bytes, self.count())?;
        let (first, last) = (messages.first()?.id, messages.last()?.id);
        (first == self.first() && last == self.last()).then_some(messages)
    }

    fn damaged(&self) -> Error {
        Error::DamagedPage {
            first: self.first(),
            last: self.last(),
        }
    }

    /// The packed bytes, unless they are on disk.
    pub(crate) fn in_memory(&self) -> Option<Arc<[u8]>> {
        match &*self.0.body.lock() {
            Body::Memory(bytes) => Some(Arc::clone(bytes)),
            Body::Disk(..) => None,
        }
    }

    /// Where it lies on disk, if it does.
    pub(crate) fn slot(&self) -> Option<Slot> {
        match &*self.0.body.lock() {
            Body::Memory(_) => None,
            Body::Disk(slot, _) => Some(*slot),
        }
    }

    /// A durable checkpoint refers to the page at this place: it need not be in memory any more.
    pub(crate) fn moved(&self, slot: Slot, file: &Arc<PageFile>) {
        *self.0.body.lock() = Body::Disk(slot, Arc::clone(file));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Body::Disk(slot, file) = self.body.get_mut() {
            file.release(*slot);
        }
    }
}

impl Summary {
    fn add(&mut self, message: &StoredMessage) {
        self.payload_bytes += u64::from(message.payload_len);
        if message.stamp != 0 {
            let first = self.highest_stamp == 0;
            self.lowest_stamp = if first {
                message.stamp
            } else {
                self.lowest_stamp.min(message.stamp)
            };
            self.highest_stamp = self.highest_stamp.max(message.stamp);
        }
        let Location { segment, len, .. } = message.location;
        let len = u64::from(len);
        match self.shares.iter_mut().rev().find(|share| share.segment == segment) {
            Some(share) => {
                share.count += 1;
                share.bytes += len;
            }
            None => self.shares.push(Share {
                segment,
                count: 1,
                bytes: len,
            }),
        }
    }
}

/// The fields of a message that are not as the one before lets expect. Persisted.
mod field {
    pub(super) const ID: u64 = 1;
    pub(super) const SEGMENT: u64 = 2;
    pub(super) const OFFSET: u64 = 4;
    pub(super) const LEN: u64 = 8;
    pub(super) const PAYLOAD: u64 = 16;
    pub(super) const FLAGS: u64 = 32;
    /// Since format 3.
    pub(super) const STAMP: u64 = 64;
    pub(super) const ALL: u64 = 127;
}

/// A message as a page sees it: each field as a number that the one before predicts.
#[derive(Clone, Copy)]
struct Row {
    id: u64,
    segment: u32,
    offset: u32,
    len: u32,
    payload: u32,
    flags: u64,
    stamp: u64,
}

impl Row {
    const BEFORE: Row = Row {
        id: 0,
        segment: 0,
        offset: 0,
        len: 0,
        payload: 0,
        flags: 0,
        stamp: 0,
    };

    fn of(message: &StoredMessage) -> Row {
        let StoredMessage {
            id,
            location: Location { segment, offset, len },
            payload_len,
            delivery_count,
            redelivered,
            stamp,
        } = *message;
        Row {
            id,
            segment,
            offset,
            len,
            payload: payload_len,
            flags: u64::from(delivery_count) << 1 | u64::from(redelivered),
            stamp,
        }
    }

    fn message(self) -> Option<StoredMessage> {
        Some(StoredMessage {
            id: self.id,
            location: Location {
                segment: self.segment,
                offset: self.offset,
                len: self.len,
            },
            payload_len: self.payload,
            delivery_count: u32::try_from(self.flags >> 1).ok()?,
            redelivered: self.flags & 1 != 0,
            stamp: self.stamp,
        })
    }

    /// The next message, if it is the next record of the same publisher: the next id, right behind, of the same size
    /// and stamp.
    fn next(self) -> Row {
        let end = record::aligned(u64::from(self.offset) + u64::from(self.len)).max(segment::HEADER);
        Row {
            id: self.id.wrapping_add(1),
            offset: end as u32,
            ..self
        }
    }
}

/// A token is a number: doubled, a count of messages that come as predicted; doubled plus 1, the fields that differ,
/// each then as a zigzag difference from its prediction.
fn encode(messages: &[StoredMessage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = Row::BEFORE;
    let mut run = 0u64;
    for message in messages {
        let row = Row::of(message);
        let guess = before.next();
        let overhead = before.len.wrapping_sub(before.payload);
        let differences = [
            (field::ID, row.id.wrapping_sub(guess.id)),
            (field::SEGMENT, difference(row.segment, guess.segment)),
            (field::OFFSET, difference(row.offset, guess.offset)),
            (field::LEN, difference(row.len, guess.len)),
            (field::PAYLOAD, difference(row.payload, row.len.wrapping_sub(overhead))),
            (field::FLAGS, row.flags.wrapping_sub(guess.flags)),
            (field::STAMP, row.stamp.wrapping_sub(guess.stamp)),
        ];
        let mask: u64 = differences.iter().filter(|(_, d)| *d != 0).map(|(bit, _)| bit).sum();
        if mask == 0 {
            run += 1;
        } else {
            if run > 0 {
                put(&mut bytes, std::mem::take(&mut run) << 1);
            }
            put(&mut bytes, mask << 1 | 1);
            for (_, difference) in differences.into_iter().filter(|(_, d)| *d != 0) {
                put(&mut bytes, (difference << 1) ^ ((difference as i64 >> 63) as u64));
            }
        }
        before = row;
    }
    if run > 0 {
        put(&mut bytes, run << 1);
    }
    bytes
}

fn difference(value: u32, guess: u32) -> u64 {
    u64::from(value).wrapping_sub(u64::from(guess))
}

/// `None` unless the bytes are exactly `count` messages, ascending by id.
fn decode(mut bytes: &[u8], count: u32) -> Option<Vec<StoredMessage>> {
    let count = Some(count).filter(|&count| count <= MOST)? as usize;
    let mut messages = Vec::with_capacity(count);
    let mut before = Row::BEFORE;
    while !bytes.is_empty() {
        let token = take(&mut bytes)?;
        if token & 1 == 0 {
            let run = usize::try_from(token >> 1)
                .ok()
                .filter(|&run| run <= count - messages.len())?;
            for _ in 0..run {
                before = before.next();
                messages.push(before.message()?);
            }
        } else {
            before = row(before, token >> 1, &mut bytes)?;
            (messages.len() < count).then_some(())?;
            messages.push(before.message()?);
        }
    }
    let whole = messages.len() == count && messages.is_sorted_by(|a, b| a.id < b.id);
    whole.then_some(messages)
}

fn row(before: Row, mask: u64, bytes: &mut &[u8]) -> Option<Row> {
    let guess = before.next();
    let mut read = |bit: u64| -> Option<u64> {
        if mask & bit == 0 {
            return Some(0);
        }
        let zigzag = take(bytes)?;
        Some((zigzag >> 1) ^ (zigzag & 1).wrapping_neg())
    };
    let narrow = |guess: u32, difference: u64| u32::try_from(u64::from(guess).wrapping_add(difference)).ok();
    (mask & !field::ALL == 0).then_some(())?;
    let id = guess.id.wrapping_add(read(field::ID)?);
    let segment = narrow(guess.segment, read(field::SEGMENT)?)?;
    let offset = narrow(guess.offset, read(field::OFFSET)?)?;
    let len = narrow(guess.len, read(field::LEN)?)?;
    let overhead = before.len.wrapping_sub(before.payload);
    let payload = narrow(len.wrapping_sub(overhead), read(field::PAYLOAD)?)?;
    let flags = guess.flags.wrapping_add(read(field::FLAGS)?);
    let stamp = guess.stamp.wrapping_add(read(field::STAMP)?);
    Some(Row {
        id,
        segment,
        offset,
        len,
        payload,
        flags,
        stamp,
    })
}
