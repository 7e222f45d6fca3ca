//! Places in the log: sequence numbers, locations of records, offsets within a batch.
//!
//! In: segment numbers and offsets. Out: copyable values with an order. Does not know about files.

use std::sync::Arc;

/// A position in the log. Grows with every append over the whole life of the directory; `Lsn(0)` is before everything.
///
/// The upper 32 bits are the segment's number, the lower 32 the offset of the end of the append in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    pub(crate) fn new(segment: u32, offset: u64) -> Lsn {
        Lsn((u64::from(segment) << 32) | offset.min(u64::from(u32::MAX)))
    }

    pub(crate) fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn offset(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

/// Where a publish record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Number of the segment file.
    pub segment: u32,
    /// Offset of the record in bytes.
    pub offset: u32,
    /// Length of the record in bytes: head, message id, queues and payload.
    pub len: u32,
}

impl Location {
    /// The place of a record of the batch whose relative offset 0 lies here.
    pub fn at(self, relative: Relative) -> Location {
        Location {
            segment: self.segment,
            offset: self.offset.saturating_add(relative.offset),
            len: relative.len,
        }
    }
}

/// Where a record lies within its batch. [`Appended::location`] makes a [`Location`] of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relative {
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// The outcome of an append. Keep it until what was appended shows in the owner's state: a checkpoint waits for that,
/// since what lies before its position is not read again.
#[derive(Debug)]
pub struct Appended {
    /// Durable as soon as [`crate::Handle::durable`] has reached this.
    pub lsn: Lsn,
    /// The location of relative offset 0.
    pub base: Location,
    /// Counts as one append under way.
    pub(crate) _under_way: Option<Arc<()>>,
}

impl Appended {
    /// The place of a record of the batch.
    pub fn location(&self, relative: Relative) -> Location {
        self.base.at(relative)
    }
}

/// The haste of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A caller waits: the writer is woken.
    Now,
    /// Within the flush interval, or with the next commit.
    Soon,
}
