//! Checkpoints: what the log came to up to a position, so that a start need not read what lies before it.
//!
//! In: the ledger, and each queue's messages as their owner knows them. Out: the file `checkpoint`, and at the next start its contents.
//! All of it is an index over the log: when it is missing or damaged the whole log is read instead.
//! Does not know what a record means.

use crate::error::Error;
use crate::fs::{self, Fs};
use crate::ledger::Ledger;
use crate::location::Lsn;
use crate::page::Page;
use crate::pages::PageFile;
use crate::{Backlog, MessageId, QueueId};
use std::path::Path;
use std::sync::Arc;

pub(crate) mod take;

mod codec;
#[cfg(test)]
mod tests;

pub(crate) const FILE: &str = "checkpoint";
const NEW_FILE: &str = "checkpoint.new";

/// What a checkpoint says.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Everything before is in what follows; the log is read from here on.
    pub(crate) position: Lsn,
    /// The log was synced up to here.
    pub(crate) synced: Lsn,
    pub(crate) next_id: MessageId,
    pub(crate) ledger: Ledger,
    pub(crate) queues: Vec<(QueueId, Backlog)>,
    pub(crate) pages: Arc<PageFile>,
}

/// Reads the checkpoint of the directory with this id. `None` when there is none that can be used.
///
/// # Errors
/// What the system reports when it refuses the files; damage is no error.
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

/// Removes the checkpoint.
///
/// # Errors
/// What the system reports.
pub(crate) fn remove(fs: &dyn Fs, directory: &Path) -> Result<(), Error> {
    if fs::remove_if_there(fs, &directory.join(FILE))? {
        fs.sync_dir(directory)
            .map_err(|source| Error::io("sync directory", directory, source))?;
    }
    Ok(())
}

/// One queue in a checkpoint that is being written.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) queue: QueueId,
    /// Pages as the owner has them.
    pub(crate) pages: Vec<Page>,
    /// Single messages, packed in order to be written.
    pub(crate) loose: Vec<Page>,
}
