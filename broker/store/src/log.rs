//! The end of the log in memory: gives every batch its place and keeps its bytes until they are written.
//!
//! In: sealed batches. Out: groups for the writer; bytes for readers that come before the writer.
//! Does not know about files or threads (its owner locks it).

use crate::backpressure::Backpressure;
use crate::batch::{Batch, Sealed};
use crate::ledger::Ledger;
use crate::location::{Appended, Location, Lsn};
use crate::record::{self, HEAD};
use crate::segment::{self, HEADER};
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// Batches up to this size are copied into a common buffer; for larger ones the buffer itself changes hands.
const COPIED: usize = 8 << 10;
/// Size of the common buffers.
const BUFFER: usize = 256 << 10;
/// Writes end at multiples of this, padded with zeros: the system then need not read a page in order to change part of
/// it.
const PAGE: u64 = 4096;
/// Memory of written buffers that is kept for later batches.
const KEPT: usize = 4 << 20;
/// Size of a mark: head, tag, ten bytes of position, aligned.
pub(crate) const MARK: u64 = 24;

/// Bytes of one or more batches that lie next to each other.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    /// End of the log's bytes; what follows is padding.
    pub(crate) len: usize,
    pub(crate) bytes: Vec<u8>,
    /// The length up to which the file may be extended.
    pub(crate) limit: u64,
    /// For the header, if the segment begins with this chunk.
    pub(crate) next_id: u64,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + self.len as u64
    }
}

/// The chunks that the writer takes at once.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) chunks: Arc<Vec<Chunk>>,
    /// Durable when the group is.
    pub(crate) end: Lsn,
    /// Bytes of callers, without marks.
    pub(crate) bytes: u64,
    /// A mark written while idle needs no sync for itself.
    pub(crate) sync: bool,
}

/// The log's end.
#[derive(Debug)]
pub(crate) struct Log {
    directory_id: u64,
    segment_bytes: u64,
    segment: u32,
    /// The highest number that is in use below the segment being filled.
    before: u32,
    offset: u64,
    limit: u64,
    mask: u32,
    chunks: Vec<Chunk>,
    bytes: u64,
    in_flight: Option<Group>,
    buffers: Vec<Vec<u8>>,
    buffered: usize,
    pub(crate) ledger: Ledger,
    pub(crate) backpressure: Backpressure,
    /// A caller waits for what is queued.
    pub(crate) urgent: bool,
    /// When what is queued is due although no caller waits.
    pub(crate) due: Option<Instant>,
    /// Something was synced, and no mark says so yet.
    pub(crate) unmarked: bool,
    pub(crate) failed: Option<Arc<str>>,
    pub(crate) closing: bool,
    /// Grows with every append: tells reclaim whether anything happened.
    pub(crate) appends: u64,
    /// End of the last append, marks not counted.
    pub(crate) appended: Lsn,
    /// Reclaim sleeps without a time limit.
    pub(crate) reclaim_sleeps: bool,
    /// Bytes appended since the position of the newest checkpoint.
    pub(crate) since_checkpoint: u64,
    /// Shared with the appends that are under way: those that their owners have not taken account of.
    under_way: Arc<()>,
}

impl Log {
    /// A log that goes on in a fresh segment, behind everything up to `last`.
    pub(crate) fn new(directory_id: u64, segment_bytes: u64, last: u32, mut ledger: Ledger) -> Log {
        let segment = segment::number_after(last);
        ledger.current = segment;
        ledger.account(segment).used = HEADER;
        Log {
            directory_id,
            segment_bytes,
            segment,
            before: last,
            offset: HEADER,
            limit: segment_bytes,
            mask: record::segment_mask(directory_id, segment),
            chunks: Vec::new(),
            bytes: 0,
            in_flight: None,
            buffers: Vec::new(),
            buffered: 0,
            ledger,
            backpressure: Backpressure::default(),
            urgent: false,
            due: None,
            unmarked: false,
            failed: None,
            closing: false,
            appends: 0,
            appended: Lsn::default(),
            reclaim_sleeps: false,
            since_checkpoint: 0,
            under_way: Arc::default(),
        }
    }

    /// The appends so far, as a group: only the caller holds it once all of them show in the state of their owners.
    pub(crate) fn end_group(&mut self) -> Arc<()> {
        std::mem::take(&mut self.under_way)
    }

    /// The segment being filled.
    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// End of the last append.
    pub(crate) fn end(&self) -> Lsn {
        segment::end_of(self.segment, self.offset)
    }

    /// Places a batch and takes its bytes. `next_id` is above every id in use.
    pub(crate) fn append(&mut self, sealed: Sealed<'_>, next_id: u64) -> Appended {
        let len = sealed.len_bytes() as u64;
        if self.offset + len + MARK > self.limit && self.offset > HEADER {
            self.roll();
        }
        self.limit = self.limit.max(self.offset + len);
        let batch = sealed.bind(self.mask);
        let offset = self.offset as u32;
        self.ledger.apply(self.segment, offset, &batch.bytes, &batch.tally);
        self.take_bytes(&mut batch.bytes, next_id);
        batch.clear();
        self.bytes += len;
        self.since_checkpoint += len;
        self.appends += 1;
        self.appended = self.end();
        let base = Location {
            segment: self.segment,
            offset,
            len: 0,
        };
        Appended {
            lsn: self.end(),
            base,
            _under_way: Some(Arc::clone(&self.under_way)),
        }
    }

    /// The next append opens a new segment.
    pub(crate) fn roll(&mut self) {
        self.before = self.segment;
        self.segment = segment::number_after(self.segment);
        self.offset = HEADER;
        self.limit = self.segment_bytes;
        self.mask = record::segment_mask(self.directory_id, self.segment);
        self.ledger.current = self.segment;
        self.ledger.account(self.segment).used = HEADER;
        self.ledger.emptied = true;
    }

    /// A number for a segment beside the log: above all that are complete, below the one being filled. Never given
    /// twice.
    pub(crate) fn number_beside(&mut self) -> u32 {
        if self.before + 1 >= self.segment {
            self.roll();
        }
        self.before += 1;
        self.before
    }

    /// True if the segment being filled has records.
    pub(crate) fn begun(&self) -> bool {
        self.offset > HEADER
    }

    fn take_bytes(&mut self, bytes: &mut Vec<u8>, next_id: u64) {
        let len = bytes.len();
        if len > COPIED {
            let mut spare = self.buffers.pop().unwrap_or_default();
            self.buffered -= spare.capacity();
            spare.clear();
            let taken = std::mem::replace(bytes, spare);
            self.push(taken, next_id);
            return;
        }
        let (segment, offset) = (self.segment, self.offset);
        let tail = self.chunks.last_mut();
        let tail = tail.filter(|tail| tail.segment == segment && tail.end() == offset && tail.len + len <= BUFFER);
        if let Some(tail) = tail.filter(|tail| tail.bytes.capacity() >= tail.len + len) {
            tail.bytes.extend_from_slice(bytes);
            tail.len += len;
            tail.limit = self.limit;
            self.offset += len as u64;
            return;
        }
        let mut buffer = match self.buffers.iter().rposition(|buffer| buffer.capacity() >= BUFFER) {
            Some(found) => self.buffers.swap_remove(found),
            None => Vec::new(),
        };
        self.buffered -= buffer.capacity();
        buffer.clear();
        buffer.reserve(BUFFER);
        buffer.extend_from_slice(bytes);
        self.push(buffer, next_id);
    }

    fn push(&mut self, bytes: Vec<u8>, next_id: u64) {
        let len = bytes.len();
        let (segment, offset, limit) = (self.segment, self.offset, self.limit);
        self.chunks.push(Chunk {
            segment,
            offset,
            len,
            bytes,
            limit,
            next_id,
        });
        self.offset += len as u64;
    }

    /// Lets go of the memory that is kept for later batches: none come for now.
    pub(crate) fn forget_buffers(&mut self) {
        self.buffers = Vec::new();
        self.buffered = 0;
    }

    /// True if the writer has something to take.
    pub(crate) fn has_chunks(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// Bytes queued and not yet taken.
    pub(crate) fn queued(&self) -> u64 {
        self.bytes
    }

    /// All that is queued, closed by a mark that `synced` is durable. The bytes stay readable until [`Log::written`].
    pub(crate) fn take(&mut self, synced: Lsn, next_id: u64, sync: bool) -> Group {
        self.mark(synced, next_id);
        self.pad();
        let chunks = Arc::new(std::mem::take(&mut self.chunks));
        let group = Group {
            chunks,
            end: self.end(),
            bytes: std::mem::take(&mut self.bytes),
            sync,
        };
        self.urgent = false;
        self.due = None;
        self.in_flight = Some(group.clone());
        group
    }

    fn mark(&mut self, synced: Lsn, next_id: u64) {
        if !self.begun() || self.offset + MARK > self.limit {
            return;
        }
        let mut bytes = Batch::mark_for(self.mask, synced);
        debug_assert!(bytes.len() as u64 <= MARK && bytes.len() > HEAD);
        self.take_bytes(&mut bytes, next_id);
        let (segment, used) = (self.segment, self.offset);
        self.ledger.account(segment).used = used;
    }

    fn pad(&mut self) {
        if let Some(tail) = self.chunks.last_mut() {
            let end = tail.end().next_multiple_of(PAGE).min(tail.limit);
            let len = end.saturating_sub(tail.offset) as usize;
            if len > tail.len {
                tail.bytes.resize(len, 0);
            }
        }
    }

    /// The group is in the file: readers find it there. Its buffers are used again.
    pub(crate) fn written(&mut self, group: Group) {
        self.in_flight = None;
        let Ok(chunks) = Arc::try_unwrap(group.chunks) else {
            return;
        };
        for chunk in chunks {
            let capacity = chunk.bytes.capacity();
            if self.buffered + capacity <= KEPT {
                self.buffered += capacity;
                self.buffers.push(chunk.bytes);
            }
        }
    }

    /// The record's bytes, when they are not in the file yet.
    pub(crate) fn find(&self, location: Location) -> Option<Vec<u8>> {
        let in_flight = self
            .in_flight
            .as_ref()
            .map(|group| group.chunks.as_slice())
            .unwrap_or_default();
        find(&self.chunks, location)
            .or_else(|| find(in_flight, location))
            .map(<[u8]>::to_vec)
    }
}

fn find(chunks: &[Chunk], location: Location) -> Option<&[u8]> {
    let place = (location.segment, u64::from(location.offset));
    let after = chunks.partition_point(|chunk| (chunk.segment, chunk.offset) <= place);
    let chunk = chunks
        .get(after.checked_sub(1)?)
        .filter(|chunk| chunk.segment == location.segment)?;
    let from = usize::try_from(place.1 - chunk.offset).ok()?;
    chunk
        .bytes
        .get(..chunk.len)?
        .get(from..from.checked_add(location.len as usize)?)
}
