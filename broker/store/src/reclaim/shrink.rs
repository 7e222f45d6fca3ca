//! Gives back the disk space of files that are gone from the log, a little at a time: a file system frees a large file
//! in one piece, and syncs of the log wait for it some 20 ms (measured: 64 MiB on ext4).
//!
//! In: segments' files under names that mean nothing. Out: their disk space. Runs on its own thread; what it doesn't
//! come to the next start removes. Does not know why the files are gone.

use crate::error::Error;
use crate::fs::{File, Fs};
use crate::segment::{MOVING, Segment, gone_name, is_gone};
use crate::shared::Shared;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Number of steps in which a file as large as a segment goes: 2 MiB each, a millisecond or less.
const STEPS: u64 = 32;
/// The pause after a step, in times of what the step took.
const PAUSE: u32 = 4;
/// Files that wait from which the pauses become shorter: a busy log may give up ten a second.
const BEHIND: usize = 8;

/// The size of a step, bytes. Smaller files are removed at once.
pub(super) fn step(segment_bytes: u64) -> u64 {
    segment_bytes / STEPS
}

/// Where a segment's file goes before it is removed.
pub(super) fn path(shared: &Shared, segment: &Segment) -> PathBuf {
    shared.options.directory.join(gone_name(segment.number))
}

/// The file has its new name for good: its space may go.
pub(super) fn hand_over(shared: &Shared, segment: Arc<Segment>) {
    shared.gone.lock().segments.push_back(segment);
    shared.gone_wake.notify_one();
}

/// Removes what an earlier run has left.
///
/// # Errors
/// The directory can't be listed.
pub(crate) fn sweep(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
    let names = fs
        .list(directory)
        .map_err(|source| Error::io("list", directory, source))?;
    for name in names.iter().filter(|name| is_gone(name) || *name == MOVING) {
        let path = directory.join(name);
        tell(&path, fs.remove(&path));
    }
    Ok(())
}

/// Runs until the store is closed.
pub(crate) fn run(shared: &Shared) {
    loop {
        let segment = {
            let mut gone = shared.gone.lock();
            loop {
                match gone.segments.front() {
                    _ if gone.closing => return,
                    Some(segment) => break Arc::clone(segment),
                    None => shared.gone_wake.wait(&mut gone),
                }
            }
        };
        let path = path(shared, &segment);
        let shrunk = shared.fs.open(&path).and_then(|file| shrink(shared, &*file));
        tell(&path, shrunk.and_then(|()| shared.fs.remove(&path)));
        shared.gone.lock().segments.pop_front();
        if shared.crowded.load(Ordering::Relaxed) {
            shared.reclaim_wake.notify_one();
        }
    }
}

/// Removes what is left when all threads have ended: no sync is waited for any more.
pub(crate) fn finish(shared: &Shared) {
    let rest = std::mem::take(&mut shared.gone.lock().segments);
    for segment in rest {
        let path = path(shared, &segment);
        tell(&path, shared.fs.remove(&path));
    }
}

/// A file that can't be removed takes space until a start can remove it, and does no other harm.
fn tell(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove what is left of a segment; the next start will try again");
    }
}

/// Cuts the file down, with pauses, until the store is closed.
fn shrink(shared: &Shared, file: &dyn File) -> io::Result<()> {
    let mut left = file.size()?;
    while left > 0 {
        let waiting = {
            let gone = shared.gone.lock();
            if gone.closing {
                return Ok(());
            }
            gone.segments.len()
        };
        let begun = Instant::now();
        left = left.saturating_sub(step(shared.options.segment_bytes));
        file.set_len(left)?;
        let pauses = if waiting > BEHIND { 1 } else { PAUSE };
        std::thread::sleep(begun.elapsed() * pauses);
    }
    Ok(())
}
