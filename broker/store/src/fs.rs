//! The seam to the file system: the only file that touches `std::fs`.
//!
//! In: paths, offsets, bytes. Out: what the operating system answers. New files are for this user alone. Does not know
//! about segments or records.

use crate::error::Error;
use rustix::fs::{FlockOperation, OFlags};
use std::fmt;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// A file system in memory that fails and crashes on demand.
#[cfg(any(test, feature = "test-util"))]
pub mod faulty;

/// Modes of what is made here.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Bits of a mode: access of the group, of all others, and the set-group-id bit.
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const SET_GROUP: u32 = 0o2000;

/// An open file. Closing is dropping; the lock of [`Fs::lock`] ends with it.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads at `offset`; fewer bytes than asked for are allowed, 0 means end of file.
    ///
    /// # Errors
    /// The system's error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`; fewer bytes than given are allowed.
    ///
    /// # Errors
    /// The system's error.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Returns when all that was written, and the length needed to read it, is on the device (fdatasync).
    ///
    /// # Errors
    /// The system's error. The written bytes may be lost then although they can still be read.
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// The system's error.
    fn size(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// The system's error.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// A file system.
pub trait Fs: Send + Sync {
    /// Creates the directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// The system's error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Opens an existing file for reading and writing. A link is not followed.
    ///
    /// # Errors
    /// The system's error.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Creates a file that must not exist.
    ///
    /// # Errors
    /// The system's error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Renames; an existing target is replaced.
    ///
    /// # Errors
    /// The system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Names of the files (not directories) in a directory, in no order.
    ///
    /// # Errors
    /// The system's error.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Names in a directory that are no files, each with what it is.
    ///
    /// # Errors
    /// The system's error.
    fn strangers(&self, directory: &Path) -> io::Result<Vec<(String, Stranger)>>;

    /// Takes access to a file or directory from other users than its own, as far as that is possible: from the group,
    /// too, unless the directory was given to it (a mounted volume of Kubernetes is, by its set-group-id bit).
    ///
    /// # Errors
    /// The system's error: mostly that somebody else owns it.
    fn close_to_others(&self, path: &Path) -> io::Result<()>;

    /// Returns when created, renamed and removed names of this directory are on the device.
    ///
    /// # Errors
    /// The system's error.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Opens or creates a file and locks it exclusively; `None` when another process holds the lock. A link is not
    /// followed.
    ///
    /// # Errors
    /// The system's error.
    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>>;
}

/// The kind of a name in a directory that is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// A directory.
    Directory,
    /// A symbolic link, wherever it leads.
    Link,
    /// A pipe, a socket or a device.
    Special,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stranger::Directory => "a directory",
            Stranger::Link => "a symbolic link",
            Stranger::Special => "a pipe, socket or device",
        })
    }
}

/// Writes all bytes, going on after short writes.
pub(crate) fn write_all_at(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a file; one that is not there is fine. Tells whether it was.
///
/// # Errors
/// The system's error.
pub(crate) fn remove_if_there(fs: &dyn Fs, path: &Path) -> Result<bool, Error> {
    match fs.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::io("remove", path, source)),
    }
}

/// Writes a small file beside the one of that name and renames it into place, durably: the name means the whole new
/// file, or what it meant before.
///
/// # Errors
/// The system's error.
pub(crate) fn replace(fs: &dyn Fs, directory: &Path, names: (&str, &str), bytes: &[u8]) -> Result<(), Error> {
    replace_by(fs, directory, names, |file| write_all_at(file, bytes, 0))
}

/// The same with a file that `write` fills.
///
/// # Errors
/// The system's error.
pub(crate) fn replace_by<T>(
    fs: &dyn Fs,
    directory: &Path,
    (name, beside): (&str, &str),
    write: impl FnOnce(&dyn File) -> io::Result<T>,
) -> Result<T, Error> {
    let path = directory.join(beside);
    remove_if_there(fs, &path)?;
    let file = fs.create(&path).map_err(|source| Error::io("create", &path, source))?;
    let written = write(&*file).map_err(|source| Error::io("write", &path, source))?;
    file.sync_data().map_err(|source| Error::io("sync", &path, source))?;
    fs.rename(&path, &directory.join(name))
        .map_err(|source| Error::io("rename", &path, source))?;
    fs.sync_dir(directory)
        .map_err(|source| Error::io("sync directory", directory, source))?;
    Ok(written)
}

/// Reads until the buffer is full or the file ends; returns the number of bytes read.
pub(crate) fn read_full_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

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
