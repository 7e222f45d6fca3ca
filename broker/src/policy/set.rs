//! All policies of a vhost, and the search for those that apply to an object: of each class the one with the highest
//! priority that matches, and among equal ones the first by name.
//!
//! Comes in: policies, kinds and names of objects. Goes out: what applies. Pure. Does not know who keeps the objects.

use super::applied::Applied;
use super::kind::Kind;
use super::rule::{Class, Policy};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// The policies of a vhost. A change is made to a copy.
#[derive(Default)]
pub struct Policies {
    /// Both in the order of the search.
    policies: Vec<Arc<Policy>>,
    operator: Vec<Arc<Policy>>,
    /// Pairs that apply to some object already, by their places: ten thousand queues share one.
    made: Mutex<HashMap<(usize, usize), Arc<Applied>>>,
    /// Objects that were looked at of late.
    recent: Mutex<HashMap<Object, Option<Arc<Applied>>>>,
}

/// Kind and name of an object.
type Object = (Kind, Box<[u8]>);

/// Objects whose policies are remembered for the next look.
const RECENT: usize = 256;

impl Clone for Policies {
    fn clone(&self) -> Self {
        Self {
            policies: self.policies.clone(),
            operator: self.operator.clone(),
            made: Mutex::default(),
            recent: Mutex::default(),
        }
    }
}

impl Policies {
    /// Puts a policy in place of the one of its name. False if it says the same.
    pub fn put(&mut self, class: Class, policy: Policy) -> bool {
        if self.get(class, &policy.name).is_some_and(|old| **old == policy) {
            return false;
        }
        self.remove(class, &policy.name);
        let at = self.place(class, &policy);
        self.list_mut(class).insert(at, Arc::new(policy));
        true
    }

    /// The number of policies of a class that come before this one in the search.
    pub(super) fn place(&self, class: Class, policy: &Policy) -> usize {
        let before = |other: &Arc<Policy>| order(other) < order(policy);
        self.list(class).partition_point(before)
    }

    /// Takes a policy out.
    pub fn remove(&mut self, class: Class, name: &str) -> Option<Arc<Policy>> {
        self.made.get_mut().clear();
        self.recent.get_mut().clear();
        let list = self.list_mut(class);
        let at = list.iter().position(|policy| policy.name == name)?;
        Some(list.remove(at))
    }

    /// A policy by its name.
    pub fn get(&self, class: Class, name: &str) -> Option<&Arc<Policy>> {
        self.list(class).iter().find(|policy| policy.name == name)
    }

    /// The policies of a class, by priority, the highest first.
    pub fn list(&self, class: Class) -> &[Arc<Policy>] {
        match class {
            Class::User => &self.policies,
            Class::Operator => &self.operator,
        }
    }

    fn list_mut(&mut self, class: Class) -> &mut Vec<Arc<Policy>> {
        match class {
            Class::User => &mut self.policies,
            Class::Operator => &mut self.operator,
        }
    }

    /// The policies that apply to an object. Asked again soon, it doesn't match their patterns again.
    pub fn of(&self, kind: Kind, name: &[u8]) -> Option<Arc<Applied>> {
        if self.policies.is_empty() && self.operator.is_empty() {
            return None;
        }
        let object = (kind, Box::from(name));
        if let Some(known) = self.recent.lock().get(&object) {
            return known.clone();
        }
        let found = self.find(kind, name);
        let mut recent = self.recent.lock();
        if recent.len() >= RECENT {
            recent.clear();
        }
        recent.insert(object, found.clone());
        found
    }

    fn find(&self, kind: Kind, name: &[u8]) -> Option<Arc<Applied>> {
        let first = |list: &[Arc<Policy>]| list.iter().position(|policy| policy.matches(kind, name));
        let (policy, operator) = (first(&self.policies), first(&self.operator));
        self.made(policy, operator)
    }

    /// The policies at these places.
    pub(super) fn made(&self, policy: Option<usize>, operator: Option<usize>) -> Option<Arc<Applied>> {
        policy.or(operator)?;
        let places = (policy.unwrap_or(usize::MAX), operator.unwrap_or(usize::MAX));
        if let Some(made) = self.made.lock().get(&places) {
            return Some(made.clone());
        }
        let at = |list: &[Arc<Policy>], place: Option<usize>| list.get(place?).cloned();
        let applied = Applied::new(at(&self.policies, policy), at(&self.operator, operator))?;
        let applied = Arc::new(applied);
        self.made.lock().insert(places, applied.clone());
        Some(applied)
    }
}

/// The order of policies of a class.
fn order(policy: &Policy) -> (Reverse<i64>, &str) {
    (Reverse(policy.priority), &policy.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ApplyTo;
    use leveret_amqp::{FieldTable, FieldValue, ShortString};

    fn table(fields: Vec<(&'static str, FieldValue)>) -> FieldTable {
        let pair = |(name, value)| (ShortString::from_static(name), value);
        fields.into_iter().map(pair).collect()
    }

    fn policy(name: &str, pattern: &str, priority: i64, definition: Vec<(&'static str, FieldValue)>) -> Policy {
        let fields = table(vec![
            ("pattern", pattern.into()),
            ("priority", priority.into()),
            ("definition", FieldValue::Table(table(definition))),
        ]);
        Policy::parse(Class::User, name, &fields).expect("a policy")
    }

    fn names(policies: &Policies, kind: Kind, name: &str) -> (Option<String>, Option<String>) {
        let of = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|policy| policy.name.clone());
        let applied = policies.of(kind, name.as_bytes());
        applied.map_or((None, None), |applied| (of(&applied.policy), of(&applied.operator)))
    }

    fn length(most: i64) -> Vec<(&'static str, FieldValue)> {
        vec![("max-length", most.into())]
    }

    #[test]
    fn the_highest_priority_counts_and_then_the_name() {
        let mut policies = Policies::default();
        for (name, priority) in [("z", 0), ("a", 0), ("low", -1), ("m", 0)] {
            assert!(policies.put(Class::User, policy(name, "^q", priority, length(1))));
        }
        let winner = |policies: &Policies| names(policies, Kind::Classic, "q").0;
        assert_eq!(winner(&policies).as_deref(), Some("a"));
        policies.put(Class::User, policy("high", "q$", 7, length(1)));
        assert_eq!(winner(&policies).as_deref(), Some("high"));
        policies.put(Class::User, policy("high", "other", 7, length(1)));
        assert_eq!(winner(&policies).as_deref(), Some("a"));
        policies.remove(Class::User, "a");
        assert_eq!(winner(&policies).as_deref(), Some("m"));
        assert_eq!(names(&policies, Kind::Classic, "x"), (None, None));
    }

    #[test]
    fn one_of_each_class_applies() {
        let mut policies = Policies::default();
        policies.put(Class::Operator, policy("o", "", 0, length(5)));
        assert_eq!(names(&policies, Kind::Classic, "q"), (None, Some("o".into())));
        policies.put(
            Class::User,
            policy("p", "q", 9, vec![("max-length", 7.into()), ("expires", 3.into())]),
        );
        assert_eq!(
            names(&policies, Kind::Classic, "q"),
            (Some("p".into()), Some("o".into()))
        );
        let applied = policies.of(Kind::Classic, b"q").expect("both");
        assert_eq!(
            applied.definition,
            table(vec![("expires", 3.into()), ("max-length", FieldValue::Long(5))])
        );
        assert!(Arc::ptr_eq(&applied, &policies.of(Kind::Classic, b"qq").expect("both")));
        let changed = policies.clone();
        assert_eq!(*applied, *changed.of(Kind::Classic, b"q").expect("both"));
    }

    #[test]
    fn a_policy_with_a_key_of_other_queue_types_is_passed_over() {
        let mut policies = Policies::default();
        policies.put(Class::User, policy("limit", "", 9, vec![("delivery-limit", 3.into())]));
        policies.put(Class::User, policy("mode", "", 8, vec![("queue-mode", "lazy".into())]));
        policies.put(Class::User, policy("any", "", 0, vec![("max-length-bytes", 3.into())]));
        for (kind, expected) in [
            (Kind::Classic, "mode"),
            (Kind::Quorum, "limit"),
            (Kind::Stream, "any"),
            (Kind::Exchange, "limit"),
        ] {
            assert_eq!(names(&policies, kind, "q").0.as_deref(), Some(expected), "{kind:?}");
        }
    }

    #[test]
    fn a_delivery_limit_is_for_classic_queues_if_they_are_named() {
        let mut policies = Policies::default();
        let mut limit = policy("limit", "", 0, vec![("delivery-limit", 3.into())]);
        limit.apply_to = ApplyTo::Classic;
        policies.put(Class::User, limit.clone());
        assert_eq!(names(&policies, Kind::Classic, "q").0.as_deref(), Some("limit"));
        limit.definition.push(ShortString::from_static("max-age"), "1D".into());
        policies.put(Class::User, limit);
        assert_eq!(names(&policies, Kind::Classic, "q").0, None);
    }

    #[test]
    fn what_is_remembered_goes_with_a_change_and_is_limited() {
        let mut policies = Policies::default();
        policies.put(Class::User, policy("p", "^q", 0, length(1)));
        for number in 0..3 * RECENT {
            assert!(policies.of(Kind::Classic, format!("q{number}").as_bytes()).is_some());
            assert!(policies.recent.lock().len() <= RECENT);
        }
        assert!(policies.of(Kind::Classic, b"other").is_none() && policies.of(Kind::Classic, b"other").is_none());
        policies.put(Class::User, policy("all", "", -1, length(1)));
        assert_eq!(names(&policies, Kind::Classic, "other").0.as_deref(), Some("all"));
        assert!(policies.remove(Class::User, "all").is_some());
        assert_eq!(names(&policies, Kind::Classic, "other"), (None, None));
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let mut policies = Policies::default();
        assert!(policies.put(Class::User, policy("p", "q", 0, length(1))));
        assert!(!policies.put(Class::User, policy("p", "q", 0, length(1))));
        assert!(policies.put(Class::User, policy("p", "q", 0, length(2))));
        assert!(policies.put(Class::Operator, policy("p", "q", 0, length(2))));
        assert_eq!(policies.list(Class::User).len(), 1);
        assert!(policies.remove(Class::User, "p").is_some() && policies.remove(Class::User, "p").is_none());
    }
}
