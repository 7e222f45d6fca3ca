//! Settings and figures of a store.
//!
//! In: what the owner wants. Out: checked settings; counters for metrics. Does not know about files' contents.

use crate::error::Error;
use crate::shared::Shared;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Settings of a store. `Options { directory, ..Options::default() }`, or [`Options::new`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; created when absent.
    pub directory: PathBuf,
    /// Size of a segment file in bytes: 64 MiB unless changed; 4 KiB to 2 GiB.
    pub segment_bytes: u64,
    /// Longest time until something is synced for which nobody waits: 50 ms unless changed; at most a minute.
    pub flush_interval: Duration,
    /// After so many bytes of log a checkpoint is taken, so that a start reads at most about as much: 64 MiB unless changed; at
    /// least 1 KiB. 0 takes none.
    pub checkpoint_bytes: u64,
    /// How long nothing must have been appended before the segment being written may be given up as mostly dead: 1 s.
    pub idle: Duration,
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
        }
    }
}

/// Figures of a running store. Counters count from the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segment files.
    pub segments: u64,
    /// Size of the segment files, of the spare one, and of those that are being written beside the log or removed, in bytes.
    pub disk_bytes: u64,
    /// Of it in use for live messages, table and other things that must stay; estimated.
    pub live_bytes: u64,
    /// Batches appended.
    pub appends: u64,
    /// Their size in bytes.
    pub appended_bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Damaged records seen, at recovery and since.
    pub corrupt: u64,
    /// Segments that were dropped or recycled.
    pub reclaimed_segments: u64,
    /// Their size in bytes.
    pub reclaimed_bytes: u64,
    /// Bytes appended in order to reclaim.
    pub copied_bytes: u64,
    /// Zeros written ahead for segments to come, in bytes.
    pub prepared_bytes: u64,
    /// Times that appending had to wait for reclaim.
    pub crowded: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Bytes written for them: the checkpoints themselves and packed pages.
    pub checkpoint_bytes: u64,
}

impl Stats {
    pub(crate) fn collect(shared: &Shared) -> Stats {
        let mut files: Vec<_> = shared
            .segments
            .read()
            .values()
            .map(|segment| segment.file.clone())
            .collect();
        let segments = files.len() as u64;
        files.extend(shared.spare.lock().ready.clone());
        let gone = shared.gone.lock().bytes();
        let counters = &shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            segments,
            disk_bytes: files.iter().map(|file| file.size().unwrap_or(0)).sum::<u64>() + gone + load(&shared.beside),
            live_bytes: shared.log.lock().ledger.live(),
            appends: load(&counters.appends),
            appended_bytes: load(&counters.appended_bytes),
            syncs: load(&counters.syncs),
            sync_time: Duration::from_nanos(load(&counters.sync_nanos)),
            corrupt: load(&counters.corrupt),
            reclaimed_segments: load(&counters.reclaimed_segments),
            reclaimed_bytes: load(&counters.reclaimed_bytes),
            copied_bytes: load(&counters.copied_bytes),
            prepared_bytes: load(&counters.prepared_bytes),
            crowded: load(&counters.crowded),
            checkpoints: load(&counters.checkpoints),
            checkpoint_bytes: load(&counters.checkpoint_bytes),
        }
    }
}
