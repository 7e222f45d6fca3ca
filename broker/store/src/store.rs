//! The store: opens the directory, runs the threads, hands out handles.
//!
//! In: options, a file system, callbacks. Out: `Store`, `Handle`, what was recovered. Does not know about record bytes.

use crate::batch::Batch;
use crate::error::Error;
use crate::fs::Fs;
use crate::handles::Handles;
use crate::ids::{MessageId, QueueId};
use crate::location::{Appended, Location, Lsn, Urgency};
use crate::lock::DirectoryLock;
use crate::log::Log;
use crate::options::Options;
use crate::owner::Owner;
use crate::page::Page;
use crate::patient::Patient;
use crate::reclaim::{self, shrink};
use crate::record::Run;
use crate::recovered::{Corrupt, Recovered};
use crate::shared::{Counters, OnDurable, OnFailed, Shared, Spare};
use crate::stats::Stats;
use crate::stored::StoredMessage;
use crate::{layout, prepare, reader, recovery, verify, writer};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

#[cfg(test)]
mod tests;

/// An open data directory. Dropping it closes it.
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: DirectoryLock,
}

/// Access to an open store: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Store {
    /// Locks the directory, recovers what it holds and starts the writer.
    ///
    /// `on_durable` is called by the writer after each commit, with the new durable position, and when the log is
    /// crowded no more ([`Handle::is_crowded`]); `on_failed` once, when a write or sync has failed and nothing more
    /// will become durable. Both must return quickly.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NewerFormat`], [`Error::Stranger`], [`Error::InvalidOption`], or what the system
    /// reports. Damaged files are no error: see [`crate::RecoveryReport`].
    pub fn open(
        options: Options,
        fs: Arc<dyn Fs>,
        on_durable: OnDurable,
        on_failed: OnFailed,
    ) -> Result<(Store, Recovered), Error> {
        options.check()?;
        let directory = options.directory.clone();
        let fs = Arc::new(Patient::new(fs));
        fs.create_dir_all(&directory)
            .map_err(|source| Error::io("create", &directory, source))?;
        layout::check(&*fs, &directory)?;
        let lock = DirectoryLock::acquire(&*fs, &directory)?;
        layout::close_to_others(&*fs, &directory)?;
        let outcome = recovery::recover(&*fs, &directory)?;
        shrink::sweep(&*fs, &directory)?;
        let spare = prepare::adopt(&*fs, &directory, options.segment_bytes)
            .map_err(|source| Error::io("open the spare segment in", &directory, source))?;
        let mut log = Log::new(
            outcome.directory_id,
            options.segment_bytes,
            outcome.last_segment,
            outcome.ledger,
        );
        log.since_checkpoint = outcome.recovered.report.read_bytes;
        let durable = AtomicU64::new(log.end().0.saturating_sub(1));
        let damage = outcome.recovered.report.corrupt.clone();
        let corrupt = damage.len() as u64;
        let unread = outcome.unread;
        let shared = Arc::new(Shared {
            handles: Handles::new(options.open_segments),
            options,
            fs,
            directory_id: outcome.directory_id,
            log: Mutex::new(log),
            wake: Condvar::new(),
            progress: Condvar::new(),
            reclaim_wake: Condvar::new(),
            durable,
            pending: AtomicU64::new(0),
            next_id: AtomicU64::new(outcome.next_id.max(1)),
            segments: RwLock::new(outcome.segments),
            pages: outcome.pages,
            group: Mutex::default(),
            discarded: Mutex::default(),
            spare: Mutex::new(Spare {
                ready: spare,
                ..Spare::default()
            }),
            spare_wake: Condvar::new(),
            crowded: AtomicBool::new(false),
            beside: AtomicU64::new(0),
            gone: Mutex::default(),
            gone_wake: Condvar::new(),
            counters: Counters {
                corrupt: AtomicU64::new(corrupt),
                ..Counters::default()
            },
            damage: Mutex::new(damage),
            on_durable,
            on_failed,
        });
        let store = Store {
            shared,
            threads: Mutex::default(),
            _lock: lock,
        };
        store.spawn("store-writer", writer::run)?;
        store.spawn("store-prepare", prepare::run)?;
        store.spawn("store-shrink", shrink::run)?;
        if !unread.is_empty() {
            store.spawn("store-verify", move |shared| verify::run(shared, &unread))?;
        }
        let mut batch = Batch::new();
        for copy in outcome.stale_copies {
            let run = Run {
                segment: copy.segment,
                first: copy.id,
                count: 1,
            };
            batch.carry_settled(copy.queue, &[run]);
        }
        store.shared.append(&mut batch, Urgency::Soon)?;
        store.shared.fs.serve(true);
        Ok((store, outcome.recovered))
    }

    fn spawn(&self, name: &str, run: impl FnOnce(&Shared) + Send + 'static) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&shared));
        let thread =
            thread.map_err(|source| Error::io("start a thread for", &self.shared.options.directory, source))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Access for callers.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Starts to reclaim segments, now that the owner can answer for its messages.
    pub fn start_reclaim(&self, owner: Arc<dyn Owner>) {
        let started = self.spawn("store-reclaim", move |shared| reclaim::run(shared, &*owner));
        if let Err(error) = started {
            tracing::error!(%error, "dead segments will not be reclaimed");
        }
    }

    /// Writes and syncs all that was appended and ends the threads.
    ///
    /// # Errors
    /// [`Error::Failed`] when a write or sync has failed, now or earlier.
    pub fn close(mut self) -> Result<(), Error> {
        self.shut_down();
        match &self.shared.log.lock().failed {
            Some(reason) => Err(Error::Failed(Arc::clone(reason))),
            None => Ok(()),
        }
    }

    fn shut_down(&mut self) {
        self.shared.fs.serve(false);
        // What was purged must not come back, also if the reclaim thread did not come to it.
        let discarded = std::mem::take(&mut *self.shared.discarded.lock());
        for (queue, page) in discarded {
            if let Err(error) = reclaim::discard(&self.shared, queue, &page) {
                tracing::warn!(%error, "purged messages may come back");
                break;
            }
        }
        self.shared.log.lock().closing = true;
        self.shared.spare.lock().closing = true;
        self.shared.gone.lock().closing = true;
        self.shared.wake.notify_all();
        self.shared.progress.notify_all();
        self.shared.reclaim_wake.notify_all();
        self.shared.spare_wake.notify_all();
        self.shared.gone_wake.notify_all();
        for thread in self.threads.get_mut().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
        shrink::finish(&self.shared);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A change of the owner's state that is not appended yet; see [`Handle::under_way`].
#[derive(Debug)]
pub struct UnderWay {
    _group: Arc<()>,
}

impl Handle {
    /// To be held while messages are settled or returned, from before the owner's state shows it until the records are
    /// appended (or the append is refused): a checkpoint that has seen the state waits for it.
    pub fn under_way(&self) -> UnderWay {
        UnderWay {
            _group: Arc::clone(&self.shared.group.lock()),
        }
    }

    /// The first of a run of `count` fresh message ids. Ids ascend and are never used again, also after a restart.
    pub fn next_ids(&self, count: u64) -> MessageId {
        self.shared.next_ids(count)
    }

    /// Queues the batch for the next commit. Never waits for the disk. The batch is empty afterwards and can be used
    /// again.
    ///
    /// # Errors
    /// [`Error::Failed`] after a failed write or sync, [`Error::Closed`], [`Error::TooLarge`]. The batch keeps its
    /// records then.
    pub fn append(&self, batch: &mut Batch, urgency: Urgency) -> Result<Appended, Error> {
        self.shared.append(batch, urgency)
    }

    /// Has everything up to here written and synced at once: a caller waits now for what nobody has waited for so far.
    /// Never waits for the disk.
    pub fn hurry(&self, lsn: Lsn) {
        self.shared.hurry(lsn);
    }

    /// Everything up to here is on the device.
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Bytes appended that are not durable yet: what callers should limit.
    pub fn pending_bytes(&self) -> u64 {
        self.shared.pending.load(Ordering::Relaxed)
    }

    /// The log takes much more than is needed of it, and grows faster than it can be cleaned up: who appends messages
    /// should wait until `on_durable` is called and this is over. Settlements need not wait.
    pub fn is_crowded(&self) -> bool {
        self.shared.crowded.load(Ordering::Acquire)
    }

    /// The payload of the publish record at this place, written yet or not. Reads the disk on the caller's thread.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it fails its checksum; [`Error::Gone`] when its segment was reclaimed, in which case a
    /// message that is still alive has been relocated; [`Error::Io`].
    pub fn read(&self, location: Location) -> Result<Bytes, Error> {
        reader::read(&self.shared, location)
    }

    /// [`Handle::read`] for several records: those that lie one after the other in the log cost one read of the disk.
    /// One result each, in order.
    pub fn read_run(&self, locations: &[Location]) -> Vec<Result<Bytes, Error>> {
        reader::read_run(&self.shared, locations)
    }

    /// These records have one reference less. Nothing is logged: for the messages of a queue whose deletion is.
    pub fn release(&self, settled: &[Location]) {
        if settled.is_empty() {
            return;
        }
        let mut log = self.shared.log.lock();
        for &location in settled {
            log.ledger.released(location);
        }
        let emptied = std::mem::take(&mut log.ledger.emptied) || log.reclaim_sleeps;
        log.reclaim_sleeps &= !emptied;
        drop(log);
        if emptied {
            self.shared.reclaim_wake.notify_one();
        }
    }

    /// The messages of a page of this queue. Reads the disk on the caller's thread when the page is there; a damaged
    /// one is put together again from the log. When even that cannot be read the store stops, and there are none.
    pub fn unpack(&self, queue: QueueId, page: &Page) -> Vec<StoredMessage> {
        reader::unpack(&self.shared, queue, page).unwrap_or_else(|error| {
            self.shared.fail(&error);
            Vec::new()
        })
    }

    /// [`Handle::release`] for whole pages.
    pub fn release_pages(&self, pages: &[Page]) {
        if pages.is_empty() {
            return;
        }
        let mut log = self.shared.log.lock();
        pages.iter().for_each(|page| log.ledger.released_page(page));
        let emptied = std::mem::take(&mut log.ledger.emptied) || log.reclaim_sleeps;
        log.reclaim_sleeps &= !emptied;
        drop(log);
        if emptied {
            self.shared.reclaim_wake.notify_one();
        }
    }

    /// Settles all messages of these pages, which the queue does not hold any more, in the background.
    pub fn discard(&self, queue: QueueId, pages: Vec<Page>) {
        if pages.is_empty() {
            return;
        }
        self.shared
            .discarded
            .lock()
            .extend(pages.into_iter().map(|page| (queue, page)));
        self.shared.log.lock().reclaim_sleeps = false;
        self.shared.reclaim_wake.notify_one();
    }

    /// Damaged places of the log that are known; a thousand at most.
    pub fn damage(&self) -> Vec<Corrupt> {
        self.shared.damage.lock().clone()
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        Stats::collect(&self.shared)
    }
}
