//! Settings of a store.
//!
//! In: what the owner wants. Out: checked settings. Does not know about files.

use crate::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a store. `Options { directory, ..Options::default() }`, or [`Options::new`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; created when absent.
    pub directory: PathBuf,
    /// Size of a segment file in bytes: 64 MiB unless changed; 4 KiB to 2 GiB.
    pub segment_bytes: u64,
    /// Longest time until something is synced for which no caller waits: 50 ms unless changed; at most a minute.
    pub flush_interval: Duration,
    /// Bytes of log after which a checkpoint is taken, so that a start reads at most about as much: 64 MiB unless
    /// changed; at least 1 KiB. 0 takes none.
    pub checkpoint_bytes: u64,
    /// Time for which nothing must have been appended before the segment being written may be given up as mostly dead:
    /// 1 s.
    pub idle: Duration,
    /// Segments whose files are kept open to read from, however many there are: 16 unless changed. Messages of more
    /// that are read in no order cost the opening of a file each.
    pub open_segments: usize,
}

impl Options {
    /// The defaults for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Options {
        Options {
            directory: directory.into(),
            ..Options::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |name, value, allowed| Err(Error::InvalidOption { name, value, allowed });
        if self.directory.as_os_str().is_empty() {
            return invalid("directory", "empty".to_owned(), "a path");
        }
        if !(4 << 10..=2 << 30).contains(&self.segment_bytes) {
            return invalid("segment_bytes", self.segment_bytes.to_string(), "4096 to 2147483648");
        }
        if (1..1 << 10).contains(&self.checkpoint_bytes) {
            return invalid(
                "checkpoint_bytes",
                self.checkpoint_bytes.to_string(),
                "0, or at least 1024",
            );
        }
        if self.flush_interval > Duration::from_secs(60) {
            return invalid("flush_interval", format!("{:?}", self.flush_interval), "0 s to 60 s");
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            directory: PathBuf::new(),
            segment_bytes: 64 << 20,
            flush_interval: Duration::from_millis(50),
            checkpoint_bytes: 64 << 20,
            idle: Duration::from_secs(1),
            open_segments: 16,
        }
    }
}
