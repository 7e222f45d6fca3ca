//! Growth: the time that n and 2n of something take.
//!
//! Comes in: work on so many. Goes out: nothing, or the end of a test whose work grows faster than what it is on.
//! Time is the thread's own, so that it counts no other work of a busy machine.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Twice as many may take three times as long, for caches and pages. What scans takes four times as long.
const MOST: i64 = 3;
/// Attempts, of which the best counts.
const ATTEMPTS: usize = 8;

/// Fails if `work` on `2 * n` takes much more than twice the time of `n`. `make` prepares so many of something, and is
/// not counted.
pub(crate) fn is_linear<T>(what: &str, n: usize, make: impl Fn(usize) -> T, work: impl Fn(&mut T, usize)) {
    let time = |n: usize| {
        let mut made = make(n);
        let begin = nanos();
        work(&mut made, n);
        nanos() - begin
    };
    let (mut one, mut two) = (i64::MAX, i64::MAX);
    for _ in 0..ATTEMPTS {
        one = one.min(time(n));
        two = two.min(time(2 * n));
        if two <= MOST * one {
            return;
        }
    }
    panic!(
        "{what}: {n} take {} µs, twice as many take {} µs",
        one / 1000,
        two / 1000
    );
}

/// Time that this thread has had.
fn nanos() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec * 1_000_000_000 + tv_nsec
}
