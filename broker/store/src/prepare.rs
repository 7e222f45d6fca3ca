//! Writes the zeros of the next segment ahead of its use.
//!
//! In: the writer's wish. Out: the spare file. A failure here is no failure of the store: segments can grow as they are
//! written. Does not know about records.

use crate::fs::{self, File, Fs};
use crate::segment::{GROWTH, SPARE};
use crate::shared::{Counters, Shared};
use std::io;
use std::sync::Arc;

/// Runs until the store is closed.
pub(crate) fn run(shared: &Shared) {
    let mut failing = false;
    loop {
        {
            let mut spare = shared.spare.lock();
            while !spare.closing && !spare.wanted {
                shared.spare_wake.wait(&mut spare);
            }
            if spare.closing {
                return;
            }
            spare.wanted = false;
            // What is given up from here on counts: it could have been used instead.
            spare.plenty = false;
            if spare.ready.is_some() || spare.busy {
                continue;
            }
            spare.busy = true;
        }
        let made = make(shared);
        let mut spare = shared.spare.lock();
        spare.busy = false;
        match made {
            Ok(file) => {
                spare.ready = file;
                failing = false;
            }
            Err(error) => {
                // On a full disk it fails for every segment: said once.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot prepare segments ahead; they grow as they are written");
                }
                let _ = shared.fs.remove(&shared.options.directory.join(SPARE));
            }
        }
    }
}

/// Zeros really written: blocks that were only reserved still change metadata at each sync.
fn make(shared: &Shared) -> io::Result<Option<Arc<dyn File>>> {
    let path = shared.options.directory.join(SPARE);
    let file = shared.fs.create(&path)?;
    let size = shared.options.segment_bytes;
    let zeros = vec![0; GROWTH.min(size) as usize];
    let mut done = 0;
    while done < size {
        if shared.spare.lock().closing {
            shared.fs.remove(&path)?;
            return Ok(None);
        }
        let len = (size - done).min(zeros.len() as u64);
        fs::write_all_at(&*file, zeros.get(..len as usize).unwrap_or_default(), done)?;
        done += len;
        Counters::add(&shared.counters.prepared_bytes, len);
        // In small steps, so that the log's own syncs do not queue behind a large one.
        file.sync_data()?;
    }
    shared.fs.sync_dir(&shared.options.directory)?;
    Ok(Some(file))
}

/// Takes over the spare file of an earlier run when it is complete.
pub(crate) fn adopt(fs: &dyn Fs, directory: &std::path::Path, segment_bytes: u64) -> io::Result<Option<Arc<dyn File>>> {
    let path = directory.join(SPARE);
    let file = match fs.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.size()? == segment_bytes {
        return Ok(Some(file));
    }
    drop(file);
    fs.remove(&path)?;
    Ok(None)
}
