//! The upkeep of a queue beside its clients: its owner, which moves dead letters on and deletes it, and its clock.
//!
//! Comes in: messages that have left a queue without acknowledgement. Goes out: the same messages to the owner, at the
//! end of the batch. Does not know about queues: dead letters say all that the owner needs.

use super::entry::Entry;
use crate::clock::{Clock, Millis, Timed};
use crate::death::Reason;
use crate::outbox::{Leftover, Work};
use leveret_amqp::ShortString;
use leveret_store::{QueueId, UnderWay};
use std::sync::{Arc, Weak};

/// The owner of a queue: its vhost.
pub trait Owner: Send + Sync {
    /// Moves dead letters on. They have left their queue; the log still has them there.
    fn bury(&self, dead: Dead, work: &mut Work);

    /// Deletes the queue of this number, whose last consumer has ended, if it has none.
    fn end_unused(&self, queue: QueueId);

    /// Deletes the queue of this number if its lease is over.
    fn end_lease(&self, queue: QueueId);
}

/// A queue's owner and its clock. Without them, messages do not expire and dead letters are dropped.
#[derive(Clone, Default)]
pub struct Upkeep {
    /// The owner.
    pub owner: Option<Weak<dyn Owner>>,
    /// The clock.
    pub clock: Option<Arc<Clock>>,
}

impl Upkeep {
    /// Has the clock call `timed` at this time, if there is one.
    pub fn call<T: Timed + 'static>(&self, at: Millis, timed: &Arc<T>) {
        if let Some(clock) = &self.clock {
            let timed: Weak<T> = Arc::downgrade(timed);
            clock.call(at, timed);
        }
    }
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

/// Dead letters for the end of a batch.
pub(super) struct Burial(pub Weak<dyn Owner>, pub Dead);

impl Leftover for Burial {
    fn finish(self: Box<Self>, work: &mut Work) {
        if let Some(owner) = self.0.upgrade() {
            owner.bury(self.1, work);
        }
    }
}
