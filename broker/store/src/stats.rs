//! Figures of a running store.
//!
//! In: the counters that the threads share, the sizes of the files. Out: plain numbers for metrics. Does not know who
//! looks at them.

use crate::shared::Shared;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Figures of a running store. Counters count from the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segment files.
    pub segments: u64,
    /// Size of the segment files, of the spare one, and of those that are being written beside the log or removed, in
    /// bytes.
    pub disk_bytes: u64,
    /// Of it in use for live messages, table and other things that must stay; estimated.
    pub live_bytes: u64,
    /// Files of segments that are open to be read.
    pub open_segments: u64,
    /// Times that a call had to wait for a file descriptor.
    pub descriptor_waits: u64,
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
        let (segments, bytes) = {
            let segments = shared.segments.read();
            let bytes: u64 = segments.values().map(|segment| segment.len()).sum();
            (segments.len() as u64, bytes)
        };
        let spare = shared.spare.lock().ready.clone();
        let spare = spare.and_then(|file| file.size().ok()).unwrap_or(0);
        let gone = shared.gone.lock().bytes();
        let counters = &shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            segments,
            disk_bytes: bytes + spare + gone + load(&shared.beside),
            live_bytes: shared.log.lock().ledger.live(),
            open_segments: shared.handles.len() as u64,
            descriptor_waits: shared.fs.waits(),
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
