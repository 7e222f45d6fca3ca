//! Checkpoints: what the log came to up to a position, so that a start need not read what lies before it.
//!
//! In: the ledger, and each queue's messages as their owner knows them. Out: the file `checkpoint`, and at the next
//! start its contents. All of it is an index over the log: when it is missing or damaged the whole log is read instead.
//! Does not know what a record means.

use crate::error::Error;
use crate::fs::{self, Fs};
use crate::pages::PageFile;
use std::path::Path;

/// The file's bytes.
mod codec;

/// Bytes that are written piece by piece.
mod stream;

#[cfg(test)]
mod tests;

pub(crate) use codec::{Captured, Loaded, Parts};

pub(crate) const FILE: &str = "checkpoint";
const NEW_FILE: &str = "checkpoint.new";
/// The file, and the next one while it is written.
pub(crate) const FILES: [&str; 2] = [FILE, NEW_FILE];

/// Reads the checkpoint of the directory with this id. `None` when there is none that can be used.
///
/// # Errors
/// The system's error when it refuses the files; damage is no error.
pub(crate) fn load(fs: &dyn Fs, directory: &Path, directory_id: u64) -> Result<Option<Loaded>, Error> {
    let path = directory.join(FILE);
    let file = match fs.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("open", &path, source)),
    };
    let Some(pages) = PageFile::open(fs, directory)? else {
        return Ok(None);
    };
    let read = file.size().and_then(|size| {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let read = fs::read_full_at(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    });
    let loaded = match read {
        Ok(bytes) => codec::decode(&bytes, directory_id, &pages),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "cannot read the checkpoint");
            None
        }
    };
    if loaded.is_none() {
        tracing::warn!(file = %path.display(), "the checkpoint cannot be used; reading the whole log instead");
    }
    Ok(loaded)
}

/// Writes a checkpoint in place of the one before, durably. Returns its size in bytes.
///
/// # Errors
/// The system's error. The file may have got its name all the same.
pub(crate) fn replace(fs: &dyn Fs, directory: &Path, parts: &Parts<'_>) -> Result<u64, Error> {
    fs::replace_by(fs, directory, (FILE, NEW_FILE), |file| {
        codec::encode(parts, &mut |bytes, offset| fs::write_all_at(file, bytes, offset))
    })
}

/// Removes the checkpoint.
///
/// # Errors
/// The system's error.
pub(crate) fn remove(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
    if fs::remove_if_there(fs, &directory.join(FILE))? {
        fs.sync_dir(directory)
            .map_err(|source| Error::io("sync directory", directory, source))?;
    }
    Ok(())
}
