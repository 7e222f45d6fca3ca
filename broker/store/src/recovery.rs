//! Reads the whole log at start: cuts the torn tail, steps over damage, rebuilds table, messages and ledger.
//!
//! In: a locked directory. Out: what was stored, and the accounts to go on with. Does not know about queues' rules.

use crate::error::Error;
use crate::fs::{self, File, Fs};
use crate::index::Index;
use crate::ledger::Ledger;
use crate::location::Location;
use crate::record::{self, Record};
use crate::scan::{Found, Scanner};
use crate::segment::{self, HEADER, Header, HeaderRead, Segment};
use crate::{Corrupt, MessageId, QueueId, Recovered, RecoveryReport, StoredMessage};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

mod apply;
mod identity;
pub(crate) mod quarantine;
#[cfg(test)]
mod tests;

use apply::Applier;
use quarantine::Quarantine;

/// What recovery hands to the store.
pub(crate) struct Outcome {
    pub(crate) recovered: Recovered,
    pub(crate) ledger: Ledger,
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    pub(crate) directory_id: u64,
    pub(crate) next_segment: u32,
    pub(crate) next_id: MessageId,
    /// Copies, and their segments, of messages whose settlement names the original's segment: they need one more, so that they
    /// stay dead when the original goes.
    pub(crate) stale_copies: Vec<(QueueId, MessageId, u32)>,
}

/// Recovers the directory, which the caller has locked.
///
/// # Errors
/// [`Error::NewerFormat`], or what the system reports. Damage is no error: it is reported.
pub(crate) fn recover(fs: &dyn Fs, directory: &Path) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let (directory_id, found) = identity::establish(fs, directory)?;
    let mut recovery = Recovery {
        quarantine: Quarantine::new(fs, directory),
        fs,
        directory,
        directory_id,
        existing: found.iter().map(|(number, _)| *number).collect(),
        applier: Applier::default(),
        segments: BTreeMap::new(),
        report: RecoveryReport::default(),
    };
    let last = found.last().map(|(number, _)| *number);
    for (number, path) in found {
        recovery.segment(number, path, Some(number) == last)?;
    }
    Ok(recovery.finish(last, begun))
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
}

/// What the scan of one segment came to.
struct Scanned {
    /// End of what is kept.
    end: u64,
    records: u64,
}

impl Recovery<'_> {
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
        let segment = Segment {
            number,
            path,
            file,
            mask,
        };
        let scanned = self.scan(&segment, newest)?;
        let failed = |source| Error::io("cut the tail of", &segment.path, source);
        if scanned.records == 0 && (newest || !valid) {
            return self.discard(segment, valid || newest);
        }
        if !valid {
            self.damage(&segment, 0, HEADER);
        }
        if newest && segment.file.size().map_err(failed)? > scanned.end {
            // Cut for good: a later start must not take what follows for records of a sealed segment.
            segment.file.set_len(scanned.end).map_err(failed)?;
            segment.file.sync_data().map_err(failed)?;
        }
        self.applier.ledger.account(number).used = scanned.end;
        self.report.segments += 1;
        self.segments.insert(number, Arc::new(segment));
        Ok(())
    }

    /// A segment without a single record: fresh when it is the newest, otherwise unreadable.
    fn discard(&mut self, segment: Segment, fresh: bool) -> Result<(), Error> {
        self.existing.remove(&segment.number);
        self.applier.ledger.remove(segment.number);
        let size = segment.file.size().unwrap_or(0);
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

    fn scan(&mut self, segment: &Segment, newest: bool) -> Result<Scanned, Error> {
        let failed = |source| Error::io("read", &segment.path, source);
        let mut scanner = Scanner::new(&*segment.file, segment.mask).map_err(failed)?;
        let mut records = 0;
        let mut synced = None;
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record {
                    offset,
                    len,
                    first,
                    last,
                    record,
                } => {
                    records += 1;
                    let location = Location {
                        segment: segment.number,
                        offset: offset as u32,
                        len: len as u32,
                    };
                    self.applier.take(location, first, last, &record, &self.existing);
                }
                Found::Damage { offset, len } => {
                    // Only behind the last sync that a mark proves can damage be a torn write. All before it was promised.
                    let torn = newest && {
                        let synced = match synced {
                            Some(synced) => synced,
                            None => *synced.insert(scanner.synced_from(offset).map_err(failed)?),
                        };
                        segment::end_of(segment.number, offset).0 >= synced
                    };
                    if torn {
                        let end = self.applier.drop_unfinished().unwrap_or(offset);
                        self.report.torn_bytes += offset + len - end;
                        return Ok(Scanned { end, records });
                    }
                    self.applier.keep_unfinished(&self.existing);
                    self.applier.damaged.insert(segment.number);
                    self.applier.ledger.account(segment.number).damaged = true;
                    self.damage(segment, offset, len);
                }
                Found::End { offset } => {
                    let unfinished = if newest { self.applier.drop_unfinished() } else { None };
                    self.applier.keep_unfinished(&self.existing);
                    let end = unfinished.unwrap_or(offset);
                    self.report.torn_bytes += offset - end;
                    return Ok(Scanned { end, records });
                }
            }
        }
    }

    fn damage(&mut self, segment: &Segment, offset: u64, len: u64) {
        tracing::warn!(file = %segment.path.display(), offset, len, "damaged bytes in the log; skipped");
        self.quarantine.copy(segment, offset, len);
        self.report.corrupt.push(Corrupt {
            file: segment.path.clone(),
            offset,
            len,
        });
    }

    fn finish(mut self, last: Option<u32>, begun: Instant) -> Outcome {
        self.report.records = self.applier.records;
        self.report.quarantined_to = self.quarantine.used();
        self.report.duration = begun.elapsed();
        let ledger = self.applier.ledger;
        let queues = self.applier.index.finish(|queue| ledger.mark(queue));
        Outcome {
            recovered: Recovered {
                table: self.applier.table,
                queues,
                report: self.report,
            },
            ledger,
            segments: self.segments,
            directory_id: self.directory_id,
            next_segment: last.unwrap_or(0) + 1,
            next_id: self.applier.next_id,
            stale_copies: self.applier.stale_copies,
        }
    }
}
