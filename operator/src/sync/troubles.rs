//! Steps that failed, of all resources of a loop: which are left out for a while, and what ends that.
//!
//! In: plans and their failures, events of the broker. Out: plans without what is not due, and when it is. Does not
//! know about how a plan is carried out.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::apply::Failure;
use super::desired::Owned;
use super::difference::Plan;
use super::memory::Memories;
use crate::broker::{Event, Operation};
use crate::object::{ObjectKey, Reason};
use crate::topology::Identity;

/// Takes the steps out of the plan that have failed before and are not due again, with their failures.
pub(super) fn hold_back(all: &mut Memories, plan: &mut Plan) -> BTreeMap<ObjectKey, Failure> {
    let mut steps: BTreeMap<&ObjectKey, Vec<&Operation>> = BTreeMap::new();
    for step in &plan.steps {
        steps.entry(&step.key).or_default().push(&step.operation);
    }
    let now = Instant::now();
    let mut failed = BTreeMap::new();
    for (key, memory) in all {
        match steps.get(key) {
            None => memory.trouble = None,
            Some(steps) => {
                if let Some(failure) = memory.standing_failure(steps, now) {
                    failed.insert(key.clone(), failure.clone());
                }
            }
        }
    }
    plan.steps.retain(|step| !failed.contains_key(&step.key));
    failed
}

/// New failures go into memory, so that they are not repeated hot. What waits for an end of a binding, or for a user,
/// does not need that: it is no step again until that is there.
pub(super) fn note(
    all: &mut Memories,
    owned: &Owned,
    plan: &Plan,
    new: BTreeMap<ObjectKey, Failure>,
    failed: &mut BTreeMap<ObjectKey, Failure>,
) {
    let now = Instant::now();
    let mut steps: BTreeMap<&ObjectKey, Vec<Operation>> = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| new.contains_key(&step.key)) {
        steps.entry(&step.key).or_default().push(step.operation.clone());
    }
    for (key, mut failure) in new {
        if failure.reason == Reason::Mismatch && owned.get(&key).is_some_and(|owned| !owned.is_empty()) {
            failure.reason = Reason::Immutable;
        }
        let waits = matches!(
            failure.reason,
            Reason::WaitingForSource | Reason::WaitingForDestination | Reason::WaitingForUser
        );
        if let (Some(memory), false) = (all.get_mut(&key), waits) {
            memory.fail(steps.remove(&key).unwrap_or_default(), failure.clone(), now);
        }
        failed.insert(key, failure);
    }
}

/// The time when the first of them is due.
pub(super) fn due(all: &Memories) -> Option<Instant> {
    let troubles = all.values().filter_map(|memory| memory.trouble.as_ref());
    troubles.map(|trouble| trouble.due).min()
}

/// Takes in an event; true when something is worth another try because of it. A virtual host that goes may have taken
/// along what was being done in it, or to it; one that comes is what others waited for.
pub(super) fn hear(all: &mut Memories, event: &Event) -> bool {
    match event {
        Event::VhostCreated(name) => vhost_came(all, &name.name),
        Event::VhostDeleted(name) => {
            let itself = Identity::Vhost(name.clone());
            try_again(all, |step| step.vhost() == name.name || step.identity() == itself)
        }
        _ => false,
    }
}

/// A virtual host stands now; true when something is worth another try because of it.
pub(super) fn vhost_came(all: &mut Memories, name: &str) -> bool {
    try_again(all, |step| step.vhost() == name)
}

fn try_again(all: &mut Memories, concerns: impl Fn(&Operation) -> bool) -> bool {
    let troubles = all.values_mut().filter_map(|memory| memory.trouble.as_mut());
    let mut any = false;
    for trouble in troubles.filter(|trouble| trouble.steps.iter().any(&concerns)) {
        trouble.due = Instant::now();
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::apply::Retry;
    use super::super::memory::Memory;
    use super::*;
    use crate::object::{Kind, Meta};
    use crate::topology::vhost::VhostDefinition;
    use crate::topology::{Declared, Name, Named, QueueDefinition};

    fn shop() -> Name {
        Name::new("", "shop")
    }

    /// A virtual host, a queue in it and one elsewhere, none of which is due.
    fn failed() -> Memories {
        let queue = |vhost: &str| Declared::Queue(Named::new(Name::new(vhost, "till"), QueueDefinition::default()));
        let steps = [
            Declared::Vhost(Named::new(shop(), VhostDefinition::default())),
            queue("shop"),
            queue("/"),
        ];
        let failure = Failure {
            reason: Reason::WaitingForVhost,
            message: String::new(),
            retry: Retry::Rarely,
        };
        let names = ["vhost", "inside", "elsewhere"];
        let all = names.into_iter().zip(steps).map(|(name, step)| {
            let key = ObjectKey::new(Kind::Queue, "shop", name);
            let mut memory = Memory::new(&Meta::fresh(key.clone()));
            let long_hence = Instant::now() + Duration::from_secs(60);
            memory.fail(vec![Operation::Declare(step)], failure.clone(), long_hence);
            (key, memory)
        });
        all.collect()
    }

    fn due_of(all: &Memories) -> Vec<&str> {
        let is_due = |memory: &Memory| {
            memory
                .trouble
                .as_ref()
                .is_some_and(|trouble| trouble.due <= Instant::now())
        };
        let due = all.iter().filter(|(_, memory)| is_due(memory));
        due.map(|(key, _)| key.name.as_str()).collect()
    }

    #[test]
    fn what_a_virtual_host_took_along_or_brings_is_due() {
        let mut all = failed();
        assert!(!hear(&mut all, &Event::QueueDeleted(shop())) && due_of(&all).is_empty());
        assert!(!hear(&mut all, &Event::VhostCreated(Name::new("", "other"))) && due_of(&all).is_empty());
        assert!(hear(&mut all, &Event::VhostCreated(shop())));
        assert_eq!(due_of(&all), ["inside"], "its own failure is none of its absence");
        let mut all = failed();
        assert!(vhost_came(&mut all, "shop"));
        assert_eq!(due_of(&all), ["inside"]);
        let mut all = failed();
        assert!(hear(&mut all, &Event::VhostDeleted(shop())));
        assert_eq!(due_of(&all), ["inside", "vhost"]);
        assert!(due(&all).is_some_and(|due| due <= Instant::now()));
    }
}
