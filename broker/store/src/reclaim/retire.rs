//! The end of segments: out of the maps, then recycled or removed.
//!
//! In: segments without anything that is needed. Out: their disk space. Does not know about records.

use super::postpone::put_off;
use super::shrink;
use crate::batch::Batch;
use crate::error::Error;
use crate::fs::{File, Fs};
use crate::ledger::Uncovered;
use crate::location::Urgency;
use crate::segment::{SPARE, Segment};
use crate::shared::{Counters, Shared};
use std::io;
use std::sync::Arc;

/// Drops the segments once all that was appended so far is durable: what made them dead must not be lost after they are
/// gone. One that the system does not let go is left alone for a while, and all that speaks of it stays.
///
/// # Errors
/// An error of the log, while waiting for it.
pub(super) fn retire(shared: &Shared, numbers: &[u32]) -> Result<(), Error> {
    make_durable(shared, numbers)?;
    let mut freed = Vec::new();
    for &number in numbers {
        let segment = shared.segments.write().remove(&number);
        let Some(segment) = segment else {
            forget(shared, number, 0);
            continue;
        };
        shared.handles.forget(number);
        match free(shared, &segment) {
            Ok(place) => freed.push((segment, place)),
            Err(error) => keep(shared, segment, error)?,
        }
    }
    let directory = &shared.options.directory;
    // Not even asked for when nothing was freed: the system may have trouble enough.
    let synced = if freed.is_empty() {
        Ok(())
    } else {
        shared.fs.sync_dir(directory)
    };
    for (segment, freed) in freed {
        if freed.end == End::Recycled {
            let mut spare = shared.spare.lock();
            spare.busy = false;
            spare.ready = freed.file.filter(|_| synced.is_ok());
        }
        match &synced {
            Ok(()) => {
                forget(shared, segment.number, freed.bytes);
                if freed.end == End::Renamed {
                    shrink::hand_over(shared, segment);
                }
            }
            Err(failed) => {
                let source = io::Error::new(failed.kind(), failed.to_string());
                keep(shared, segment, Error::io("sync directory", directory, source))?;
            }
        }
    }
    Ok(())
}

fn make_durable(shared: &Shared, numbers: &[u32]) -> Result<(), Error> {
    let mut batch = Batch::new();
    for &number in numbers {
        let uncovered = std::mem::take(&mut shared.log.lock().ledger.account(number).uncovered);
        for Uncovered { queue, id, location } in uncovered {
            batch.settle(queue, &[(id, location)]);
        }
    }
    // An empty batch answers with the end of the last one.
    let appended = shared.append(&mut batch, Urgency::Now)?;
    shared.wait_durable(appended.lsn)?;
    // Segment numbers, and with them log positions, must never start over: a younger file has to exist.
    let youngest = shared.segments.read().last_key_value().map(|(&number, _)| number);
    if youngest.is_none_or(|youngest| numbers.contains(&youngest)) {
        batch.note();
        let appended = shared.append(&mut batch, Urgency::Now)?;
        shared.wait_durable(appended.lsn)?;
    }
    Ok(())
}

/// The name is gone for good: only now may settlements of the segment's messages in other segments go.
fn forget(shared: &Shared, number: u32, bytes: u64) {
    shared.log.lock().ledger.remove(number);
    Counters::add(&shared.counters.reclaimed_segments, 1);
    Counters::add(&shared.counters.reclaimed_bytes, bytes);
    tracing::debug!(segment = number, bytes, "segment reclaimed");
}

/// The file may be there again at the next start.
fn keep(shared: &Shared, segment: Arc<Segment>, error: Error) -> Result<(), Error> {
    let number = segment.number;
    shared.segments.write().insert(number, segment);
    put_off(shared, &[number], error)
}

/// The fate of a file.
struct Freed {
    /// Its size.
    bytes: u64,
    end: End,
    /// The file, if it is the spare one now.
    file: Option<Arc<dyn File>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is the spare one now.
    Recycled,
    /// It has a name that means nothing, and is removed later, since it is large.
    Renamed,
    Removed,
}

/// Makes the file the spare one, if there is none, or takes its name away. Neither is durable yet.
fn free(shared: &Shared, segment: &Segment) -> Result<Freed, Error> {
    let full = shared.options.segment_bytes;
    let bytes = segment.len();
    let file = if (full - full / 8..=full).contains(&bytes) && reserve_spare(shared) {
        open_spare(shared, segment)?
    } else {
        None
    };
    let end = if file.is_some() {
        End::Recycled
    } else if bytes > shrink::step(full) {
        End::Renamed
    } else {
        End::Removed
    };
    let freed = match end {
        End::Recycled => shared.fs.rename(&segment.path, &shared.options.directory.join(SPARE)),
        End::Renamed => shared.fs.rename(&segment.path, &shrink::path(shared, segment)),
        End::Removed => shared.fs.remove(&segment.path),
    };
    match freed {
        Ok(()) => {
            segment.lose_name();
            Ok(Freed { bytes, end, file })
        }
        Err(error) => {
            if end == End::Recycled {
                shared.spare.lock().busy = false;
            }
            // An earlier try came so far, and what failed was to make it durable.
            if error.kind() == io::ErrorKind::NotFound {
                return Ok(Freed {
                    bytes,
                    end: End::Renamed,
                    file: None,
                });
            }
            Err(Error::io("remove", &segment.path, error))
        }
    }
}

/// Opens the file that is to be the spare one. `None`, and the spare file's name is free again, if an earlier try has
/// taken its name from it.
fn open_spare(shared: &Shared, segment: &Segment) -> Result<Option<Arc<dyn File>>, Error> {
    let opened = shared.fs.open(&segment.path);
    if opened.is_err() {
        shared.spare.lock().busy = false;
    }
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("open", &segment.path, source)),
    }
}

/// Takes the name of the spare file if it is free.
fn reserve_spare(shared: &Shared) -> bool {
    let mut spare = shared.spare.lock();
    spare.plenty = true;
    let free = spare.ready.is_none() && !spare.busy && !spare.closing;
    spare.busy |= free;
    free
}
