//! The contents of a store when it was opened.
//!
//! In: the outcome of recovery. Out: plain values for the owner. Does not know how they were found.

use crate::backlog::Backlog;
use crate::ids::QueueId;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The contents of a directory.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The table, shared with the store that keeps it.
    pub table: BTreeMap<Arc<[u8]>, Arc<[u8]>>,
    /// The messages of each queue that has any. Queues that the table does not know may be among them when a
    /// message was appended after the queue's deletion: delete them again.
    pub queues: HashMap<QueueId, Backlog>,
    /// The report of how it was found.
    pub report: RecoveryReport,
}

/// A report of recovery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes cut off the end: a write that a crash interrupted, and that was promised to no client.
    pub torn_bytes: u64,
    /// Damage in what had been promised.
    pub corrupt: Vec<Corrupt>,
    /// Where the damaged bytes have been copied to.
    pub quarantined_to: Option<PathBuf>,
    /// A checkpoint was there, so that only what came after it was read.
    pub from_checkpoint: bool,
    /// Records read.
    pub records: u64,
    /// Bytes of the log that were read.
    pub read_bytes: u64,
    /// Segment files read.
    pub segments: u64,
    /// Time taken.
    pub duration: Duration,
}

/// A damaged stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// The file.
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}
