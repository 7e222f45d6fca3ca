//! Other policies for a queue while it lives.
//!
//! Comes in: the policies that apply. Goes out: what follows from them at once: messages beyond a new limit are
//! dropped, a new lease begins. A time to live is for messages that come later: those that wait keep the end of their
//! time, as in RabbitMQ. Does not know which policies match.

use super::bounds::Bounds;
use super::lease::Lease;
use super::policies::Policies;
use super::state::Queue;
use crate::clock;
use crate::outbox::Work;
use crate::policy::Applied;
use std::sync::Arc;

impl Queue {
    /// The policies that apply to it.
    pub fn policies(&self) -> Option<Arc<Applied>> {
        let state = self.change();
        state.policies.as_ref().map(|policies| policies.applied.clone())
    }

    /// Has these policies apply from now on. A queue that is under the same ones already is left alone. True if there
    /// is more to drop than was dropped at once: [`Queue::trim`] goes on with it.
    pub fn apply(self: &Arc<Self>, applied: Option<Arc<Applied>>, work: &mut Work) -> bool {
        let mut guard = self.change();
        let state = &mut *guard;
        if applied.as_ref() == state.policies.as_ref().map(|policies| &policies.applied) {
            return false;
        }
        let declared = &*self.definition.arguments.values;
        state.policies = applied.map(|applied| Box::new(Policies::new(applied, declared)));
        let values = self.values(state);
        let (bounds, expires) = (Bounds::of(values), values.expires);
        self.ttl.set(values);
        state.bounds = bounds;
        state.lease = Lease::of(expires, clock::now());
        self.renew(state);
        self.begin_to_trim(state, work)
    }
}
