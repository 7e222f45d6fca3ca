//! The length limit of a queue: the oldest waiting messages beyond it are dropped (RabbitMQ's `drop-head`).
//!
//! Comes in: a queue that may have got longer. Goes out: settlements, so that the log doesn't bring back what was
//! dropped. Messages that have been delivered don't count. A queue without a limit pays for a look at its arguments.
//! Does not know why the queue got longer.

use super::state::{Queue, State};
use crate::death::Reason;
use crate::outbox::Work;

impl Queue {
    /// Drops what is beyond `x-max-length`.
    pub(super) fn keep_to_limit(&self, state: &mut State, work: &mut Work) {
        let Some(limit) = self.definition.arguments.values.max_length else {
            return;
        };
        let excess = (state.ready.len() as u64).saturating_sub(limit);
        if excess == 0 {
            return;
        }
        let dropped = state.ready.take_first(excess as usize, self.reader());
        state.totals.dropped += excess;
        self.end(dropped, Reason::MaxLen, work);
    }
}

#[cfg(test)]
mod tests;
