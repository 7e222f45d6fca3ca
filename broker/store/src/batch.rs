//! Encodes records, with their checksums, on the caller's thread and outside any lock.
//!
//! In: messages, settlements, table changes. Out: bytes ready for the log and a tally for the ledger.
//! Does not know about segments' files or the writer.

use crate::ids::{MessageId, QueueId};
use crate::location::{Location, Lsn, Relative};
use crate::record::{self, Count, HEAD, Holder, Run, RunWriter, Tag};
use crate::stored::{Destination, Live, Returned};

#[cfg(test)]
mod tests;

/// Most bytes in a batch: an offset must fit the lower half of an [`crate::Lsn`], with room for a head and a mark.
const MAX_BATCH: u64 = 1 << 31;

/// Records that reach the log together: after a crash all of them are there or none.
///
/// A batch is reused: [`crate::Handle::append`] leaves it empty with its memory kept, so that a steady caller allocates
/// nothing.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Where each record starts.
    pub(crate) starts: Vec<u32>,
    pub(crate) tally: Tally,
    /// Size of a record or batch that cannot be stored.
    pub(crate) too_large: Option<u64>,
}

/// The part of a batch that the ledger must know.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Bytes of publish records.
    pub(crate) published: u64,
    /// Pairs of message and queue.
    pub(crate) refs: u64,
    /// Bytes of publish records, each times its number of queues.
    pub(crate) weight: u64,
    pub(crate) settled: Vec<Settled>,
    /// Bytes of settle and returned records per segment of the messages they speak of.
    pub(crate) foreign: Vec<(u32, u64)>,
    pub(crate) table: Vec<TableChange>,
    pub(crate) delivered: Vec<(QueueId, MessageId)>,
    /// Deleted queues and the bytes of the record.
    pub(crate) deleted: Vec<(QueueId, u64)>,
    /// The segment from which messages are copied.
    pub(crate) copied_from: Option<u32>,
}

/// References that ended, by segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) segment: u32,
    pub(crate) refs: u64,
    pub(crate) weight: u64,
}

/// A change of the table within the bytes of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableChange {
    pub(crate) start: usize,
    pub(crate) len: u64,
    pub(crate) key: (usize, usize),
    pub(crate) deleted: bool,
}

impl Tally {
    /// Forgets all, keeps the memory.
    fn clear(&mut self) {
        let Tally {
            published,
            refs,
            weight,
            settled,
            foreign,
            table,
            delivered,
            deleted,
            copied_from,
        } = self;
        (*published, *refs, *weight, *copied_from) = (0, 0, 0, None);
        settled.clear();
        foreign.clear();
        table.clear();
        delivered.clear();
        deleted.clear();
    }

    fn settle(&mut self, location: Location) {
        let weight = u64::from(location.len);
        match self
            .settled
            .iter_mut()
            .rev()
            .find(|settled| settled.segment == location.segment)
        {
            Some(settled) => {
                settled.refs += 1;
                settled.weight += weight;
            }
            None => self.settled.push(Settled {
                segment: location.segment,
                refs: 1,
                weight,
            }),
        }
    }

    fn speaks_of(&mut self, segment: u32, bytes: u64) {
        match self.foreign.iter_mut().rev().find(|foreign| foreign.0 == segment) {
            Some(foreign) => foreign.1 += bytes,
            None => self.foreign.push((segment, bytes)),
        }
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// A message for these queues. The payload is the concatenation of `parts`; it is written once for all queues.
    pub fn publish(&mut self, id: MessageId, queues: &[Destination], parts: &[&[u8]]) -> Relative {
        let payload: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let stamped = queues.iter().any(|to| to.stamp != 0);
        let tag = if stamped { Tag::StampedPublish } else { Tag::Publish };
        let Some(start) = self.begin(tag, payload + 20 + queues.len() as u64 * 20) else {
            return Relative { offset: 0, len: 0 };
        };
        record::put(&mut self.bytes, id);
        record::put(&mut self.bytes, queues.len() as u64);
        for to in queues {
            record::put(&mut self.bytes, to.queue);
            self.put_stamp(stamped, to.stamp);
        }
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.finish_message(start, queues.len())
    }

    /// A message moved out of segment `from`, with the queues that still have it.
    pub(crate) fn copy(&mut self, from: u32, id: MessageId, queues: &[Holder], payload: &[u8]) -> Relative {
        let stamped = queues.iter().any(|holder| holder.live.stamp != 0);
        let tag = if stamped { Tag::StampedCopy } else { Tag::Copy };
        let Some(start) = self.begin(tag, payload.len() as u64 + 30 + queues.len() as u64 * 30) else {
            return Relative { offset: 0, len: 0 };
        };
        record::put(&mut self.bytes, u64::from(from));
        record::put(&mut self.bytes, id);
        record::put(&mut self.bytes, queues.len() as u64);
        for &Holder { queue, live } in queues {
            record::put(&mut self.bytes, queue);
            record::put(&mut self.bytes, u64::from(live.delivery_count));
            self.put_stamp(stamped, live.stamp);
        }
        self.bytes.extend_from_slice(payload);
        self.tally.copied_from = Some(from);
        self.finish_message(start, queues.len())
    }

    /// A stamp takes no byte in a record in which all of them are 0.
    fn put_stamp(&mut self, stamped: bool, stamp: u64) {
        if stamped {
            record::put(&mut self.bytes, stamp);
        }
    }

    fn finish_message(&mut self, start: usize, queues: usize) -> Relative {
        let relative = self.finish(start);
        let len = u64::from(relative.len);
        self.tally.published += len;
        self.tally.refs += queues as u64;
        self.tally.weight += len * queues as u64;
        relative
    }

    /// These messages of the queue are acknowledged or dropped. A settlement of an unknown message is ignored at
    /// recovery.
    pub fn settle(&mut self, queue: QueueId, messages: &[(MessageId, Location)]) {
        let runs = runs(messages.iter().map(|&(id, location)| (location.segment, id)));
        if self.write_runs(Tag::Settle, queue, messages.len(), runs) {
            for &(_, location) in messages {
                self.tally.settle(location);
            }
        }
    }

    /// These messages of the queue were requeued: after a restart they are redelivered. Counts and stamps are absolute,
    /// so that a record may be read twice; of two records about a message the one with the higher count holds.
    pub fn returned(&mut self, queue: QueueId, messages: &[Returned]) {
        let counts = messages.iter().map(|returned| Count {
            segment: returned.location.segment,
            id: returned.id,
            live: Live {
                delivery_count: returned.delivery_count,
                stamp: returned.stamp,
            },
        });
        self.write_counts(queue, counts);
    }

    /// Settlements carried over by reclaim. They have been accounted for when they were first appended.
    pub(crate) fn carry_settled(&mut self, queue: QueueId, runs: &[Run]) {
        self.write_runs(Tag::Settle, queue, runs.len(), runs.iter().copied());
    }

    /// Delivery counts and stamps carried over by reclaim.
    pub(crate) fn counted(&mut self, queue: QueueId, counts: &[Count]) {
        self.write_counts(queue, counts.iter().copied());
    }

    fn write_counts(&mut self, queue: QueueId, counts: impl ExactSizeIterator<Item = Count> + Clone) {
        if counts.len() == 0 {
            return;
        }
        let stamped = counts.clone().any(|count| count.live.stamp != 0);
        let tag = if stamped { Tag::StampedCounted } else { Tag::Counted };
        let Some(start) = self.begin(tag, 10 + counts.len() as u64 * 30) else {
            return;
        };
        record::put(&mut self.bytes, queue);
        for Count { segment, id, live } in counts {
            let before = self.bytes.len();
            record::put(&mut self.bytes, u64::from(segment));
            record::put(&mut self.bytes, id);
            record::put(&mut self.bytes, u64::from(live.delivery_count));
            self.put_stamp(stamped, live.stamp);
            self.tally.speaks_of(segment, (self.bytes.len() - before) as u64);
        }
        self.finish(start);
    }

    fn write_runs(&mut self, tag: Tag, queue: QueueId, most: usize, runs: impl Iterator<Item = Run>) -> bool {
        if most == 0 {
            return false;
        }
        let Some(start) = self.begin(tag, 10 + most as u64 * 25) else {
            return false;
        };
        record::put(&mut self.bytes, queue);
        let mut writer = RunWriter::default();
        let mut head = HEAD as u64;
        for run in runs {
            let before = self.bytes.len();
            writer.write(&mut self.bytes, run);
            self.tally
                .speaks_of(run.segment, head + (self.bytes.len() - before) as u64);
            head = 0;
        }
        self.finish(start);
        true
    }

    /// A high-water mark: what is still there at or below it after a crash was delivered before. It never sinks.
    pub fn delivered(&mut self, queue: QueueId, up_to: MessageId) {
        let Some(start) = self.begin(Tag::Delivered, 20) else {
            return;
        };
        record::put(&mut self.bytes, queue);
        record::put(&mut self.bytes, up_to);
        self.finish(start);
        self.tally.delivered.push((queue, up_to));
    }

    /// All that was appended for the queue before is gone. Queue ids are never used again.
    pub fn queue_deleted(&mut self, queue: QueueId) {
        let Some(start) = self.begin(Tag::QueueDeleted, 10) else {
            return;
        };
        record::put(&mut self.bytes, queue);
        let relative = self.finish(start);
        self.tally.deleted.push((queue, u64::from(relative.len)));
    }

    /// Sets a key of the table.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        let Some(start) = self.begin(Tag::Put, 10 + key.len() as u64 + value.len() as u64) else {
            return;
        };
        record::put(&mut self.bytes, key.len() as u64);
        let from = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let to = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.finish_table(start, (from, to), false);
    }

    /// Removes a key of the table.
    pub fn delete(&mut self, key: &[u8]) {
        let Some(start) = self.begin(Tag::Delete, key.len() as u64) else {
            return;
        };
        let from = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let to = self.bytes.len();
        self.finish_table(start, (from, to), true);
    }

    fn finish_table(&mut self, start: usize, key: (usize, usize), deleted: bool) {
        let relative = self.finish(start);
        self.tally.table.push(TableChange {
            start,
            len: u64::from(relative.len),
            key,
            deleted,
        });
    }

    /// A record without meaning: its append brings a new segment into being.
    pub(crate) fn note(&mut self) {
        self.mark(Lsn(0));
    }

    /// Everything before this place is durable.
    fn mark(&mut self, synced: Lsn) {
        let Some(start) = self.begin(Tag::Mark, 10) else { return };
        record::put(&mut self.bytes, synced.0);
        self.finish(start);
    }

    /// True if there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.too_large.is_none()
    }

    /// Size in the log in bytes.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
        self.tally.clear();
        self.too_large = None;
    }

    /// Reserves the head and writes the tag; `None` when a body of up to `most` bytes would be too large.
    fn begin(&mut self, tag: Tag, most: u64) -> Option<usize> {
        let most = most + 1;
        let total = self.bytes.len() as u64 + HEAD as u64 + most + 64;
        if most > u64::from(record::MAX_BODY) || total > MAX_BATCH {
            self.too_large = Some(total);
        }
        if self.too_large.is_some() {
            return None;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD]);
        self.bytes.push(tag as u8);
        Some(start)
    }

    fn finish(&mut self, start: usize) -> Relative {
        let body = self.bytes.get(start + HEAD..).unwrap_or_default();
        let len = body.len() as u32;
        let head = record::Head::encode(len, crc32fast::hash(body), false, false);
        if let Some(to) = self.bytes.get_mut(start..start + HEAD) {
            to.copy_from_slice(&head);
        }
        let end = record::aligned(self.bytes.len() as u64) as usize;
        self.bytes.resize(end, 0);
        self.starts.push(start as u32);
        Relative {
            offset: start as u32,
            len: HEAD as u32 + len,
        }
    }

    /// A mark alone, for the segment with this mask.
    pub(crate) fn mark_for(mask: u32, synced: Lsn) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.mark(synced);
        batch.seal().bind(mask);
        batch.bytes
    }

    /// Flags the first and the last record: nothing more is written to the batch before it is appended.
    pub(crate) fn seal(&mut self) -> Sealed<'_> {
        if let (Some(&first), Some(&last)) = (self.starts.first(), self.starts.last()) {
            if let Some(head) = self.bytes.get_mut(first as usize..) {
                record::set_flags(head, true, first == last);
            }
            if let Some(head) = self.bytes.get_mut(last as usize..) {
                record::set_flags(head, first == last, true);
            }
        }
        Sealed(self)
    }
}

/// A batch whose first and last record are flagged: only such a one gets a place in the log.
#[derive(Debug)]
pub(crate) struct Sealed<'a>(&'a mut Batch);

impl<'a> Sealed<'a> {
    /// Size in the log in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.0.len_bytes()
    }

    /// Binds the records to the segment with this mask, where they have their place.
    pub(crate) fn bind(self, mask: u32) -> &'a mut Batch {
        let Sealed(batch) = self;
        for &start in &batch.starts {
            if let Some(head) = batch.bytes.get_mut(start as usize..) {
                record::apply_mask(head, mask);
            }
        }
        batch
    }
}

/// Joins consecutive ids of one segment.
fn runs(messages: impl Iterator<Item = (u32, MessageId)>) -> impl Iterator<Item = Run> {
    let mut messages = messages.peekable();
    std::iter::from_fn(move || {
        let (segment, first) = messages.next()?;
        let mut count = 1;
        while messages
            .next_if(|&(s, id)| s == segment && first.checked_add(count) == Some(id))
            .is_some()
        {
            count += 1;
        }
        Some(Run { segment, first, count })
    })
}
