//! The look at figures of the kernel: free disk space, memory of the process.
//!
//! Comes in: time. Goes out: alarms, raised and ended. On a separate thread: the answer of a disk in trouble may take
//! long.

use super::available::memory_limit;
use super::disk::{Disk, Pace};
use super::memory::{self, Memory};
use super::pause::{SELDOM, UNSEEN_RATE, pause};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Looks, the more often the sooner a limit could be reached, until the values are dropped.
///
/// # Errors
/// The thread can't be started.
pub fn start(memory: &Arc<Memory>, disk: &Arc<Disk>) -> io::Result<()> {
    let watched = (Arc::downgrade(memory), Arc::downgrade(disk));
    let limit = memory_limit();
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let mut pace = Pace::default();
        while let (Some(memory), Some(disk)) = (watched.0.upgrade(), watched.1.upgrade()) {
            let pause = pace.next(&disk).min(look(&memory, limit));
            drop((memory, disk));
            // Memory that other threads have freed lies with the allocator for a while; this thread comes by in any
            // case.
            leveret_alloc::give_back();
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
