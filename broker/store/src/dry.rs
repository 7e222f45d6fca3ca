//! A file system of which nothing is changed: what a program does to it is only seen by that program's own later
//! look-ups.
//!
//! In: the calls of `Fs` and `File`. Out: reads and locks of the file system behind, and nothing else. Written bytes
//! are not kept, so it serves those that read what was there and write what they will not read. Does not know about the
//! log.

use crate::fs::{File, Fs, Stranger};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file system over another one.
pub(crate) struct DryFs {
    behind: Arc<dyn Fs>,
    removed: Mutex<BTreeSet<PathBuf>>,
}

impl DryFs {
    /// Reads from `behind`.
    pub(crate) fn new(behind: Arc<dyn Fs>) -> DryFs {
        DryFs {
            behind,
            removed: Mutex::default(),
        }
    }
}

impl Fs for DryFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.behind.list(path).map(|_| ())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if self.removed.lock().contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.behind.open(path)?;
        let len = AtomicU64::new(file.size()?);
        Ok(Arc::new(DryFile {
            behind: Some(file),
            len,
        }))
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DryFile {
            behind: None,
            len: AtomicU64::new(0),
        }))
    }

    fn rename(&self, from: &Path, _: &Path) -> io::Result<()> {
        self.remove(from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.removed.lock().insert(path.to_path_buf());
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let removed = self.removed.lock();
        let names = self.behind.list(directory)?;
        Ok(names
            .into_iter()
            .filter(|name| !removed.contains(&directory.join(name)))
            .collect())
    }

    fn strangers(&self, directory: &Path) -> io::Result<Vec<(String, Stranger)>> {
        self.behind.strangers(directory)
    }

    fn close_to_others(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        self.behind.lock(path)
    }
}

#[derive(Debug)]
struct DryFile {
    /// `None` for a file that was made here.
    behind: Option<Arc<dyn File>>,
    len: AtomicU64,
}

impl File for DryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.len.load(Ordering::Relaxed).saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match (&self.behind, buffer.get_mut(..len)) {
            (Some(file), Some(buffer)) => file.read_at(buffer, offset),
            _ => Ok(0),
        }
    }

    fn write_at(&self, bytes: &[u8], _: u64) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Relaxed))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.len.fetch_min(len, Ordering::Relaxed);
        Ok(())
    }
}
