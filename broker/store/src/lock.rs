//! One process per data directory: an exclusive lock on the file `LOCK`, with the holder's process id written in.
//!
//! In: the directory. Out: a guard, or who is in the way. Does not know about the log.

use crate::error::Error;
use crate::fs::{self, File, Fs};
use std::path::Path;
use std::sync::Arc;

/// The file's name.
pub(crate) const FILE: &str = "LOCK";

/// Holds the directory until dropped. The system releases it too when the process dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: Arc<dyn File>,
}

impl DirectoryLock {
    /// Locks the directory.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process holds it, or what the system reports.
    pub(crate) fn acquire(fs: &dyn Fs, directory: &Path) -> Result<DirectoryLock, Error> {
        let path = directory.join(FILE);
        let Some(file) = fs.lock(&path).map_err(|source| Error::io("lock", &path, source))? else {
            return Err(Error::Locked {
                directory: directory.to_path_buf(),
                pid: holder(fs, &path),
            });
        };
        // The id is a courtesy to the operator; a directory without room for it is still locked.
        let pid = format!("{}\n", std::process::id());
        if file
            .set_len(0)
            .and_then(|()| fs::write_all_at(&*file, pid.as_bytes(), 0))
            .is_err()
        {
            tracing::warn!(path = %path.display(), "cannot write the process id into the lock file");
        }
        Ok(DirectoryLock { _file: file })
    }
}

fn holder(fs: &dyn Fs, path: &Path) -> Option<u32> {
    let file = fs.open(path).ok()?;
    let mut text = [0u8; 16];
    let read = fs::read_full_at(&*file, &mut text, 0).ok()?;
    std::str::from_utf8(text.get(..read)?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn the_second_one_learns_who_holds_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(&RealFs, directory.path()).unwrap();
        let error = DirectoryLock::acquire(&RealFs, directory.path()).unwrap_err();
        let expected = format!(
            "data directory {} is in use by process {}",
            directory.path().display(),
            std::process::id()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
        drop(first);
        DirectoryLock::acquire(&RealFs, directory.path()).unwrap();
    }
}
