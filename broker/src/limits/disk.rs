//! Free space of the data directory's file system against its limit.
//!
//! Comes in: figures of the kernel. Goes out: the disk alarm, and the time of the next look.
//! Does not know what is on the disk: others may fill it, too.

use super::alarms::{Alarms, Resource};
use super::pause::{UNSEEN_RATE, pause};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time between two looks while publishers are stopped: they should not wait for long when there is room again.
const STOPPED: Duration = Duration::from_millis(200);

/// The limit unless a setting says otherwise, bytes: what is still written after the alarm (a prepared segment, one
/// being written, one that is emptied into, acknowledgements) fits in it.
pub fn default_limit(segment_bytes: u64) -> u64 {
    (256 << 20).max(4 * segment_bytes)
}

/// The lowest limit that keeps the log from filling the disk by itself, bytes.
pub fn least_limit(segment_bytes: u64) -> u64 {
    3 * segment_bytes
}

/// The limit that is in effect for segments of this size, bytes: the wanted one, or the default, but never one that the
/// log could exceed by itself.
pub fn effective_limit(wanted: Option<u64>, segment_bytes: u64) -> u64 {
    wanted.map_or_else(
        || default_limit(segment_bytes),
        |wanted| wanted.max(least_limit(segment_bytes)),
    )
}

/// The space that is left, and the mark below which publishers are stopped.
pub struct Disk {
    directory: PathBuf,
    limit: AtomicU64,
    free: AtomicU64,
    alarms: Arc<Alarms>,
}

impl Disk {
    /// The file system of `directory`, which must exist, as it is now.
    pub fn new(directory: &Path, limit: u64, alarms: Arc<Alarms>) -> Self {
        let disk = Self {
            directory: directory.to_owned(),
            limit: AtomicU64::new(limit),
            free: AtomicU64::new(u64::MAX),
            alarms,
        };
        disk.look();
        disk
    }

    /// Free space at the last look, bytes.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Free space below which publishers are stopped, bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Another limit from now on, bytes. The space is compared with it within a second, as always.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// True if space is short.
    pub fn alarm(&self) -> bool {
        self.alarms.is_raised(Resource::Disk)
    }

    /// The alarm ends an eighth above the limit, so that it doesn't flutter.
    fn look(&self) {
        let free = match rustix::fs::statvfs(&self.directory) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(error) => {
                tracing::warn!(path = %self.directory.display(), %error, "cannot tell how much disk space is free");
                return;
            }
        };
        self.free.store(free, Ordering::Relaxed);
        let limit = self.limit();
        if free < limit && !self.alarm() {
            self.alarms.set(Resource::Disk, true);
            let path = self.directory.display();
            tracing::warn!(%path, free, limit, "low on disk: publishers are stopped; free space or enlarge the volume");
        } else if self.alarm() && free >= limit + limit / 8 {
            self.alarms.set(Resource::Disk, false);
            tracing::info!(free, limit, "enough disk space again");
        }
    }
}

/// When to look again.
#[derive(Default)]
pub struct Pace {
    before: Option<(Instant, u64)>,
}

impl Pace {
    /// Looks; gives the time until the next look: half of that in which the limit could be reached, if the space
    /// shrinks twice as fast as it was seen to.
    pub fn next(&mut self, disk: &Disk) -> Duration {
        disk.look();
        if disk.alarm() {
            self.before = None;
            return STOPPED;
        }
        let (now, free) = (Instant::now(), disk.free());
        let seen = self.before.replace((now, free)).map_or(0.0, |(then, before)| {
            before.saturating_sub(free) as f64 / (now - then).as_secs_f64().max(0.001)
        });
        pause(free.saturating_sub(disk.limit()), UNSEEN_RATE.max(2.0 * seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_stopped_below_the_limit_only() {
        let alarms = Arc::new(Alarms::default());
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::new(folder.path(), 0, alarms.clone());
        assert!(disk.free() < u64::MAX && !disk.alarm());
        let disk = Disk::new(folder.path(), disk.free() * 2, alarms.clone());
        assert!(disk.alarm() && alarms.reason() == Some("low on disk"));
        assert_eq!(Pace::default().next(&disk), STOPPED);
        disk.set_limit(0);
        assert!(Pace::default().next(&disk) > STOPPED && !disk.alarm());
    }

    #[test]
    fn no_limit_is_lower_than_what_the_log_needs() {
        const MIB: u64 = 1 << 20;
        assert_eq!(effective_limit(None, MIB), 256 * MIB);
        assert_eq!(effective_limit(None, 128 * MIB), 512 * MIB);
        assert_eq!(effective_limit(Some(10 * MIB), MIB), 10 * MIB);
        assert_eq!(effective_limit(Some(10 * MIB), 64 * MIB), 192 * MIB);
    }
}
