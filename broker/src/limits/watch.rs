//! The look at what only the kernel knows: free disk space, memory of the process.
//!
//! Comes in: time. Goes out: alarms, raised and ended. On a thread of its own: the answer of a disk in trouble may take long.

use super::available::memory_limit;
use super::disk::{Disk, Pace};
use super::memory::{self, Memory};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes per second that disk space may shrink by, or memory grow by, without anybody having seen it: faster than most machines.
pub const UNSEEN_RATE: f64 = (1u64 << 30) as f64;
/// Time between two looks.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);
/// Time between two calls to give memory back.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// Looks, the more often the sooner a limit could be reached, until the values are dropped.
///
/// # Errors
/// The thread can't be started.
pub fn start(memory: &Arc<Memory>, disk: &Arc<Disk>) -> io::Result<()> {
    let watched = (Arc::downgrade(memory), Arc::downgrade(disk));
    let limit = memory_limit();
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let mut pace = Pace::default();
        let mut given_back = Instant::now();
        while let (Some(memory), Some(disk)) = (watched.0.upgrade(), watched.1.upgrade()) {
            let pause = pace.next(&disk).min(look(&memory, limit));
            drop((memory, disk));
            if given_back.elapsed() >= GIVE_BACK {
                memory::give_back();
                given_back = Instant::now();
            }
            std::thread::sleep(pause);
        }
    })?;
    Ok(())
}

fn look(memory: &Memory, limit: u64) -> Duration {
    let Some(bytes) = memory::process_bytes() else {
        return SELDOM;
    };
    memory.process_takes(bytes, limit);
    pause(memory::high_mark(limit).saturating_sub(bytes), UNSEEN_RATE)
}

/// Half the time in which `room` bytes could be gone at `rate` bytes a second.
pub fn pause(room: u64, rate: f64) -> Duration {
    Duration::from_secs_f64((room as f64 / 2.0 / rate).min(SELDOM.as_secs_f64())).max(OFTEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_more_often_it_looks() {
        const GIB: u64 = 1 << 30;
        assert_eq!(pause(100 * GIB, UNSEEN_RATE), SELDOM);
        assert_eq!(pause(GIB, UNSEEN_RATE), Duration::from_millis(500));
        assert_eq!(pause(GIB, 4.0 * UNSEEN_RATE), Duration::from_millis(125));
        assert_eq!(pause(0, UNSEEN_RATE), OFTEN);
    }
}
