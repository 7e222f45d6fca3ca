//! Other values for a queue while it lives, which its policies give it.
//!
//! Comes in: values. Goes out: what follows from them at once: messages beyond a new limit are dropped, a new lease
//! begins. A time to live is for messages that come later: those that wait keep the end of their time, as in RabbitMQ.
//! Does not know about policies.

use super::arguments::Values;
use super::bounds::Bounds;
use super::lease::Lease;
use super::state::Queue;
use crate::clock;
use crate::outbox::Work;
use std::sync::Arc;

impl Queue {
    /// Has other values count from now on: those of its arguments under its policies, or its arguments alone.
    pub fn apply(self: &Arc<Self>, values: Option<Values>, work: &mut Work) {
        let mut guard = self.change();
        let state = &mut *guard;
        state.under_policy = values.map(Box::new);
        let values = self.values(state);
        let (bounds, expires) = (Bounds::of(values), values.expires);
        self.ttl.set(values);
        state.bounds = bounds;
        state.lease = Lease::of(expires, clock::now());
        self.renew(state);
        self.keep_to_limit(state, work);
    }
}
