//! A segment beside the log: messages that reclaim moves lie together in it, apart from those that come and go, so that
//! they are not moved again and again, and no client waits for their way to the disk.
//!
//! In: batches of copies. Out: a segment that is complete and durable before anybody hears of it. Its number is above
//! those of the segments that the copies come from, and below that of the segment being filled: what the log says of
//! the messages later is read later. Does not know which messages are moved, or why.

use crate::batch::Batch;
use crate::error::Error;
use crate::fs::{self, File, Fs};
use crate::ledger::Account;
use crate::record;
use crate::segment::{self, FORMAT, Header, MOVING, Segment};
use crate::shared::{Counters, Shared};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The segment, while it is written under another name.
pub(super) struct Beside<'a> {
    shared: &'a Shared,
    number: u32,
    mask: u32,
    path: PathBuf,
    file: Arc<dyn File>,
    offset: u64,
    /// Written since the last sync, bytes.
    unsynced: usize,
    account: Account,
    /// It has its name, or must keep what it has: nothing is to be removed.
    ended: bool,
}

impl<'a> Beside<'a> {
    /// Begins a segment. What the log held before its number was taken is durable afterwards.
    ///
    /// # Errors
    /// The system's error, or one of waiting for the log.
    pub(super) fn begin(shared: &'a Shared) -> Result<Beside<'a>, Error> {
        let (number, appended) = {
            let mut log = shared.log.lock();
            (log.number_beside(), log.appended)
        };
        shared.wait_durable(appended)?;
        let path = shared.options.directory.join(MOVING);
        // An earlier one could not be removed.
        fs::remove_if_there(&*shared.fs, &path)?;
        let file = shared
            .fs
            .create(&path)
            .map_err(|source| Error::io("create", &path, source))?;
        let mut beside = Beside {
            shared,
            number,
            mask: record::segment_mask(shared.directory_id, number),
            path,
            file,
            offset: 0,
            unsynced: 0,
            account: Account::default(),
            ended: false,
        };
        let header = Header {
            format: FORMAT,
            beside: true,
            directory_id: shared.directory_id,
            segment: number,
            next_id: shared.next_id.load(Ordering::Relaxed),
        };
        beside.put(&header.encode())?;
        Ok(beside)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.offset
    }

    /// Writes the copies, and has them synced from time to time: whenever `portion` bytes have gathered.
    ///
    /// # Errors
    /// The system's error. The segment is of no use then.
    pub(super) fn write(&mut self, batch: &mut Batch, portion: usize) -> Result<(), Error> {
        if let Some(size) = batch.too_large {
            return Err(Error::TooLarge(size));
        }
        batch.seal().bind(self.mask);
        self.put(&batch.bytes)?;
        let (account, tally) = (&mut self.account, &batch.tally);
        account.published += tally.published;
        account.weight += tally.weight;
        account.live_weight += tally.weight;
        account.refs += tally.refs;
        account.after.extend(tally.copied_from);
        let bytes = batch.bytes.len();
        for counter in [&self.shared.counters.appended_bytes, &self.shared.counters.copied_bytes] {
            Counters::add(counter, bytes as u64);
        }
        batch.clear();
        self.unsynced += bytes;
        if self.unsynced >= portion {
            self.sync()?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.offset + bytes.len() as u64;
        if end > u64::from(u32::MAX) {
            return Err(Error::TooLarge(end));
        }
        fs::write_all_at(&*self.file, bytes, self.offset).map_err(|source| Error::io("write", &self.path, source))?;
        self.offset = end;
        self.shared.beside.store(end, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.unsynced = 0;
        self.file
            .sync_data()
            .map_err(|source| Error::io("sync", &self.path, source))
    }

    /// Makes the segment one of the log's, durably.
    ///
    /// # Errors
    /// The system's error. When it is unknown which name the file has the store has failed.
    pub(super) fn finish(mut self) -> Result<Arc<Segment>, Error> {
        // If it is the newest segment one day: damage in it is no torn write.
        let mark = Batch::mark_for(self.mask, segment::end_of(self.number, self.offset));
        self.put(&mark)?;
        self.sync()?;
        let shared = self.shared;
        // The copies tell how often messages were returned, and their stamps since: that must not be ahead of the
        // durable log.
        let appended = shared.log.lock().appended;
        shared.wait_durable(appended)?;
        let path = shared.options.directory.join(segment::file_name(self.number));
        shared
            .fs
            .rename(&self.path, &path)
            .map_err(|source| Error::io("rename", &self.path, source))?;
        self.ended = true;
        if let Err(source) = shared.fs.sync_dir(&shared.options.directory) {
            let error = Error::io("sync directory", &shared.options.directory, source);
            shared.fail(&error);
            return Err(error);
        }
        let directory = &shared.options.directory;
        let segment = Arc::new(Segment::new(directory, self.number, self.mask, self.offset));
        shared.segments.write().insert(self.number, Arc::clone(&segment));
        let mut log = shared.log.lock();
        self.account.used = self.offset;
        log.ledger
            .accounts
            .insert(self.number, std::mem::take(&mut self.account));
        log.since_checkpoint += self.offset;
        Ok(segment)
    }
}

impl Drop for Beside<'_> {
    /// It is unknown outside: it goes.
    fn drop(&mut self) {
        self.shared.beside.store(0, Ordering::Relaxed);
        if self.ended {
            return;
        }
        match self.shared.fs.remove(&self.path) {
            Ok(()) => {}
            // It was renamed although the system said that it was not: copies that are unknown must not come back one
            // day.
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                self.shared.fail(&Error::io("find", &self.path, source));
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove a file that is of no use; trying again later");
            }
        }
    }
}
