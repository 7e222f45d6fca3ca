//! The look at what only the kernel knows: free disk space, memory of the process.
//!
//! Comes in: time. Goes out: alarms, raised and ended. On a thread of its own: the answer of a disk in trouble may take long.

use super::available::memory_limit;
use super::disk::{Disk, Pace};
use super::memory::{self, Memory};
use super::pause::{SELDOM, UNSEEN_RATE, pause};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
