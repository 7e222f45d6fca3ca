//! On-disk records: bytes to values and back. `README.md` has the table of bytes.
//!
//! In: the body of a record. Out: a borrowed `Record`. Does not know about files, batches or threads.

use crate::ids::{MessageId, QueueId};
use crate::stored::{Destination, Live};

/// Bytes before the body: length and flags, CRC of the body, check word.
pub(crate) const HEAD: usize = 12;
/// Records start at multiples of this many bytes, so that a search after damage has fewer places to try.
pub(crate) const ALIGN: usize = 4;
/// First record of a batch.
const FIRST: u32 = 1 << 31;
/// Last record of a batch.
const LAST: u32 = 1 << 30;
/// Longest body in bytes.
pub(crate) const MAX_BODY: u32 = LAST - 1;

/// The kind of a record. Persisted: values must be kept stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Publish = 1,
    Copy = 2,
    Settle = 3,
    Returned = 4,
    Counted = 5,
    Delivered = 6,
    QueueDeleted = 7,
    Put = 8,
    Delete = 9,
    Mark = 10,
    StampedPublish = 11,
    StampedCopy = 12,
    StampedCounted = 13,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Tag> {
        Some(match byte {
            1 => Tag::Publish,
            2 => Tag::Copy,
            3 => Tag::Settle,
            4 => Tag::Returned,
            5 => Tag::Counted,
            6 => Tag::Delivered,
            7 => Tag::QueueDeleted,
            8 => Tag::Put,
            9 => Tag::Delete,
            10 => Tag::Mark,
            11 => Tag::StampedPublish,
            12 => Tag::StampedCopy,
            13 => Tag::StampedCounted,
            _ => return None,
        })
    }
}

/// A decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A message and the queues that got it.
    Publish {
        id: MessageId,
        queues: Destinations<'a>,
        payload: &'a [u8],
    },
    /// A message moved by reclaim: from which segment, and the queues that still have it.
    Copy {
        from: u32,
        id: MessageId,
        queues: Holders<'a>,
        payload: &'a [u8],
    },
    /// Acknowledged or dropped.
    Settle { queue: QueueId, runs: Runs<'a> },
    /// Requeued: delivery count + 1 each.
    Returned { queue: QueueId, runs: Runs<'a> },
    /// Messages that were returned: how often so far, and their stamps since.
    Counted { queue: QueueId, counts: Counts<'a> },
    /// Everything at or below was delivered before.
    Delivered { queue: QueueId, up_to: MessageId },
    /// All that the log holds for the queue up to here is gone.
    QueueDeleted { queue: QueueId },
    /// Sets a key of the table.
    Put { key: &'a [u8], value: &'a [u8] },
    /// Removes a key of the table.
    Delete { key: &'a [u8] },
    /// All before this log position was synced when the mark was written.
    Mark { synced: u64 },
}

/// The first bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) body: u32,
    pub(crate) first: bool,
    pub(crate) last: bool,
    crc: u32,
}

impl Head {
    /// Reads the head of a record of the segment with this mask; `None` when it is none.
    pub(crate) fn parse(bytes: &[u8], mask: u32) -> Option<Head> {
        let (head, _) = bytes.split_first_chunk::<HEAD>()?;
        let [l0, l1, l2, l3, c0, c1, c2, c3, k0, k1, k2, k3] = *head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let crc = u32::from_le_bytes([c0, c1, c2, c3]);
        let body = length & MAX_BODY;
        if body == 0 || check_word(length, crc) ^ mask != u32::from_le_bytes([k0, k1, k2, k3]) {
            return None;
        }
        Some(Head {
            body,
            first: length & FIRST != 0,
            last: length & LAST != 0,
            crc,
        })
    }

    /// Head and body in bytes.
    pub(crate) fn record_len(&self) -> u64 {
        HEAD as u64 + u64::from(self.body)
    }

    /// True if the body is what was written.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.crc
    }

    /// The twelve bytes, unmasked: [`apply_mask`] binds them to a segment.
    pub(crate) fn encode(body: u32, crc: u32, first: bool, last: bool) -> [u8; HEAD] {
        let length = body | if first { FIRST } else { 0 } | if last { LAST } else { 0 };
        let [l0, l1, l2, l3] = length.to_le_bytes();
        let [c0, c1, c2, c3] = crc.to_le_bytes();
        let [k0, k1, k2, k3] = check_word(length, crc).to_le_bytes();
        [l0, l1, l2, l3, c0, c1, c2, c3, k0, k1, k2, k3]
    }
}

/// Sets the flags in an unmasked head.
pub(crate) fn set_flags(head: &mut [u8], first: bool, last: bool) {
    let Some(chunk) = head.first_chunk_mut::<HEAD>() else {
        return;
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3, ..] = *chunk;
    let body = u32::from_le_bytes([l0, l1, l2, l3]) & MAX_BODY;
    *chunk = Head::encode(body, u32::from_le_bytes([c0, c1, c2, c3]), first, last);
}

/// Binds an encoded head to a segment. Stale bytes of a recycled file carry another segment's mask and are never taken
/// for records.
pub(crate) fn apply_mask(head: &mut [u8], mask: u32) {
    if let Some((_, tail)) = head.split_first_chunk_mut::<8>()
        && let Some(word) = tail.first_chunk_mut::<4>()
    {
        *word = (u32::from_le_bytes(*word) ^ mask).to_le_bytes();
    }
}

/// The mask of a segment of a directory.
pub(crate) fn segment_mask(directory_id: u64, segment: u32) -> u32 {
    fold(mix(directory_id ^ mix(u64::from(segment))))
}

/// Where the next record starts.
pub(crate) fn aligned(len: u64) -> u64 {
    len.next_multiple_of(ALIGN as u64)
}

fn check_word(length: u32, crc: u32) -> u32 {
    fold(mix(u64::from(length) << 32 | u64::from(crc)))
}

/// The finalizer of splitmix64: every input bit changes every output bit with probability one half.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn fold(value: u64) -> u32 {
    (value >> 32) as u32 ^ value as u32
}

/// Decodes a body whose CRC has been checked; `None` when a later release wrote something unknown.
pub(crate) fn decode(body: &[u8]) -> Option<Record<'_>> {
    let (&tag, mut rest) = body.split_first()?;
    let rest = &mut rest;
    let tag = Tag::from_byte(tag)?;
    let stamped = matches!(tag, Tag::StampedPublish | Tag::StampedCopy | Tag::StampedCounted);
    Some(match tag {
        Tag::Publish | Tag::StampedPublish => {
            let id = take(rest)?;
            let count = take(rest)?;
            let numbers = take_numbers(rest, count.checked_mul(1 + u64::from(stamped))?)?;
            Record::Publish {
                id,
                queues: Destinations { numbers, stamped },
                payload: rest,
            }
        }
        Tag::Copy | Tag::StampedCopy => {
            let from = u32::try_from(take(rest)?).ok()?;
            let id = take(rest)?;
            let count = take(rest)?;
            let numbers = take_numbers(rest, count.checked_mul(2 + u64::from(stamped))?)?;
            let queues = Holders { numbers, stamped };
            Record::Copy {
                from,
                id,
                queues,
                payload: rest,
            }
        }
        Tag::Settle => Record::Settle {
            queue: take(rest)?,
            runs: Runs::new(rest),
        },
        Tag::Returned => Record::Returned {
            queue: take(rest)?,
            runs: Runs::new(rest),
        },
        Tag::Counted | Tag::StampedCounted => Record::Counted {
            queue: take(rest)?,
            counts: Counts {
                numbers: Numbers(rest),
                stamped,
            },
        },
        Tag::Delivered => Record::Delivered {
            queue: take(rest)?,
            up_to: take(rest)?,
        },
        Tag::QueueDeleted => Record::QueueDeleted { queue: take(rest)? },
        Tag::Put => {
            let len = usize::try_from(take(rest)?).ok()?;
            let (key, value) = rest.split_at_checked(len)?;
            Record::Put { key, value }
        }
        Tag::Delete => Record::Delete { key: rest },
        Tag::Mark => Record::Mark { synced: take(rest)? },
    })
}

/// Appends a number in 7-bit groups, lowest first; the high bit says that more follow.
pub(crate) fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Splits off `count` numbers.
fn take_numbers<'a>(bytes: &mut &'a [u8], count: u64) -> Option<Numbers<'a>> {
    let all = *bytes;
    for _ in 0..count {
        take(bytes)?;
    }
    all.get(..all.len() - bytes.len()).map(Numbers)
}

/// Encoded numbers, read one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u64> {
        take(&mut self.0)
    }

    /// A stamp, which only stamped records have.
    fn stamp(&mut self, stamped: bool) -> Option<u64> {
        if stamped { self.next() } else { Some(0) }
    }
}

/// The queues of a Publish record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destinations<'a> {
    numbers: Numbers<'a>,
    stamped: bool,
}

impl Iterator for Destinations<'_> {
    type Item = Destination;

    fn next(&mut self) -> Option<Destination> {
        Some(Destination {
            queue: self.numbers.next()?,
            stamp: self.numbers.stamp(self.stamped)?,
        })
    }
}

/// A queue that still has a message which is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) queue: QueueId,
    pub(crate) live: Live,
}

/// The queues of a Copy record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holders<'a> {
    numbers: Numbers<'a>,
    stamped: bool,
}

impl Iterator for Holders<'_> {
    type Item = Holder;

    fn next(&mut self) -> Option<Holder> {
        Some(Holder {
            queue: self.numbers.next()?,
            live: Live {
                delivery_count: clamp(self.numbers.next()?),
                stamp: self.numbers.stamp(self.stamped)?,
            },
        })
    }
}

/// A message that was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Where its record lies.
    pub(crate) segment: u32,
    pub(crate) id: MessageId,
    pub(crate) live: Live,
}

/// The messages of a Counted record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts<'a> {
    numbers: Numbers<'a>,
    stamped: bool,
}

impl Iterator for Counts<'_> {
    type Item = Count;

    fn next(&mut self) -> Option<Count> {
        Some(Count {
            segment: clamp(self.numbers.next()?),
            id: self.numbers.next()?,
            live: Live {
                delivery_count: clamp(self.numbers.next()?),
                stamp: self.numbers.stamp(self.stamped)?,
            },
        })
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A run of consecutive message ids whose publish records are in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) segment: u32,
    pub(crate) first: MessageId,
    /// At least 1.
    pub(crate) count: u64,
}

impl Run {
    /// The last id of the run.
    pub(crate) fn last(&self) -> MessageId {
        self.first.saturating_add(self.count - 1)
    }
}

/// Encoded runs. Each: count, doubled, plus 1 when a segment number follows; then the distance from the end of the run
/// before, zigzag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runs<'a> {
    bytes: &'a [u8],
    segment: u32,
    next: MessageId,
}

impl<'a> Runs<'a> {
    fn new(bytes: &'a [u8]) -> Runs<'a> {
        Runs {
            bytes,
            segment: 0,
            next: 0,
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let head = take(&mut self.bytes)?;
        if head & 1 != 0 {
            self.segment = u32::try_from(take(&mut self.bytes)?).ok()?;
        }
        let distance = take(&mut self.bytes)?;
        let first = self.next.wrapping_add((distance >> 1) ^ (distance & 1).wrapping_neg());
        let count = (head >> 1).max(1);
        self.next = first.wrapping_add(count);
        Some(Run {
            segment: self.segment,
            first,
            count,
        })
    }
}

/// Writes what [`Runs`] reads.
#[derive(Debug, Default)]
pub(crate) struct RunWriter {
    segment: u32,
    next: MessageId,
}

impl RunWriter {
    /// Appends one run.
    pub(crate) fn write(&mut self, bytes: &mut Vec<u8>, run: Run) {
        let moved = run.segment != self.segment;
        put(bytes, run.count << 1 | u64::from(moved));
        if moved {
            put(bytes, u64::from(run.segment));
            self.segment = run.segment;
        }
        let distance = run.first.wrapping_sub(self.next);
        put(bytes, (distance << 1) ^ ((distance as i64 >> 63) as u64));
        self.next = run.first.wrapping_add(run.count);
    }
}
