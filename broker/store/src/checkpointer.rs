//! Takes a checkpoint while the work goes on.
//!
//! In: the log's position, then each queue's state, one queue at a time. Out: a file that says what the log came to up
//! to the position.
//!
//! 1. The position and the ledger are read under the log's lock. Appends that were made before may not show in their
//!    owner's state yet: they are waited for.
//! 2. Each queue is asked for its messages. Its state may be ahead of the position, never behind: reading the log from
//!    the position on over such a state gives the same as over the exact one, since every record says what is, not what
//!    changes.
//! 3. Changes that the states show may not be appended yet: they are waited for (`crate::Handle::under_way`). Once all
//!    that is appended is durable, the checkpoint may be.
//! 4. Pages first, then the file that refers to them. Places of pages that the checkpoint before referred to are free
//!    from here on.
//!
//! Runs on the reclaim thread, so that no message is being moved meanwhile. Does not know how the owner keeps its
//! messages.

use crate::backlog::Backlog;
use crate::checkpoint::{self, Captured, Parts};
use crate::error::Error;
use crate::ids::{MessageId, QueueId};
use crate::ledger::{Account, DeliveredMark, Table};
use crate::location::Lsn;
use crate::owner::Owner;
use crate::page::Page;
use crate::pages::Slot;
use crate::shared::{Counters, Shared, settled_down};
use crate::stored::StoredMessage;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packed pages up to this size in bytes are kept in the checkpoint itself, and in memory.
const SMALL: usize = 64;
/// Messages in a page that is packed here.
const PACKED: usize = 4096;
/// Checkpoints are at least this many times their own size of log apart.
const SPACING: u64 = 8;
/// Less log than this is not worth one when the broker is idle.
const WORTH: u64 = 4 << 20;
/// After a failure.
const PAUSE: Duration = Duration::from_secs(10);

/// When the next checkpoint is due, and what the last one leaves for it.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// The table as it was last written, and its number of changes then. Its keys and values are those of the ledger.
    table: Option<(u64, Table)>,
    /// Size of the last one, bytes.
    size: u64,
    /// After a failure, not before.
    pause: Option<Instant>,
}

impl Checkpoints {
    /// True if one should be taken after `since` bytes of log.
    pub(crate) fn due(&self, shared: &Shared, since: u64, idle: bool) -> bool {
        let distance = shared.options.checkpoint_bytes;
        let enough = since >= distance.max(SPACING * self.size) || (idle && since >= WORTH.min(distance));
        distance > 0 && enough && self.pause.is_none_or(|until| until <= Instant::now())
    }

    /// Takes one.
    ///
    /// # Errors
    /// An error of the log, while waiting for it. A failure to write the checkpoint is none: the one before stays, and
    /// another is tried later.
    pub(crate) fn take(&mut self, shared: &Shared, owner: &dyn Owner) -> Result<(), Error> {
        let begun = Instant::now();
        let start = Start::read(shared, self.table.as_ref().map(|table| table.0));
        if !settled_down(start.group) {
            return self.give_up(Vec::new(), shared);
        }
        let released = shared.pages.take_released();
        let queues = capture(owner);
        if !settled_down(shared.end_group()) {
            return self.give_up(released, shared);
        }
        let shown = {
            let mut log = shared.log.lock();
            if log.closing || log.failed.is_some() {
                // A change that a queue shows may have been refused.
                return Err(Error::Closed);
            }
            log.since_checkpoint = log.since_checkpoint.saturating_sub(start.since);
            log.appended
        };
        shared.wait_durable(shown)?;
        self.table = start.table.or(self.table.take());
        let parts = Parts {
            directory_id: shared.directory_id,
            position: start.position,
            synced: shown.max(start.position),
            next_id: start.next_id,
            accounts: &start.accounts,
            marks: &start.marks,
            table: &self.table.get_or_insert_default().1,
            queues: &queues,
            written: &HashMap::new(),
        };
        match store(shared, parts) {
            Ok(size) => {
                shared.pages.free(released);
                self.size = size;
                self.pause = None;
                Counters::add(&shared.counters.checkpoints, 1);
                Counters::add(&shared.counters.checkpoint_bytes, size);
                let millis = begun.elapsed().as_millis() as u64;
                tracing::debug!(bytes = size, queues = queues.len(), millis, "checkpoint taken");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot write a checkpoint; a start will have to read more of the log");
                return self.give_up(released, shared);
            }
        }
        Ok(())
    }

    /// Leaves the checkpoint before in force, with the pages that it refers to.
    fn give_up(&mut self, released: Vec<Slot>, shared: &Shared) -> Result<(), Error> {
        released.into_iter().for_each(|slot| shared.pages.release(slot));
        self.pause = Some(Instant::now() + PAUSE);
        Ok(())
    }
}

/// The log at the position.
struct Start {
    position: Lsn,
    next_id: MessageId,
    accounts: BTreeMap<u32, Account>,
    marks: HashMap<QueueId, DeliveredMark>,
    /// The table and its number of changes, if it has changed.
    table: Option<(u64, Table)>,
    group: Arc<()>,
    since: u64,
}

impl Start {
    fn read(shared: &Shared, table_changes: Option<u64>) -> Start {
        let mut log = shared.log.lock();
        let ledger = &log.ledger;
        let changed = table_changes != Some(ledger.table_changes);
        Start {
            position: log.end(),
            next_id: shared.next_id.load(std::sync::atomic::Ordering::Relaxed),
            accounts: ledger.accounts.clone(),
            marks: ledger.marks.clone(),
            table: changed.then(|| (ledger.table_changes, ledger.table.clone())),
            since: log.since_checkpoint,
            group: log.end_group(),
        }
    }
}

/// Each queue's messages.
fn capture(owner: &dyn Owner) -> Vec<Captured> {
    let mut queues = Vec::new();
    owner.capture(&mut |queue, backlog: Backlog| {
        if !backlog.is_empty() {
            let loose = pack(&backlog.loose);
            let pages = backlog.pages;
            queues.push(Captured { queue, pages, loose });
        }
    });
    queues
}

fn pack(messages: &[StoredMessage]) -> Vec<Page> {
    messages.chunks(PACKED).filter_map(Page::pack).collect()
}

/// Writes the pages that are in memory, then the checkpoint. Returns the bytes written.
fn store(shared: &Shared, parts: Parts<'_>) -> Result<u64, Error> {
    let mut written: HashMap<(QueueId, MessageId), Slot> = HashMap::new();
    let mut moved = Vec::new();
    let stored = write_pages(shared, parts.queues, &mut written, &mut moved).and_then(|()| {
        let parts = Parts {
            written: &written,
            ..parts
        };
        checkpoint::replace(&*shared.fs, &shared.options.directory, &parts)
    });
    let pages: u64 = written.values().map(|slot| u64::from(slot.len)).sum();
    match stored {
        Ok(bytes) => {
            for (page, slot) in moved {
                page.moved(slot, &shared.pages);
            }
            Ok(bytes + pages)
        }
        Err(error) => {
            // The file may have got its name all the same: the places stay taken until the next one is durable.
            written.into_values().for_each(|slot| shared.pages.release(slot));
            Err(error)
        }
    }
}

fn write_pages<'a>(
    shared: &Shared,
    queues: &'a [Captured],
    written: &mut HashMap<(QueueId, MessageId), Slot>,
    moved: &mut Vec<(&'a Page, Slot)>,
) -> Result<(), Error> {
    for captured in queues {
        for page in &captured.pages {
            let Some(bytes) = page.in_memory().filter(|bytes| bytes.len() > SMALL) else {
                continue;
            };
            let slot = shared.pages.write(&bytes)?;
            written.insert((captured.queue, page.first()), slot);
            moved.push((page, slot));
        }
    }
    if moved.is_empty() { Ok(()) } else { shared.pages.sync() }
}
