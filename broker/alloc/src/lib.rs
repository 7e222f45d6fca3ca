//! The allocator, and how its memory goes back to the system.
//!
//! mimalloc keeps pages that a thread has emptied for the same thread's next allocations, and looks after them only
//! when that thread allocates: one that has become idle keeps them for good. After a flood of small messages that was
//! 16 MiB, where an idle broker takes 2. The call that gives them back has no safe wrapper; it is the only unsafe code
//! of the project.
#![warn(missing_docs)]

use std::cell::Cell;
use std::time::{Duration, Instant};

pub use mimalloc::MiMalloc;

/// Time that a thread keeps what it has emptied: looking through its pages costs some ten microseconds.
const PAUSE: Duration = Duration::from_millis(200);

/// Gives the system what the calling thread has emptied. To be called when the thread is about to wait; soon after a
/// call another one does nothing.
pub fn give_back() {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    if LAST.get().is_none_or(|last| last.elapsed() >= PAUSE) {
        collect();
        LAST.set(Some(Instant::now()));
    }
}

#[allow(unsafe_code)]
fn collect() {
    // SAFETY: `mi_collect` takes a flag by value and has no preconditions. It touches blocks that have been freed, and
    // of the calling thread's heap alone; live blocks stay where they are. In a program with another global allocator
    // that heap is empty.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: MiMalloc = MiMalloc;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Blocks of a message's size.
    fn blocks(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|number| vec![number as u8; 1000]).collect()
    }

    #[test]
    fn what_a_thread_has_emptied_goes_back_and_what_lives_stays() {
        let kept = blocks(10);
        let before = resident_kib();
        let emptied = blocks(65_536);
        let full = resident_kib();
        assert!(
            full > before + 40 * 1024,
            "{before} KiB, {full} KiB with 64 MiB of blocks"
        );
        drop(emptied);
        std::thread::sleep(PAUSE);
        give_back();
        let after = resident_kib();
        assert!(after < before + 4 * 1024, "{before} KiB before, {after} KiB after");
        for (number, block) in kept.iter().enumerate() {
            assert_eq!(*block, vec![number as u8; 1000]);
        }
    }
}
