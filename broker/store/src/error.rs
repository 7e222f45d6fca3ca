//! Errors of the store, each with the place and what to do about it.
//!
//! In: failures met by the other modules. Out: one `Error`. Does not know about reply codes or exit codes.

use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reason why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process (or another store in this one) has the directory open.
    #[error("data directory {} is in use by process {}; stop that process or choose another directory",
        directory.display(), pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// The directory that was to be opened.
        directory: PathBuf,
        /// The process that holds it, as far as the lock file tells.
        pid: Option<u32>,
    },

    /// The files were written by a later release. Nothing has been changed.
    #[error("{} has store format {found}, this program reads formats up to {supported}; start the newer release that wrote it",
        path.display())]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest format version that can be read here.
        supported: u32,
    },

    /// The operating system refuses access.
    #[error("no permission to {action} {}: {source}; give the user that runs the broker read and write access", path.display())]
    Denied {
        /// The call that failed.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// The operating system reports an error.
    #[error("cannot {action} {}: {source}; check the disk and the free space", path.display())]
    Io {
        /// The call that failed.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// There are no file descriptors left, and there were none for as long as could be waited.
    #[error("cannot {action} {}: {source}; raise the limit of open files (ulimit -n), or close what takes them", path.display())]
    NoDescriptors {
        /// The call that failed.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A name in the directory that is to be a file of the store's is something else. Nothing has been changed.
    #[error("{} is {what}, not a file of the log; take it away, or choose another data directory", path.display())]
    Stranger {
        /// The name.
        path: PathBuf,
        /// The kind of thing that it is.
        what: String,
    },

    /// A write or sync failed earlier: what the page cache holds can no longer be trusted, so nothing more is accepted.
    #[error("the store has stopped after a failure: {0}")]
    Failed(Arc<str>),

    /// The store has been closed.
    #[error("the store is closed")]
    Closed,

    /// A record is larger than 1 GiB or a batch larger than 2 GiB.
    #[error("a batch of {0} bytes or one of its records is too large for the log")]
    TooLarge(u64),

    /// The record at this place fails its checksum.
    #[error("the record at offset {offset} of segment {segment} is damaged")]
    Corrupt {
        /// Number of the segment file.
        segment: u32,
        /// Offset of the record in bytes.
        offset: u32,
    },

    /// A part of a queue's index fails its checksum. The messages themselves are in the log.
    #[error("the index of messages {first} to {last} is damaged")]
    DamagedPage {
        /// Lowest id of its messages.
        first: u64,
        /// Highest id.
        last: u64,
    },

    /// A copy would mix with what is there.
    #[error("directory {} is not empty; name one that is, or that does not exist", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },

    /// The segment has been reclaimed. A message that is still alive has been relocated: ask its owner for the new
    /// place.
    #[error("segment {segment} has been reclaimed")]
    Gone {
        /// Number of the segment file.
        segment: u32,
    },

    /// A setting is out of its range.
    #[error("{name} is {value}, allowed is {allowed}")]
    InvalidOption {
        /// Name of the setting.
        name: &'static str,
        /// The value found.
        value: String,
        /// The range.
        allowed: &'static str,
    },
}

impl Error {
    /// Wraps an error of the operating system.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::Denied { action, path, source }
            }
            _ if is_out_of_descriptors(&source) => Error::NoDescriptors { action, path, source },
            _ => Error::Io { action, path, source },
        }
    }
}

/// True if the process, or the whole system, has as many files open as it may: another try can succeed.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}
