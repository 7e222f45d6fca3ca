//! File descriptors: some are for connections, whoever they are from, and the rest is for the log and the broker's own
//! files.
//!
//! Comes in: connections, as they come and go. Goes out: a seat for each, or none: a connection without one is closed
//! at once. Does not know about sockets or protocols.

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Descriptors that connections of clients never take: files of the log, listening sockets, the runtime's, small files
/// that are read for a moment, probes and metrics.
const RESERVE: u64 = 128;
/// Files of the log that are open to read from, at least: the reserve has room for them. One more for each so many
/// descriptors, up to a number that is the same for a backlog of any length.
const SEGMENTS: u64 = 16;
const PER_SEGMENT: u64 = 128;
const MOST_SEGMENTS: u64 = 256;
/// The time between two log lines about connections that were refused.
const TOLD: Duration = Duration::from_secs(10);
/// More are never asked for: the most that Linux allows a process unless it is told otherwise.
const MOST: u64 = 1 << 20;

/// Allows this process as many files as the system lets it have. Gives the limit from now on.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let before = current.unwrap_or(MOST);
    let wanted = maximum.unwrap_or(MOST);
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    if wanted > before && setrlimit(Resource::Nofile, raised).is_ok() {
        wanted
    } else {
        before
    }
}

/// Segments of the log whose files are kept open to read from, in a process that may have `limit` of them.
fn segments(limit: u64) -> u64 {
    (limit / PER_SEGMENT).clamp(SEGMENTS, MOST_SEGMENTS)
}

/// Descriptors of this process.
#[derive(Debug)]
pub struct Descriptors {
    limit: u64,
    /// The part of them that connections may take.
    seats: u64,
    taken: AtomicU64,
    refused: AtomicU64,
    /// Raised by a connection that found none.
    alarm: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    refused: u64,
}

impl Descriptors {
    /// For a process that may have `limit` of them.
    pub fn new(limit: u64) -> Arc<Self> {
        // Where there are next to none, most of them are needed to run at all.
        let reserve = (RESERVE + segments(limit) - SEGMENTS).min(limit / 4 * 3);
        Arc::new(Self {
            limit,
            seats: limit - reserve,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            alarm: AtomicBool::new(false),
            told: Mutex::default(),
        })
    }

    /// A descriptor for a connection that has just been accepted, until the seat is dropped. `None`, and a log line now
    /// and then, if connections have all that are for them: it is to be closed at once.
    pub fn seat(self: &Arc<Self>) -> Option<Seat> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        // Counted already: dropped where it is refused.
        let seat = Seat(self.clone());
        if taken < self.seats {
            return Some(seat);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.alarm.store(true, Ordering::Relaxed);
        self.tell();
        None
    }

    fn tell(&self) {
        let mut told = self.told.lock();
        if told.at.is_none_or(|at| at.elapsed() >= TOLD) {
            let refused = self.refused();
            tracing::warn!(
                refused = refused - told.refused,
                connections = self.seats,
                limit = self.limit,
                "connections refused: all file descriptors that are for connections are taken; raise the limit of open files"
            );
            *told = Told {
                at: Some(Instant::now()),
                refused,
            };
        }
    }

    fn stand_up(&self) {
        let left = self.taken.fetch_sub(1, Ordering::Relaxed) - 1;
        // An eighth below, so that it doesn't flutter.
        if left < self.seats - self.seats / 8 && self.alarm.load(Ordering::Relaxed) {
            self.alarm.store(false, Ordering::Relaxed);
        }
    }

    /// Segments of the log whose files are kept open to read from.
    pub fn segments(&self) -> usize {
        segments(self.limit) as usize
    }

    /// Most that the process may have open.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Most connections.
    pub fn seats(&self) -> u64 {
        self.seats
    }

    /// Connections at present, of all protocols.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed).min(self.seats)
    }

    /// Connections that were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// True from the first connection that was refused until there is room again.
    pub fn alarm(&self) -> bool {
        self.alarm.load(Ordering::Relaxed)
    }
}

/// The descriptor of one connection.
#[derive(Debug)]
pub struct Seat(Arc<Descriptors>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.stand_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_reserve_alone() {
        let descriptors = Descriptors::new(RESERVE + 1024);
        let mut seats: Vec<Seat> = (0..1024).filter_map(|_| descriptors.seat()).collect();
        assert_eq!((seats.len() as u64, descriptors.seats()), (1024, 1024));
        assert!(!descriptors.alarm());
        assert!(descriptors.seat().is_none() && descriptors.seat().is_none());
        assert_eq!((descriptors.taken(), descriptors.refused()), (1024, 2));
        assert!(descriptors.alarm());
        seats.pop();
        assert!(descriptors.alarm(), "another one may come any time");
        assert!(descriptors.seat().is_some());
        seats.truncate(1024 / 8 * 7);
        assert!(descriptors.alarm());
        seats.pop();
        assert!(!descriptors.alarm());
        drop(seats);
        assert_eq!(descriptors.taken(), 0);
    }

    #[test]
    fn the_log_has_a_share_of_many_and_never_more_than_so_many() {
        let segments = [0, 1024, 4096, 1 << 16, 1 << 20].map(|limit| Descriptors::new(limit).segments());
        assert_eq!(segments, [16, 16, 32, 256, 256]);
        assert_eq!(Descriptors::new(1 << 16).seats(), (1 << 16) - RESERVE - 240);
    }

    #[test]
    fn a_quarter_of_few_is_for_connections() {
        assert_eq!(Descriptors::new(64).seats(), 16);
        assert_eq!(Descriptors::new(0).seats(), 0);
    }

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        let limit = raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!((Some(limit), now.current), (now.current, now.maximum.or(now.current)));
    }
}
