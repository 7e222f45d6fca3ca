//! The upkeep of a queue beside its clients: its owner, which moves dead letters on and deletes it, and its clock.
//!
//! Comes in: times at which a queue is to be called. Goes out: appointments with the clock. Does not know about queues.

use super::burial::Burials;
use crate::clock::{Clock, Millis, Timed};
use std::sync::{Arc, Weak};

pub use super::burial::{Dead, Owner};

/// A queue's owner and its clock. Without them, messages do not expire and dead letters are dropped.
#[derive(Clone, Default)]
pub struct Upkeep {
    /// The owner.
    pub owner: Option<Weak<dyn Owner>>,
    /// The clock.
    pub clock: Option<Arc<Clock>>,
    /// Dead letters that wait.
    pub burials: Option<Arc<Burials>>,
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
