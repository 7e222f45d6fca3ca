//! The change of one policy: the policies that apply to an object now, from those that did before.
//!
//! Comes in: policies of a vhost with the change in them; an object with what applied to it. Goes out: what applies.
//! The patterns of policies that have not changed are matched only for objects that lose theirs, and only those that
//! come after it: what a change costs does not grow with the number of policies that have nothing to do with it.
//! Pure. Does not know who keeps the objects.

use super::applied::Applied;
use super::kind::Kind;
use super::rule::{Class, Policy};
use super::set::Policies;
use std::sync::Arc;

/// A change that has been made.
pub struct Change {
    policies: Arc<Policies>,
    class: Class,
    old: Option<Arc<Policy>>,
    /// The place of the new one.
    new: Option<usize>,
}

impl Change {
    /// The policy of this class and name is another one in `policies`, or none; it was `old`.
    pub fn new(policies: Arc<Policies>, class: Class, name: &str, old: Option<Arc<Policy>>) -> Self {
        let new = policies.get(class, name);
        Self {
            new: new.map(|new| policies.place(class, new)),
            policies,
            class,
            old,
        }
    }

    /// The policies that apply to an object, after those that applied `before` the change.
    pub fn applies(&self, before: Option<&Arc<Applied>>, kind: Kind, name: &[u8]) -> Option<Arc<Applied>> {
        let [policy, operator] = Class::ALL.map(|class| {
            let was = before.and_then(|applied| applied.of(class));
            match class == self.class {
                true => self.winner(was, kind, name),
                false => was.map(|was| self.policies.place(class, was)),
            }
        });
        self.policies.made(policy, operator)
    }

    /// The place of the policy that counts in the class of the change. `was`: the one that did.
    fn winner(&self, was: Option<&Arc<Policy>>, kind: Kind, name: &[u8]) -> Option<usize> {
        let list = self.policies.list(self.class);
        let place = |policy: &Arc<Policy>| self.policies.place(self.class, policy);
        let matches = |policy: &Arc<Policy>| policy.matches(kind, name);
        let new_before = |limit: Option<usize>| {
            let comes_first = |at: &usize| limit.is_none_or(|limit| *at < limit);
            self.new
                .filter(comes_first)
                .filter(|at| list.get(*at).is_some_and(matches))
        };
        let same = |was: &&Arc<Policy>| self.old.as_ref().is_some_and(|old| Arc::ptr_eq(was, old));
        match was.filter(same) {
            None => {
                let was = was.map(place);
                new_before(was).or(was)
            }
            Some(old) => {
                // None of those before it matched, or they would have counted.
                let from = place(old);
                let behind = || list.iter().skip(from).position(matches).map(|at| from + at);
                new_before(Some(from)).or_else(behind)
            }
        }
    }
}

#[cfg(test)]
mod tests;
