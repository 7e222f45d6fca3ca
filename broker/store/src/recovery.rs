//! Reads the log at start, from the newest checkpoint on or all of it: cuts the torn tail, steps over damage, rebuilds
//! table, messages and ledger.
//!
//! In: a locked directory. Out: what was stored, and the accounts to go on with. Does not know about queues' rules.

use crate::checkpoint::{self, Loaded};
use crate::error::Error;
use crate::fs::{File, Fs};
use crate::ids::MessageId;
use crate::ledger::Ledger;
use crate::location::{Location, Lsn};
use crate::page::Page;
use crate::pages::PageFile;
use crate::record;
use crate::recovered::{Corrupt, Recovered, RecoveryReport};
use crate::scan::{Found, Scanner};
use crate::segment::{self, HEADER, Header, HeaderRead, Segment};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Records to state, batch by batch.
mod apply;

/// The directory's id and its segments.
pub(crate) mod identity;

/// Damaged bytes, put aside.
pub(crate) mod quarantine;

#[cfg(test)]
mod tests;

use apply::{Applier, StaleCopy};
use quarantine::Quarantine;

/// The outcome of recovery, for the store.
pub(crate) struct Outcome {
    pub(crate) recovered: Recovered,
    pub(crate) ledger: Ledger,
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    pub(crate) directory_id: u64,
    /// The highest number of a segment that is, or was known to be.
    pub(crate) last_segment: u32,
    pub(crate) next_id: MessageId,
    /// To be settled once more.
    pub(crate) stale_copies: Vec<StaleCopy>,
    /// The file of packed pages.
    pub(crate) pages: Arc<PageFile>,
    /// Segments that lie before the checkpoint, whose records have not been read.
    pub(crate) unread: Vec<u32>,
}

/// Recovers the directory, which the caller has locked.
///
/// # Errors
/// [`Error::NewerFormat`], or what the system reports. Damage is no error: it is reported.
pub(crate) fn recover(fs: &dyn Fs, directory: &Path) -> Result<Outcome, Error> {
    let (directory_id, found) = identity::establish(fs, directory)?;
    if let Some(loaded) = checkpoint::load(fs, directory, directory_id)? {
        let mut recovery = Recovery::new(fs, directory, directory_id, &found);
        let pages = Arc::clone(&loaded.pages);
        recovery.begin_at(loaded);
        if let Some(outcome) = recovery.run(&found, pages)? {
            return Ok(outcome);
        }
        tracing::warn!("a part of the queues' index cannot be read; reading the whole log instead");
    }
    // Whatever is left of a checkpoint is of no use, and must not be taken for one once its pages are written over.
    checkpoint::remove(fs, directory)?;
    let pages = PageFile::create(fs, directory)?;
    let outcome = Recovery::new(fs, directory, directory_id, &found).run(&found, pages)?;
    outcome.ok_or(Error::DamagedPage { first: 0, last: 0 })
}

struct Recovery<'a> {
    fs: &'a dyn Fs,
    directory: &'a Path,
    directory_id: u64,
    existing: BTreeSet<u32>,
    quarantine: Quarantine<'a>,
    applier: Applier,
    segments: BTreeMap<u32, Arc<Segment>>,
    report: RecoveryReport,
    begun: Instant,
    /// All before it is known from a checkpoint.
    position: Lsn,
    /// The log was synced up to here, as the checkpoint knows.
    synced: Lsn,
}

/// The outcome of the scan of one segment.
struct Scanned {
    /// End of what is kept.
    end: u64,
    records: u64,
}

impl<'a> Recovery<'a> {
    fn new(fs: &'a dyn Fs, directory: &'a Path, directory_id: u64, found: &[(u32, PathBuf)]) -> Recovery<'a> {
        Recovery {
            quarantine: Quarantine::new(fs, directory),
            fs,
            directory,
            directory_id,
            existing: found.iter().map(|(number, _)| *number).collect(),
            applier: Applier::default(),
            segments: BTreeMap::new(),
            report: RecoveryReport::default(),
            begun: Instant::now(),
            position: Lsn::default(),
            synced: Lsn::default(),
        }
    }

    /// Takes over what a checkpoint knows.
    fn begin_at(&mut self, loaded: Loaded) {
        self.position = loaded.position;
        self.synced = loaded.synced;
        self.report.from_checkpoint = true;
        let applier = &mut self.applier;
        applier.next_id = loaded.next_id;
        applier.ledger = loaded.ledger;
        let accounts = &applier.ledger.accounts;
        applier.damaged = accounts
            .iter()
            .filter(|(_, account)| account.damaged)
            .map(|(&number, _)| number)
            .collect();
        for (queue, backlog) in loaded.queues {
            applier.index.preload(queue, backlog);
        }
    }

    /// Reads all segments. `None` if what a checkpoint knows turns out not to be readable.
    fn run(mut self, found: &[(u32, PathBuf)], pages: Arc<PageFile>) -> Result<Option<Outcome>, Error> {
        let last = found.last().map(|(number, _)| *number);
        for (number, path) in found {
            self.segment(*number, path.clone(), Some(*number) == last)?;
        }
        Ok(self.finish(last, pages))
    }

    fn segment(&mut self, number: u32, path: PathBuf, newest: bool) -> Result<(), Error> {
        let failed = |source| Error::io("read", &path, source);
        let file = self.fs.open(&path).map_err(|source| Error::io("open", &path, source))?;
        let header = Header::read(&*file).map_err(failed)?;
        let mask = record::segment_mask(self.directory_id, number);
        let valid = match header {
            HeaderRead::Valid(header) => header.directory_id == self.directory_id && header.segment == number,
            HeaderRead::Newer(found) => {
                return Err(Error::NewerFormat {
                    path,
                    found,
                    supported: segment::FORMAT,
                });
            }
            HeaderRead::Invalid => false,
        };
        if let HeaderRead::Valid(header) = header
            && valid
        {
            self.applier.next_id = self.applier.next_id.max(header.next_id);
        }
        let size = file
            .size()
            .map_err(|source| Error::io("read the size of", &path, source))?;
        let segment = Segment::new(self.directory, number, mask, size);
        // What was written beside the log since the checkpoint has a lower number than the log had then.
        let beside = !matches!(header, HeaderRead::Valid(header) if !header.beside);
        let account = self.applier.ledger.accounts.contains_key(&number);
        if number < self.position.segment() && (account || !beside) {
            return self.known(segment, &*file, valid);
        }
        // Records of it are known, so that it holds some even if none is met now.
        let known = number == self.position.segment() && self.position.offset() > HEADER;
        let scanned = self.scan(&segment, &*file, newest)?;
        let failed = |source| Error::io("cut the tail of", &segment.path, source);
        if scanned.records == 0 && (newest || !valid) && !known {
            return self.discard(segment, valid || newest);
        }
        if !valid {
            self.damage(&segment, &*file, 0, HEADER);
        }
        if newest && segment.len() > scanned.end {
            // Cut for good: a later start must not take what follows for records of a sealed segment.
            file.set_len(scanned.end).map_err(failed)?;
            file.sync_data().map_err(failed)?;
            segment.set_len(scanned.end);
        }
        self.applier.ledger.account(number).used = scanned.end;
        self.report.segments += 1;
        self.segments.insert(number, Arc::new(segment));
        Ok(())
    }

    /// A segment that lies before the checkpoint: its records are read when they are wanted.
    fn known(&mut self, segment: Segment, file: &dyn File, valid: bool) -> Result<(), Error> {
        if !valid {
            self.damage(&segment, file, 0, HEADER);
        }
        if !self.applier.ledger.accounts.contains_key(&segment.number) {
            // Nothing in it was needed any more, and its removal has been interrupted.
            self.applier.ledger.account(segment.number).used = segment.len();
        }
        self.report.segments += 1;
        self.segments.insert(segment.number, Arc::new(segment));
        Ok(())
    }

    /// A segment without a single record: fresh when it is the newest, otherwise unreadable.
    fn discard(&mut self, segment: Segment, fresh: bool) -> Result<(), Error> {
        self.existing.remove(&segment.number);
        self.applier.ledger.remove(segment.number);
        let size = segment.len();
        if !fresh && size > HEADER && self.quarantine.move_file(&segment) {
            self.report.corrupt.push(Corrupt {
                file: segment.path,
                offset: 0,
                len: size,
            });
            return Ok(());
        }
        self.fs
            .remove(&segment.path)
            .map_err(|source| Error::io("remove", &segment.path, source))?;
        self.fs
            .sync_dir(self.directory)
            .map_err(|source| Error::io("sync directory", self.directory, source))
    }

    fn scan(&mut self, segment: &Segment, file: &dyn File, newest: bool) -> Result<Scanned, Error> {
        let failed = |source| Error::io("read", &segment.path, source);
        let mut scanner = Scanner::new(file, segment.mask).map_err(failed)?;
        let mut from = HEADER;
        if segment.number == self.position.segment() {
            from = self.position.offset().max(HEADER);
            scanner.seek(from);
        }
        let mut records = 0;
        let mut synced = None;
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record {
                    offset,
                    len,
                    first,
                    last,
                    body,
                    record,
                } => {
                    records += 1;
                    let location = Location {
                        segment: segment.number,
                        offset: offset as u32,
                        len: len as u32,
                    };
                    self.applier.take(location, first, last, body, &record, &self.existing);
                }
                Found::Damage { offset, len } => {
                    // Only behind the last sync that a mark proves can damage be a torn write. All before it was
                    // promised.
                    let torn = newest && {
                        let synced = match synced {
                            Some(synced) => synced,
                            None => *synced.insert(scanner.synced_from(offset).map_err(failed)?),
                        };
                        segment::end_of(segment.number, offset).0 >= synced.max(self.synced.0)
                    };
                    if torn {
                        let end = self.applier.drop_unfinished().unwrap_or(offset);
                        self.report.torn_bytes += offset + len - end;
                        self.report.read_bytes += end - from;
                        return Ok(Scanned { end, records });
                    }
                    self.applier.keep_unfinished(&self.existing);
                    self.applier.damaged.insert(segment.number);
                    self.applier.ledger.account(segment.number).damaged = true;
                    self.damage(segment, file, offset, len);
                }
                Found::End { offset } => {
                    let unfinished = if newest { self.applier.drop_unfinished() } else { None };
                    self.applier.keep_unfinished(&self.existing);
                    let end = unfinished.unwrap_or(offset);
                    self.report.torn_bytes += offset - end;
                    self.report.read_bytes += end - from;
                    return Ok(Scanned { end, records });
                }
            }
        }
    }

    fn damage(&mut self, segment: &Segment, file: &dyn File, offset: u64, len: u64) {
        tracing::warn!(file = %segment.path.display(), offset, len, "damaged bytes in the log; skipped");
        self.quarantine.copy(segment, file, offset, len);
        self.report.corrupt.push(Corrupt {
            file: segment.path.clone(),
            offset,
            len,
        });
    }

    fn finish(mut self, last: Option<u32>, pages: Arc<PageFile>) -> Option<Outcome> {
        self.report.records = self.applier.records;
        self.report.quarantined_to = self.quarantine.used();
        let mut ledger = self.applier.ledger;
        let mut index = self.applier.index;
        // What a segment held that has gone since the checkpoint has ended, or was moved and has been met where it is
        // now.
        let segments = &self.segments;
        ledger.keep_existing(&segments.keys().copied().collect());
        let queues = index.finish(|queue| ledger.mark(queue), |number| segments.contains_key(&number));
        let slots = queues
            .values()
            .flat_map(|backlog| &backlog.pages)
            .filter_map(Page::slot);
        if index.broken || !pages.occupy(slots.collect()) {
            return None;
        }
        if self.report.from_checkpoint {
            ledger.recount(queues.values());
        }
        let table = ledger.values().collect();
        let unread = self
            .segments
            .range(..=self.position.segment())
            .map(|(&number, _)| number);
        let unread = unread.filter(|_| self.report.from_checkpoint).collect();
        self.report.duration = self.begun.elapsed();
        Some(Outcome {
            recovered: Recovered {
                table,
                queues,
                report: self.report,
            },
            ledger,
            segments: self.segments,
            directory_id: self.directory_id,
            last_segment: last.unwrap_or(0).max(self.position.segment()),
            next_id: self.applier.next_id,
            stale_copies: self.applier.stale_copies,
            pages,
            unread,
        })
    }
}
