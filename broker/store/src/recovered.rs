//! What a store held when it was opened.
//!
//! In: the outcome of recovery. Out: plain values for the owner. Does not know how they were found.

use crate::error::Error;
use crate::location::Location;
use crate::page::{Page, Share};
use crate::{MessageId, QueueId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

/// The contents of a directory.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The table.
    pub table: BTreeMap<Vec<u8>, Bytes>,
    /// The messages of each queue that has any. Queues that the table does not know may be among them when a
    /// message was appended after the queue's deletion: delete them again.
    pub queues: HashMap<QueueId, Backlog>,
    /// What was found on the way.
    pub report: RecoveryReport,
}

/// The messages of one queue: long stretches packed, the others one by one. No message is in both; the ids of the two may lie
/// between each other.
#[derive(Debug, Default, Clone)]
pub struct Backlog {
    /// Stretches that do not overlap, ascending.
    pub pages: Vec<Page>,
    /// Single messages, ascending by id.
    pub loose: Vec<StoredMessage>,
    /// Everything at or below has been delivered before: its messages are redelivered, also those in pages.
    pub delivered: MessageId,
}

impl Backlog {
    /// Number of messages.
    pub fn count(&self) -> usize {
        self.pages.iter().map(|page| page.count() as usize).sum::<usize>() + self.loose.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.loose.is_empty()
    }

    /// How many messages lie in which segment.
    pub(crate) fn each_share(&self, mut visit: impl FnMut(Share)) {
        for page in &self.pages {
            page.summary().shares.iter().copied().for_each(&mut visit);
        }
        for message in &self.loose {
            visit(Share {
                segment: message.location.segment,
                count: 1,
                bytes: u64::from(message.location.len),
            });
        }
    }

    /// All messages, ascending by id, with the redelivered flag as it is to be.
    ///
    /// # Errors
    /// [`Error::DamagedPage`], or what the system reports.
    pub fn unpack(&self) -> Result<Vec<StoredMessage>, Error> {
        let mut all = self.loose.clone();
        for page in &self.pages {
            all.extend(page.unpack()?);
        }
        all.sort_by_key(|message| message.id);
        for message in &mut all {
            message.redelivered |= message.id <= self.delivered;
        }
        Ok(all)
    }
}

/// A message that is still in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// Where its record lies.
    pub location: Location,
    /// Size of the payload in bytes.
    pub payload_len: u32,
    /// How often it was returned to the queue.
    pub delivery_count: u32,
    /// It may have been delivered before.
    pub redelivered: bool,
}

/// What recovery met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes cut off the end: a write that a crash interrupted and that nobody was promised.
    pub torn_bytes: u64,
    /// Damage in what had been promised.
    pub corrupt: Vec<Corrupt>,
    /// Where the damaged bytes have been copied to.
    pub quarantined_to: Option<PathBuf>,
    /// Whether a checkpoint was there, so that only what came after it was read.
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
