//! The end of a segment: out of the maps, then recycled or removed.
//!
//! In: a segment without anything that is needed. Out: its disk space. Does not know about records.

use crate::Error;
use crate::batch::Batch;
use crate::location::Urgency;
use crate::segment::{SPARE, Segment};
use crate::shared::{Counters, Shared};
use std::sync::Arc;

/// Drops the segment once all that was appended so far is durable: what made it dead must not be lost after it is gone.
///
/// # Errors
/// What waiting for the log, or the system, reports.
pub(super) fn retire(shared: &Shared, number: u32) -> Result<(), Error> {
    let uncovered = std::mem::take(&mut shared.log.lock().ledger.account(number).uncovered);
    let mut batch = Batch::new();
    for (queue, id, location) in uncovered {
        batch.settle(queue, &[(id, location)]);
    }
    // An empty batch answers with the end of the last one.
    let appended = shared.append(&mut batch, Urgency::Now)?;
    shared.wait_durable(appended.lsn)?;
    // Segment numbers, and with them log positions, must never start over: a younger file has to exist.
    let youngest = shared.segments.read().last_key_value().map(|(&number, _)| number);
    if youngest.is_none_or(|youngest| youngest <= number) {
        batch.note();
        let appended = shared.append(&mut batch, Urgency::Now)?;
        shared.wait_durable(appended.lsn)?;
    }
    let segment = shared.segments.write().remove(&number);
    let removed = segment.map_or(Ok(0), |segment| free(shared, &segment));
    // Only now: the settlements of its messages in other segments may go as soon as the name is gone for good.
    shared.log.lock().ledger.remove(number);
    let bytes = removed?;
    Counters::add(&shared.counters.reclaimed_segments, 1);
    Counters::add(&shared.counters.reclaimed_bytes, bytes);
    tracing::debug!(segment = number, bytes, "segment reclaimed");
    Ok(())
}

/// Recycles the file as the next spare one, or removes it. Returns its size.
fn free(shared: &Shared, segment: &Segment) -> Result<u64, Error> {
    let directory = &shared.options.directory;
    let full = shared.options.segment_bytes;
    let size = segment
        .file
        .size()
        .map_err(|source| Error::io("read the size of", &segment.path, source))?;
    let recycle = (full - full / 8..=full).contains(&size) && {
        let mut spare = shared.spare.lock();
        spare.plenty = true;
        let free = spare.ready.is_none() && !spare.busy && !spare.closing;
        spare.busy |= free;
        free
    };
    let freed = if recycle {
        shared.fs.rename(&segment.path, &directory.join(SPARE))
    } else {
        shared.fs.remove(&segment.path)
    };
    let synced = freed.and_then(|()| shared.fs.sync_dir(directory));
    if recycle {
        let mut spare = shared.spare.lock();
        spare.busy = false;
        spare.ready = synced.is_ok().then(|| Arc::clone(&segment.file));
    }
    synced.map_err(|source| Error::io("remove", &segment.path, source))?;
    Ok(size)
}
