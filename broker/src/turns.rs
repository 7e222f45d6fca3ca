//! Turns of tasks on the runtime's threads, and a watch over them: which thread has been held for how long, by what.
//!
//! Comes in: tasks with their names, as they take their turns; threads that go to sleep and wake. Goes out: a line in
//! the log and a count for a thread that was held for a second; whether the threads still take work at all. Does not
//! know what the tasks do. A turn costs two stores.

use parking_lot::Mutex;
use std::cell::OnceCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Time between two looks at the threads.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A turn that takes longer is told of.
const LONG: Duration = Duration::from_secs(1);
/// Threads that have taken no work for so long won't do so again: the broker counts as dead. Far beyond any work that
/// is only long, since a restart loses it and the client sends it again.
pub const DEAD: Duration = Duration::from_secs(300);

/// The kind of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client of AMQP.
    Amqp = 1,
    /// A request of the HTTP API.
    Http = 2,
    /// A ZeroMQ socket.
    Zmtp = 3,
}

impl Kind {
    fn name(number: u64) -> &'static str {
        match number {
            1 => "an AMQP client",
            2 => "a request of the HTTP API",
            3 => "a ZeroMQ socket",
            _ => "unknown",
        }
    }
}

/// The present turn of a thread: a number that grows with each turn, and the task.
#[derive(Default)]
struct Slot {
    /// Even while the thread sleeps or waits for work, odd during a turn.
    turn: AtomicU64,
    /// Kind of the task, and the port of its client.
    task: AtomicU64,
}

static SLOTS: Mutex<Vec<Arc<Slot>>> = Mutex::new(Vec::new());

thread_local! {
    static SLOT: OnceCell<Arc<Slot>> = const { OnceCell::new() };
}

fn with_slot(act: impl FnOnce(&Slot)) {
    // While a thread ends, its slot has gone.
    let _ = SLOT.try_with(|slot| {
        act(slot.get_or_init(|| {
            let slot = Arc::new(Slot::default());
            SLOTS.lock().push(slot.clone());
            slot
        }));
    });
}

/// A task whose turns are seen by the watch.
pub struct Named<F, H> {
    task: u64,
    inner: F,
    _holds: H,
}

/// Names a task by its kind and the port of the client that it works for. `holds` is dropped when the task has ended.
pub fn named<F: Future + Unpin, H: Unpin>(kind: Kind, port: u16, inner: F, holds: H) -> Named<F, H> {
    Named {
        task: (kind as u64) << 16 | u64::from(port),
        inner,
        _holds: holds,
    }
}

impl<F: Future + Unpin, H: Unpin> Future for Named<F, H> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        with_slot(|slot| {
            slot.task.store(self.task, Ordering::Relaxed);
            // This thread alone writes.
            slot.turn
                .store(slot.turn.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        });
        let polled = Pin::new(&mut self.inner).poll(context);
        with_slot(|slot| {
            slot.turn
                .store((slot.turn.load(Ordering::Relaxed) | 1) + 1, Ordering::Relaxed)
        });
        polled
    }
}

/// A thread that a look has found in the same turn as the one before.
#[derive(Clone, Copy)]
struct Seen {
    turn: u64,
    since: Instant,
    told: bool,
}

/// The watch over a runtime's threads.
#[derive(Default)]
pub struct Watch {
    held: AtomicU64,
    longest_millis: AtomicU64,
    /// The last time that the threads took work, as milliseconds since `begun`.
    worked: AtomicU64,
    begun: OnceLock<Instant>,
    /// True while a question to the threads is under way.
    asked: AtomicBool,
}

impl Watch {
    /// Watches the threads of a runtime, from a thread of its own, for as long as the watch is held elsewhere.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(workers: Handle) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let _ = watch.begun.set(Instant::now());
        let weak = Arc::downgrade(&watch);
        std::thread::Builder::new().name("turns".into()).spawn(move || {
            let mut seen = Vec::new();
            while let Some(watch) = weak.upgrade() {
                watch.ask(&workers);
                watch.look(&mut seen);
                drop(watch);
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(watch)
    }

    /// Gives the threads something to do, unless the last of it is still waiting.
    fn ask(self: &Arc<Self>, workers: &Handle) {
        if self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let watch = self.clone();
        workers.spawn(async move {
            watch.worked.store(watch.now().unwrap_or_default(), Ordering::Relaxed);
            watch.asked.store(false, Ordering::Relaxed);
        });
    }

    fn now(&self) -> Option<u64> {
        self.begun.get().map(|begun| begun.elapsed().as_millis() as u64)
    }

    /// Looks at each thread once.
    fn look(&self, seen: &mut Vec<Option<Seen>>) {
        let slots = SLOTS.lock().clone();
        seen.resize(slots.len(), None);
        for (slot, seen) in slots.iter().zip(seen) {
            let turn = slot.turn.load(Ordering::Relaxed);
            match seen {
                _ if turn % 2 == 0 => *seen = None,
                Some(seen) if seen.turn == turn => {
                    let took = seen.since.elapsed();
                    self.longest_millis
                        .fetch_max(took.as_millis() as u64, Ordering::Relaxed);
                    if took >= LONG && !seen.told {
                        seen.told = true;
                        self.tell(slot.task.load(Ordering::Relaxed), took);
                    }
                }
                seen => {
                    let (since, told) = (Instant::now(), false);
                    *seen = Some(Seen { turn, since, told });
                }
            }
        }
    }

    fn tell(&self, task: u64, took: Duration) {
        self.held.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            by = Kind::name(task >> 16),
            client_port = task & 0xffff,
            took = ?took,
            "a thread that serves clients has been held for over a second; others wait for it"
        );
    }

    /// Turns so far that took longer than a second.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The longest turn that was seen.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest_millis.load(Ordering::Relaxed))
    }

    /// Time since the threads took work for the last time, within the time between two looks.
    pub fn idle(&self) -> Duration {
        let worked = self.worked.load(Ordering::Relaxed);
        Duration::from_millis(self.now().unwrap_or_default().saturating_sub(worked))
    }

    /// False once the threads have taken no work for so long that they never will.
    pub fn is_alive(&self) -> bool {
        self.idle() < DEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_turn_of_more_than_a_second_is_counted_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .expect("a runtime");
        let watch = Watch::start(runtime.handle().clone()).expect("a thread");
        let busy = |millis| {
            Box::pin(async move {
                std::thread::sleep(Duration::from_millis(millis));
            })
        };
        runtime.spawn(named(Kind::Amqp, 1, busy(100), ()));
        let long = runtime.spawn(named(Kind::Amqp, 1, busy(2000), ()));
        runtime.block_on(long).expect("it ends");
        assert_eq!(watch.held(), 1);
        assert!(watch.longest() >= Duration::from_secs(1), "{:?}", watch.longest());
        assert!(
            watch.is_alive() && watch.idle() < Duration::from_secs(2),
            "the other thread works"
        );
    }

    #[test]
    fn threads_that_are_all_held_take_no_work() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime");
        let watch = Watch::start(runtime.handle().clone()).expect("a thread");
        let held = runtime.spawn(async { std::thread::sleep(Duration::from_millis(1500)) });
        std::thread::sleep(Duration::from_millis(1300));
        assert!(watch.idle() > Duration::from_millis(700), "{:?}", watch.idle());
        runtime.block_on(held).expect("it ends");
    }
}
