//! Records of a long change, appended a portion at a time, so that the log serves others in between and no record waits
//! in memory for all others.
//!
//! Comes in: records. Goes out: batches of the log, and the position of the last. Does not know what they say.

use leveret_store::{Batch, Error, Handle, Lsn, QueueId, Urgency};
use std::time::Duration;

/// Records that are appended together.
const PORTION: usize = 256;
/// Bytes that the log may be behind before another portion waits, and the time until the next look.
const BEHIND: u64 = 4 << 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Records, of which some may have been appended.
pub(super) struct Portions<'a> {
    log: &'a Handle,
    records: Batch,
    count: usize,
}

impl<'a> Portions<'a> {
    pub(super) fn of(log: &'a Handle) -> Self {
        Self {
            log,
            records: Batch::default(),
            count: 0,
        }
    }

    /// The end of an entry of the table.
    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), Error> {
        self.records.delete(key);
        self.added()
    }

    /// The end of a queue, whose entry has been deleted.
    pub(super) fn queue_deleted(&mut self, id: QueueId) -> Result<(), Error> {
        self.records.queue_deleted(id);
        self.added()
    }

    /// The rest. `None` if there is none.
    pub(super) fn finish(mut self, urgency: Urgency) -> Result<Option<Lsn>, Error> {
        if self.records.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.log.append(&mut self.records, urgency)?.lsn))
    }

    fn added(&mut self) -> Result<(), Error> {
        self.count += 1;
        if self.count < PORTION {
            return Ok(());
        }
        while self.log.pending_bytes() > BEHIND {
            std::thread::sleep(PAUSE);
        }
        self.count = 0;
        self.log.append(&mut self.records, Urgency::Soon).map(drop)
    }
}
