//! The clock: calls back at a time, to the millisecond, however many wait for one.
//!
//! Comes in: times with what is due then. Goes out: a call for each, on one thread, in the order of the times. Nothing
//! that waits costs a task or a timer of the runtime.
//! Does not know what is due.

use parking_lot::{Condvar, Mutex};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970 in milliseconds.
pub type Millis = u64;

/// The time now.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// Something that has its time.
pub trait Timed: Send + Sync {
    /// The time `at` has come, for which a call was asked. May be called although it had been asked for twice, or is
    /// not needed any more; and the wall clock may have been set back since.
    fn due(self: Arc<Self>, at: Millis);
}

/// The clock. Its thread ends with it.
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BinaryHeap<Appointment>,
    closed: bool,
}

struct Appointment {
    at: Millis,
    with: Weak<dyn Timed>,
}

/// Longest sleep: a wall clock that is set forward is noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Clock {
    /// A clock with its thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        std::thread::Builder::new()
            .name("clock".into())
            .spawn(move || of_thread.run())?;
        Ok(Self { shared })
    }

    /// Has `with` called at this time, or at once if it is over. Forgotten if `with` is gone by then.
    pub fn call(&self, at: Millis, with: Weak<dyn Timed>) {
        let mut state = self.shared.state.lock();
        let first = state.waiting.peek().is_none_or(|first| at < first.at);
        state.waiting.push(Appointment { at, with });
        drop(state);
        if first {
            self.shared.changed.notify_one();
        }
    }
}

#[cfg(test)]
impl Clock {
    /// Calls that are to come.
    pub fn ahead(&self) -> usize {
        self.shared.state.lock().waiting.len()
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let sleep = match state.waiting.peek() {
                None => None,
                Some(next) => match next.at.checked_sub(now()).filter(|left| *left > 0) {
                    Some(left) => Some(Duration::from_millis(left).min(LONGEST_SLEEP)),
                    None => {
                        let due = state.waiting.pop();
                        let due = due.and_then(|next| Some((next.with.upgrade()?, next.at)));
                        parking_lot::MutexGuard::unlocked(&mut state, || due.map(|(with, at)| with.due(at)));
                        continue;
                    }
                },
            };
            match sleep {
                Some(sleep) => _ = self.changed.wait_for(&mut state, sleep),
                None => self.changed.wait(&mut state),
            }
        }
    }
}

impl Ord for Appointment {
    /// The earliest is the greatest: the heap gives that one first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Appointment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Appointment {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Appointment {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Bell(u32, Mutex<Sender<(u32, Millis)>>);

    impl Timed for Bell {
        fn due(self: Arc<Self>, _: Millis) {
            let _ = self.1.lock().send((self.0, now()));
        }
    }

    #[test]
    fn calls_come_in_their_order_and_not_early() {
        let clock = Clock::start().expect("a thread");
        let (sender, calls) = channel();
        let start = now();
        let bells: Vec<Arc<Bell>> = (0..4).map(|n| Arc::new(Bell(n, Mutex::new(sender.clone())))).collect();
        for (bell, after) in bells.iter().zip([60, 20, 40, 0]) {
            let bell: Arc<dyn Timed> = bell.clone();
            clock.call(start + after, Arc::downgrade(&bell));
        }
        let gone: Arc<dyn Timed> = Arc::new(Bell(9, Mutex::new(sender.clone())));
        clock.call(start + 30, Arc::downgrade(&gone));
        drop(gone);
        for (expected, after) in [(3, 0), (1, 20), (2, 40), (0, 60)] {
            let (bell, at) = calls.recv_timeout(Duration::from_secs(10)).expect("a call");
            assert_eq!(bell, expected);
            assert!(at >= start + after, "called {} ms early", start + after - at);
        }
        assert!(calls.try_recv().is_err());
    }
}
