//! The file system of the operating system.
//!
//! In: the calls of `Fs` and `File`. Out: what the system answers. New files are for this user alone. Does not know
//! what is in them.

use super::{File, Fs, Stranger};
use rustix::fs::{FlockOperation, OFlags};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// Modes of what is made here.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Bits of a mode: access of the group, of all others, and the set-group-id bit.
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const SET_GROUP: u32 = 0o2000;

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl File for std::fs::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self)?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        std::fs::File::set_len(self, len)
    }
}

impl Fs for RealFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(options().open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(options().create_new(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn strangers(&self, directory: &Path) -> io::Result<Vec<(String, Stranger)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let stranger = match () {
                () if kind.is_file() => continue,
                () if kind.is_dir() => Stranger::Directory,
                () if kind.is_symlink() => Stranger::Link,
                () => Stranger::Special,
            };
            if let Ok(name) = entry.file_name().into_string() {
                found.push((name, stranger));
            }
        }
        Ok(found)
    }

    fn close_to_others(&self, path: &Path) -> io::Result<()> {
        let found = std::fs::symlink_metadata(path)?;
        let directory = match found.is_dir() {
            true => found.mode(),
            false => std::fs::metadata(path.parent().unwrap_or(path))?.mode(),
        };
        let closed = if directory & SET_GROUP != 0 {
            OTHERS
        } else {
            GROUP | OTHERS
        };
        if found.mode() & closed == 0 {
            return Ok(());
        }
        std::fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o7777 & !closed))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        std::fs::File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        let file = options().create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Arc::new(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// For reading and writing, without following a link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW.bits();
    options
        .read(true)
        .write(true)
        .mode(FILE_MODE)
        .custom_flags(flags.cast_signed());
    options
}
