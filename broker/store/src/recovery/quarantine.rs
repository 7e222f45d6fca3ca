//! Damaged bytes are put aside, so that they can still be looked at when the segment is gone.
//!
//! In: a segment and a stretch. Out: a file in `quarantine/`. A failure here never keeps the store from starting.
//! Does not know about records.

use crate::fs::{self, File, Fs};
use crate::segment::{self, Segment};
use std::path::{Path, PathBuf};

/// The folder's name.
pub(crate) const FOLDER: &str = "quarantine";

/// The folder `quarantine` of a data directory.
pub(crate) struct Quarantine<'a> {
    fs: &'a dyn Fs,
    directory: PathBuf,
    used: bool,
}

impl<'a> Quarantine<'a> {
    pub(crate) fn new(fs: &'a dyn Fs, directory: &Path) -> Quarantine<'a> {
        Quarantine {
            fs,
            directory: directory.join(FOLDER),
            used: false,
        }
    }

    /// The folder, if anything was put there.
    pub(crate) fn used(&self) -> Option<PathBuf> {
        self.used.then(|| self.directory.clone())
    }

    /// Copies a stretch of the segment.
    pub(crate) fn copy(&mut self, segment: &Segment, file: &dyn File, offset: u64, len: u64) {
        let path = self
            .directory
            .join(format!("segment-{:010}-{offset:010}.bin", segment.number));
        match self.try_copy(file, &path, offset, len) {
            Ok(()) => self.used = true,
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot put damaged bytes aside"),
        }
    }

    fn try_copy(&self, file: &dyn File, path: &Path, offset: u64, len: u64) -> std::io::Result<()> {
        self.fs.create_dir_all(&self.directory)?;
        let copy = match self.fs.create(path) {
            Ok(copy) => copy,
            // Put aside at an earlier start: the damage stays in the segment until that is reclaimed.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut buffer = vec![0; len.min(1 << 20) as usize];
        let mut done = 0;
        while done < len {
            let want = (len - done).min(buffer.len() as u64) as usize;
            let read = fs::read_full_at(file, buffer.get_mut(..want).unwrap_or_default(), offset + done)?;
            if read == 0 {
                break;
            }
            fs::write_all_at(&*copy, buffer.get(..read).unwrap_or_default(), done)?;
            done += read as u64;
        }
        copy.sync_data()?;
        self.fs.sync_dir(&self.directory)
    }

    /// Moves a whole file there; false when that failed.
    pub(crate) fn move_file(&mut self, segment: &Segment) -> bool {
        let path = self.directory.join(segment::file_name(segment.number));
        let moved = self
            .fs
            .create_dir_all(&self.directory)
            .and_then(|()| self.fs.rename(&segment.path, &path));
        match moved {
            Ok(()) => self.used = true,
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot put a damaged file aside"),
        }
        self.used
    }
}
