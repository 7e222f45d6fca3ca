//! Bodies that arrive in pieces: those under way at a time have a share of memory, and others wait for their turn.
//!
//! Comes in: the sizes that headers announce, and what arrives. Goes out: leave to receive a body, or a place in the
//! line; word to one that has had its time while others wait. Since room for a whole body is given before its first
//! octet is taken, those that have begun can always end.
//! Does not know about frames or channels.

use super::held::{Held, Holding};
use super::memory::Memory;
use super::waiter::Waiter;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a body that needs no leave: a connection may have one of that size, as it has a read buffer.
pub const SMALL: u64 = 256 * 1024;
/// Time for which a body that others wait for may stand still.
const SILENCE: Duration = Duration::from_secs(5);
/// Time that a body may take while others wait, beside that for its size.
const TIME: Duration = Duration::from_secs(10);
/// Bytes that it must bring then on average, each second.
const RATE: u64 = 1 << 20;

/// All bodies under way.
pub struct Bodies {
    memory: Arc<Memory>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Bytes that have been given leave, and by number those that have it.
    bytes: u64,
    under_way: BTreeMap<u64, UnderWay>,
    /// Those that wait, in the order in which they came.
    line: BTreeMap<u64, Arc<dyn Waiter>>,
}

struct UnderWay {
    size: u64,
    since: Instant,
    arrived: Arc<Arrived>,
    /// Bytes that had arrived at the last look at which there were more than before, and its time.
    seen: (u64, Instant),
    owner: Arc<dyn Waiter>,
}

/// The part of a body that has arrived.
#[derive(Default)]
struct Arrived {
    bytes: AtomicU64,
    overdue: AtomicBool,
}

impl Bodies {
    /// None yet.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            state: Mutex::default(),
        }
    }

    /// Leave for a body that needs none: see [`SMALL`].
    pub fn small(&self, size: u64) -> Leave {
        Leave {
            _held: self.memory.hold(Holding::Bodies, size),
            given: None,
        }
    }

    /// Asks for leave to receive `size` bytes; `place` is kept for the next attempt. `None`: not yet; `owner` is woken
    /// when it may be time, and asks again every now and then, since that is when those that are late are found.
    pub fn ask<W: Waiter + 'static>(
        self: &Arc<Self>,
        size: u64,
        owner: &Arc<W>,
        place: &mut Option<Place>,
    ) -> Option<Leave> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let first = state.line.first_key_value().map(|(number, _)| *number);
        let turn = match place {
            Some(place) => first == Some(place.number),
            None => first.is_none(),
        };
        let fits = state.bytes == 0 || state.bytes + size <= self.memory.share();
        if turn && fits {
            let number = state.next();
            let arrived = Arc::<Arrived>::default();
            let under_way = UnderWay {
                size,
                since: now,
                arrived: arrived.clone(),
                seen: (0, now),
                owner: owner.clone(),
            };
            state.bytes += size;
            state.under_way.insert(number, under_way);
            drop(state);
            // The next one may fit, too.
            *place = None;
            let given = Given {
                bodies: self.clone(),
                number,
                arrived,
            };
            return Some(Leave {
                _held: self.memory.hold(Holding::Bodies, size),
                given: Some(given),
            });
        }
        if place.is_none() {
            let number = state.next();
            state.line.insert(number, owner.clone());
            *place = Some(Place {
                bodies: self.clone(),
                number,
            });
        }
        state.look_for_late_ones(now);
        None
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Tells bodies that have had their time.
    fn look_for_late_ones(&mut self, now: Instant) {
        for body in self.under_way.values_mut() {
            let arrived = body.arrived.bytes.load(Ordering::Relaxed);
            if arrived != body.seen.0 {
                body.seen = (arrived, now);
            }
            let silent = now.saturating_duration_since(body.seen.1);
            let took = now.saturating_duration_since(body.since);
            let late = silent >= SILENCE || took >= TIME + Duration::from_secs(body.size / RATE);
            if late && !body.arrived.overdue.swap(true, Ordering::Relaxed) {
                body.owner.look_again();
            }
        }
    }

    fn wake_first(&self) {
        if let Some(first) = self.line.values().next() {
            first.look_again();
        }
    }
}

/// A place in the line, until it is dropped.
pub struct Place {
    bodies: Arc<Bodies>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.bodies.state.lock();
        state.line.remove(&self.number);
        state.wake_first();
    }
}

/// Leave to receive a body, until it is dropped.
pub struct Leave {
    _held: Held,
    given: Option<Given>,
}

struct Given {
    bodies: Arc<Bodies>,
    number: u64,
    arrived: Arc<Arrived>,
}

impl Leave {
    /// So many bytes of the body have arrived.
    pub fn arrived(&self, bytes: usize) {
        if let Some(given) = &self.given {
            given.arrived.bytes.store(bytes as u64, Ordering::Relaxed);
        }
    }

    /// True if the body has had its time, and others wait.
    pub fn is_overdue(&self) -> bool {
        let given = self.given.as_ref();
        given.is_some_and(|given| given.arrived.overdue.load(Ordering::Relaxed))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let mut state = self.bodies.state.lock();
        if let Some(body) = state.under_way.remove(&self.number) {
            state.bytes -= body.size;
        }
        state.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Owner(AtomicU64);

    impl Waiter for Owner {
        fn look_again(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Owner {
        fn woken(&self) -> u64 {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    fn bench() -> (Arc<Memory>, Arc<Bodies>, [Arc<Owner>; 3]) {
        let memory = Arc::new(Memory::new(4000));
        let bodies = Arc::new(Bodies::new(memory.clone()));
        (memory, bodies, Default::default())
    }

    #[test]
    fn bodies_beyond_the_share_wait_in_the_order_in_which_they_came() {
        let (memory, bodies, [a, b, c]) = bench();
        let (mut first, mut second, mut third) = (None, None, None);
        let large = bodies.ask(5000, &a, &mut first).expect("one always may");
        assert_eq!(memory.held(Holding::Bodies), 5000);
        assert!(bodies.ask(900, &b, &mut second).is_none() && bodies.ask(1, &c, &mut third).is_none());
        drop(large);
        assert_eq!((b.woken(), c.woken()), (1, 0));
        assert!(bodies.ask(1, &c, &mut third).is_none(), "the other one's turn");
        let leave = bodies.ask(900, &b, &mut second).expect("its turn");
        assert_eq!(c.woken(), 1, "it may fit beside");
        let other = bodies.ask(100, &c, &mut third).expect("it does");
        let mut fourth = None;
        assert!(bodies.ask(1, &a, &mut fourth).is_none());
        drop(fourth);
        drop((leave, other));
        assert_eq!(memory.held(Holding::Bodies), 0);
        assert!(
            bodies.ask(1000, &a, &mut None).is_some(),
            "who left the line is not waited for"
        );
    }

    #[test]
    fn a_body_that_is_late_is_told_when_others_wait() {
        let (_, bodies, [a, b, _]) = bench();
        let leave = bodies.ask(1000, &a, &mut None).expect("leave");
        let mut place = None;
        assert!(bodies.ask(1000, &b, &mut place).is_none() && !leave.is_overdue());
        let later = |seconds| {
            leave.arrived(seconds as usize);
            let now = Instant::now() + Duration::from_secs(seconds);
            bodies.state.lock().look_for_late_ones(now);
        };
        later(4);
        later(8);
        assert!(!leave.is_overdue() && a.woken() == 0);
        later(12);
        assert!(leave.is_overdue() && a.woken() == 1, "ten seconds are over");
        drop(leave);
        let silent = bodies.ask(1000, &b, &mut place).expect("its turn");
        bodies.state.lock().look_for_late_ones(Instant::now() + SILENCE);
        assert!(silent.is_overdue());
    }
}
