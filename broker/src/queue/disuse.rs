//! The end of a queue with `x-expires` that has been unused for that long.
//!
//! Comes in: uses of the queue, which are its declaration, another one, a basic.get, and the end of its last consumer;
//! calls of the clock. Goes out: a word to the queue's owner, which deletes it. One call of the clock is ahead at a
//! time, however often the queue is used; a queue without a lease pays for a look at one field.
//! Does not know how a queue is deleted.

use super::state::{Deleted, Queue, Refused, State};
use crate::clock::{self, Millis};
use std::sync::{Arc, Weak};

impl Queue {
    /// Notes that the queue is used: its lease begins again.
    pub fn renew_lease(self: &Arc<Self>) {
        self.renew(&mut self.change());
    }

    pub(super) fn renew(self: &Arc<Self>, state: &mut State) {
        if let Some(lease) = &mut state.lease {
            lease.renew(clock::now());
            let at = lease.to_call();
            self.call_for_lease(at);
        }
    }

    /// The clock has called for `at`, maybe for this: has the queue deleted if its lease is over.
    pub(super) fn end_lease(self: &Arc<Self>, at: Millis) {
        let mut state = self.change();
        let unused = state.consumers.is_empty() && !state.deleted;
        let now = clock::now();
        let Some(lease) = &mut state.lease else { return };
        if !lease.called(at.max(now)) || !unused {
            return;
        }
        if lease.end() > now {
            let at = lease.to_call();
            self.call_for_lease(at);
            return;
        }
        drop(state);
        if let Some(owner) = self.upkeep.owner.as_ref().and_then(Weak::upgrade) {
            owner.end_lease(self.id);
        }
    }

    fn call_for_lease(self: &Arc<Self>, at: Option<Millis>) {
        if let Some(at) = at {
            self.upkeep.call(at, self);
        }
    }

    /// Marks the queue as gone if its lease is over, atomically with the check.
    ///
    /// # Errors
    /// [`Refused::InUse`] it has been used meanwhile; [`Refused::Gone`].
    pub fn delete_unused(&self) -> Result<Deleted, Refused> {
        let state = self.change();
        if state.deleted {
            return Err(Refused::Gone);
        }
        let over = state.lease.as_ref().is_some_and(|lease| lease.end() <= clock::now());
        if !over || !state.consumers.is_empty() {
            return Err(Refused::InUse);
        }
        Ok(self.remove(state))
    }
}
