//! Dead letters on their way to a queue's owner, which moves them on.
//!
//! Comes in: messages that have left a queue without acknowledgement. Goes out: the same to the owner, at the end of
//! the batch. Those that die of others' arrival, and others of theirs, leave the batch in the end: a chain of full
//! queues is gone through a portion at a time on the clock's thread, not on that of a client. Does not know about
//! queues: dead letters say all that the owner needs.

use super::entry::Entry;
use crate::clock::{self, Clock, Timed};
use crate::death::Reason;
use crate::limits::Memory;
use crate::outbox::{Leftover, Work};
use leveret_amqp::ShortString;
use leveret_store::{Handle, QueueId, UnderWay};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Deaths of one message, each by the arrival of another, that the batch goes through itself.
const ROUNDS_AT_ONCE: usize = 2;
/// Messages that the clock's thread moves on at once, and the time after which others have their turn there.
const PORTION: usize = 64;
const TURN: Duration = Duration::from_millis(2);
/// Memory of a message that waits, beside its body, bytes.
const ENTRY_BYTES: u64 = 256;
/// Pause of a publisher whose messages make others wait here.
const PAUSE: Duration = Duration::from_millis(50);

/// The owner of a queue: its vhost.
pub trait Owner: Send + Sync {
    /// Moves dead letters on. They have left their queue; the log still has them there.
    fn bury(&self, dead: Dead, work: &mut Work);

    /// Deletes the queue of this number, whose last consumer has ended, if it has none.
    fn end_unused(&self, queue: QueueId);

    /// Deletes the queue of this number if its lease is over.
    fn end_lease(&self, queue: QueueId);
}

/// Dead letters of one queue.
pub struct Dead {
    /// The queue's name.
    pub queue: ShortString,
    /// Its number in the log.
    pub id: QueueId,
    /// The exchange that they go to.
    pub exchange: ShortString,
    /// The key that they go by, in place of their own.
    pub routing_key: Option<ShortString>,
    /// The reason of their death.
    pub reason: Reason,
    /// The messages, in the queue's order; those that were not in memory come without the message.
    pub entries: Vec<Entry>,
    /// No checkpoint is taken before the log has the move.
    pub under_way: UnderWay,
}

impl Dead {
    /// Some of these messages alone.
    fn of(&self, entries: Vec<Entry>, log: &Handle) -> Self {
        Self {
            queue: self.queue.clone(),
            id: self.id,
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            reason: self.reason,
            entries,
            under_way: log.under_way(),
        }
    }

    fn resident(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| entry.resident().own() + ENTRY_BYTES)
            .sum()
    }
}

/// Dead letters for the end of a batch.
pub(super) struct Burial {
    pub(super) owner: Weak<dyn Owner>,
    pub(super) dead: Dead,
    /// Where they wait if the batch has gone through enough of them.
    pub(super) later: Option<Arc<Burials>>,
}

impl Leftover for Burial {
    fn finish(self: Box<Self>, work: &mut Work) {
        match self.later.clone() {
            Some(later) if work.rounds() > ROUNDS_AT_ONCE => later.put_off(*self, work),
            _ => {
                if let Some(owner) = self.owner.upgrade() {
                    owner.bury(self.dead, work);
                }
            }
        }
    }
}

/// Dead letters that wait for the clock's thread, the first to come first.
pub struct Burials {
    waiting: Mutex<VecDeque<Burial>>,
    clock: Arc<Clock>,
    log: Handle,
    memory: Arc<Memory>,
}

impl Burials {
    /// None yet.
    pub fn new(clock: Arc<Clock>, log: Handle, memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            clock,
            log,
            memory,
        })
    }

    fn put_off(self: &Arc<Self>, mut burial: Burial, work: &mut Work) {
        work.pause = work.pause.max(PAUSE);
        self.memory.add(burial.dead.resident() as i64);
        let mut entries = std::mem::take(&mut burial.dead.entries).into_iter();
        let mut waiting = self.waiting.lock();
        let first = waiting.is_empty() && entries.len() > 0;
        while entries.len() > 0 {
            waiting.push_back(Burial {
                owner: burial.owner.clone(),
                dead: burial.dead.of(entries.by_ref().take(PORTION).collect(), &self.log),
                later: burial.later.clone(),
            });
        }
        drop(waiting);
        if first {
            self.call();
        }
    }

    fn call(self: &Arc<Self>) {
        let timed: Weak<Self> = Arc::downgrade(self);
        self.clock.call(clock::now(), timed);
    }

    /// The next portion. `None` if none waits; true if others do.
    fn next(self: &Arc<Self>) -> Option<(Burial, bool)> {
        let mut waiting = self.waiting.lock();
        let portion = waiting.pop_front()?;
        let more = !waiting.is_empty();
        drop(waiting);
        self.memory.add(-(portion.dead.resident() as i64));
        Some((portion, more))
    }
}

impl Timed for Burials {
    fn due(self: Arc<Self>, _: clock::Millis) {
        let begun = Instant::now();
        let mut more = true;
        while more && begun.elapsed() < TURN {
            let Some((portion, others)) = self.next() else { return };
            let mut work = Work::default();
            work.leave(Box::new(portion));
            // Nothing waits for these records; a failed log is noticed by whoever appends next.
            let _ = work.finish(&self.log);
            more = others || !self.waiting.lock().is_empty();
        }
        if more {
            self.call();
        }
    }
}
