//! The state that the threads of one store and its handles share.
//!
//! In: appends from callers, progress from the writer. Out: positions, wake-ups, figures.
//! Does not know about file contents.

use crate::batch::Batch;
use crate::error::Error;
use crate::fs::File;
use crate::handles::Handles;
use crate::ids::{MessageId, QueueId};
use crate::location::{Appended, Location, Lsn, Urgency};
use crate::log::Log;
use crate::options::Options;
use crate::page::Page;
use crate::pages::PageFile;
use crate::patient::Patient;
use crate::recovered::Corrupt;
use crate::recovery::quarantine::Quarantine;
use crate::segment::Segment;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Queued bytes from which the writer starts although no caller waits.
const EAGER: u64 = 4 << 20;

/// Most damaged places that are kept apart: where there are more, the disk is broken and the first ones tell it.
const MOST_DAMAGE: usize = 1000;

/// Longest time of a change from the log to its owner's state, or back; it is a matter of microseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Called when a failure has stopped the store.
pub(crate) type OnFailed = Box<dyn Fn(&Error) + Send + Sync>;
/// Called when the durable position has grown, and when the log is crowded no more.
pub(crate) type OnDurable = Box<dyn Fn(Lsn) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) fs: Arc<Patient>,
    /// Files of segments that are open to be read.
    pub(crate) handles: Handles,
    pub(crate) directory_id: u64,
    pub(crate) log: Mutex<Log>,
    /// The writer has something to do.
    pub(crate) wake: Condvar,
    /// The durable position has grown, or the store has failed.
    pub(crate) progress: Condvar,
    /// Reclaim may have something to do.
    pub(crate) reclaim_wake: Condvar,
    pub(crate) durable: AtomicU64,
    pub(crate) pending: AtomicU64,
    pub(crate) next_id: AtomicU64,
    pub(crate) segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    pub(crate) pages: Arc<PageFile>,
    /// Shared with the changes that are under way: those of which the owner's state may tell, and not yet the log.
    pub(crate) group: Mutex<Arc<()>>,
    /// Pages of queues that were purged: their messages are settled one after the other.
    pub(crate) discarded: Mutex<VecDeque<(QueueId, Page)>>,
    pub(crate) spare: Mutex<Spare>,
    pub(crate) spare_wake: Condvar,
    /// Those who append messages should wait for reclaim.
    pub(crate) crowded: AtomicBool,
    /// Size of what reclaim is writing beside the log, bytes.
    pub(crate) beside: AtomicU64,
    /// Files to be removed.
    pub(crate) gone: Mutex<Gone>,
    pub(crate) gone_wake: Condvar,
    pub(crate) counters: Counters,
    /// Damaged places that are known.
    pub(crate) damage: Mutex<Vec<Corrupt>>,
    pub(crate) on_durable: OnDurable,
    pub(crate) on_failed: OnFailed,
}

/// The file that will become the next segment.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    pub(crate) ready: Option<Arc<dyn File>>,
    /// A thread is making the spare file, or giving it its new name: the old name is not free.
    pub(crate) busy: bool,
    /// The current segment is filled so far that the next one will be needed.
    pub(crate) wanted: bool,
    /// A whole segment was given up since zeros were last written: the next spare file will probably be one that is
    /// used again.
    pub(crate) plenty: bool,
    pub(crate) closing: bool,
}

impl Spare {
    /// The part of a segment of `len` bytes that may be filled before zeros are written for the next one. A passing
    /// queue gives up one segment for each that it fills: writing zeros early would write everything twice.
    pub(crate) fn patience(&self, len: u64) -> u64 {
        if self.plenty { len / 4 * 3 } else { len / 4 }
    }

    /// The spare file, whose name stays reserved until `busy` is reset.
    pub(crate) fn take(&mut self) -> Option<Arc<dyn File>> {
        let file = self.ready.take();
        self.busy |= file.is_some();
        file
    }
}

/// Files of segments that are out of the log and still on disk.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    /// With who may still be reading from them.
    pub(crate) segments: VecDeque<Arc<Segment>>,
    pub(crate) closing: bool,
}

/// Running figures.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) reclaimed_segments: AtomicU64,
    pub(crate) reclaimed_bytes: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) prepared_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) crowded: AtomicU64,
}

impl Gone {
    /// The space that they still take, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len()).sum()
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }
}

impl Shared {
    /// The changes under way, as a group: only the caller holds it once all of them are appended.
    pub(crate) fn end_group(&self) -> Arc<()> {
        std::mem::take(&mut *self.group.lock())
    }

    /// The first of `count` fresh ids.
    pub(crate) fn next_ids(&self, count: u64) -> MessageId {
        self.next_id.fetch_add(count, Ordering::Relaxed)
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// The file of a segment, to read from. On a thread of the owner's: it is mostly open already.
    ///
    /// # Errors
    /// The system's error: `NotFound` if the segment has gone.
    pub(crate) fn file_of(&self, segment: &Segment) -> io::Result<Arc<dyn File>> {
        let file = self.handles.of(segment, &self.fs)?;
        if !self.segments.read().contains_key(&segment.number) {
            // It went while its file was opened: whoever took it away may have looked for the handle before.
            self.handles.forget(segment.number);
        }
        Ok(file)
    }

    /// Bytes of a segment are not what was written: says so once, and puts a copy aside.
    pub(crate) fn damaged(&self, segment: &Segment, offset: u64, len: u64) {
        // A segment that has been reclaimed may already hold other bytes.
        if !self.segments.read().contains_key(&segment.number) {
            return;
        }
        let mut damage = self.damage.lock();
        let known = |known: &Corrupt| {
            known.file == segment.path && offset < known.offset + known.len && known.offset < offset + len
        };
        if damage.len() >= MOST_DAMAGE || damage.iter().any(known) {
            return;
        }
        damage.push(Corrupt {
            file: segment.path.clone(),
            offset,
            len,
        });
        drop(damage);
        Counters::add(&self.counters.corrupt, 1);
        tracing::error!(file = %segment.path.display(), offset, len, "damaged bytes in the log");
        // Without patience: whoever reads a message must not wait for this.
        let fs = self.fs.at_once();
        match fs.open(&segment.path) {
            Ok(file) => Quarantine::new(fs, &self.options.directory).copy(segment, &*file, offset, len),
            Err(error) => tracing::warn!(%error, "cannot put damaged bytes aside"),
        }
    }

    /// Queues a batch.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Closed`] or [`Error::TooLarge`]; the batch is unchanged then.
    pub(crate) fn append(&self, batch: &mut Batch, urgency: Urgency) -> Result<Appended, Error> {
        self.append_with(batch, urgency, |_, _| {})
    }

    /// Like [`Shared::append`], with a last look at the log under its lock. The batch is sealed when that is over.
    pub(crate) fn append_with(
        &self,
        batch: &mut Batch,
        urgency: Urgency,
        last_look: impl FnOnce(&Log, &mut Batch),
    ) -> Result<Appended, Error> {
        let mut log = self.log.lock();
        if let Some(reason) = &log.failed {
            return Err(Error::Failed(Arc::clone(reason)));
        }
        if log.closing {
            return Err(Error::Closed);
        }
        last_look(&log, batch);
        if let Some(size) = batch.too_large {
            return Err(Error::TooLarge(size));
        }
        if batch.is_empty() {
            let base = Location {
                segment: log.segment(),
                offset: 0,
                len: 0,
            };
            return Ok(Appended {
                lsn: log.appended,
                base,
                _under_way: None,
            });
        }
        let bytes = batch.bytes.len() as u64;
        let segment = log.segment();
        let appended = log.append(batch.seal(), self.next_id.load(Ordering::Relaxed));
        if log.segment() != segment {
            self.look_at_backpressure(&mut log);
        }
        self.pending.fetch_add(bytes, Ordering::Relaxed);
        let eager = urgency == Urgency::Now || log.queued() >= EAGER;
        let wake = if eager {
            !std::mem::replace(&mut log.urgent, true)
        } else if log.due.is_none() {
            log.due = Some(Instant::now() + self.options.flush_interval);
            !log.urgent
        } else {
            false
        };
        let checkpoint_due = log.since_checkpoint >= self.options.checkpoint_bytes
            && log.since_checkpoint - bytes < self.options.checkpoint_bytes;
        let reclaim = std::mem::take(&mut log.ledger.emptied) || log.reclaim_sleeps || checkpoint_due;
        log.reclaim_sleeps &= !reclaim;
        drop(log);
        if wake {
            self.wake.notify_one();
        }
        if reclaim {
            self.reclaim_wake.notify_one();
        }
        Counters::add(&self.counters.appends, 1);
        Counters::add(&self.counters.appended_bytes, bytes);
        Ok(appended)
    }

    /// Compares what the log takes with what is needed of it. True if waiting is over: the caller tells those who wait.
    pub(crate) fn look_at_backpressure(&self, log: &mut Log) -> bool {
        let gone = self.gone.lock().bytes();
        let used: u64 = log.ledger.accounts.values().map(|account| account.used).sum();
        let total = used + gone + self.beside.load(Ordering::Relaxed);
        let live = log.ledger.live();
        let crowded = log.backpressure.look(total, live, self.options.segment_bytes);
        let before = self.crowded.swap(crowded, Ordering::AcqRel);
        if crowded && !before {
            Counters::add(&self.counters.crowded, 1);
            tracing::debug!(
                total,
                live,
                "the log takes much more than is needed of it; publishers wait"
            );
        }
        before && !crowded
    }

    /// Has what is queued up to the position written at once.
    pub(crate) fn hurry(&self, lsn: Lsn) {
        let mut log = self.log.lock();
        if self.durable() < lsn && log.has_chunks() && !std::mem::replace(&mut log.urgent, true) {
            self.wake.notify_one();
        }
    }

    /// Waits until the position is durable, and has what is queued written at once.
    ///
    /// # Errors
    /// [`Error::Failed`] when the store fails meanwhile, [`Error::Closed`] when it is closed.
    pub(crate) fn wait_durable(&self, lsn: Lsn) -> Result<(), Error> {
        self.hurry(lsn);
        let mut log = self.log.lock();
        while self.durable() < lsn {
            if let Some(reason) = &log.failed {
                return Err(Error::Failed(Arc::clone(reason)));
            }
            if log.closing {
                return Err(Error::Closed);
            }
            self.progress.wait(&mut log);
        }
        Ok(())
    }

    /// Stops the store: nothing more becomes durable.
    pub(crate) fn fail(&self, error: &Error) {
        let first = {
            let mut log = self.log.lock();
            let first = log.failed.is_none();
            log.failed.get_or_insert_with(|| error.to_string().into());
            first
        };
        self.progress.notify_all();
        self.reclaim_wake.notify_all();
        if first {
            tracing::error!(%error, "the store has stopped");
            (self.on_failed)(error);
        }
    }
}

/// Waits until the caller alone holds the group, that is, until its changes show on both sides, in the log and in its
/// owner's state. False if that takes too long.
pub(crate) fn settled_down(mut group: Arc<()>) -> bool {
    let begun = Instant::now();
    while Arc::get_mut(&mut group).is_none() {
        if begun.elapsed() > PATIENCE {
            tracing::warn!("a change of a queue has not come to an end for long; trying again later");
            return false;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    true
}
