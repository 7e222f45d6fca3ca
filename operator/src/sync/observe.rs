//! Step 3 (pure part): what is known to stand on the broker, kept fresh by events.
//!
//! In: lists and `Event`s. Out: `Observed`. Does not know about resources or what is wanted.

use std::collections::BTreeSet;

use super::desired::Relevant;
use crate::broker::{BindingEvent, DEFAULT_VHOST, EVENTS, Event, Operation};
use crate::object::Kind;
use crate::topology::user::UserDefinition;
use crate::topology::{Arguments, BindingDefinition, End, Identity, Name, Target, Topology};

/// Most names that are remembered as created since the last list; beyond that the next pass lists again.
const MOST_UNLISTED: usize = 10_000;

/// True when an event is about something that resources depend on. On a shared broker most are not.
pub fn concerns(event: &Event, relevant: &Relevant) -> bool {
    let has = |kind, name: Name| relevant.contains(&Target::new(kind, name));
    match event {
        Event::VhostCreated(name) | Event::VhostUpdated(name) | Event::VhostDeleted(name) => {
            has(Kind::Vhost, name.clone())
        }
        Event::UserCreated(name)
        | Event::UserDeleted(name)
        | Event::UserSet(name)
        | Event::UserTagged(name, _)
        | Event::Permitted(name, ..)
        | Event::TopicPermitted(name, ..)
        | Event::TopicForbidden(name, _) => has(Kind::User, name.clone()),
        Event::QueueCreated(name) | Event::QueueDeleted(name) => has(Kind::Queue, name.clone()),
        Event::ExchangeCreated(name) | Event::ExchangeDeleted(name) => has(Kind::Exchange, name.clone()),
        Event::BindingCreated(binding) | Event::BindingDeleted(binding) => {
            let end = if binding.to_queue { Kind::Queue } else { Kind::Exchange };
            has(Kind::Exchange, Name::new(&binding.vhost, &binding.source))
                && has(end, Name::new(&binding.vhost, &binding.destination))
        }
        Event::PolicySet(name) => has(Kind::Policy, name.clone()) || has(Kind::OperatorPolicy, name.clone()),
        Event::PolicyCleared(name) => has(Kind::Policy, name.clone()),
        Event::OperatorPolicyCleared(name) => has(Kind::OperatorPolicy, name.clone()),
        Event::ZeroMqSocketSet(name) | Event::ZeroMqSocketCleared(name) => has(Kind::ZeroMqSocket, name.clone()),
        Event::Lost(_) => true,
    }
}

/// Knowledge of a broker.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub topology: Topology,
    /// Created by others since the last list; an event does not say their definition exactly.
    unlisted: BTreeSet<Target>,
    /// Something is known to be unknown: list before the next difference.
    stale: bool,
}

impl Observed {
    /// From a complete list.
    pub fn listed(topology: Topology) -> Self {
        Self {
            topology,
            ..Self::default()
        }
    }

    /// True when something that is asked for was changed in a way that only a list can show.
    pub fn needs_list(&self, relevant: &Relevant) -> bool {
        self.stale || self.unlisted.len() > MOST_UNLISTED || !self.unlisted.is_disjoint(relevant)
    }

    /// There is an exchange in which the broker tells of its changes.
    pub fn has_events(&self) -> bool {
        self.topology.exchanges.contains_key(&Name::new(DEFAULT_VHOST, EVENTS))
    }

    /// The broker's answer has not fitted since the last list.
    pub fn is_doubted(&self) -> bool {
        self.stale
    }

    /// The broker's answer did not fit to what was known.
    pub fn doubt(&mut self) {
        self.stale = true;
    }

    /// Takes in an event. The answer is whether something known has gone or something unknown has come: our own
    /// changes are known already, so their echo changes nothing.
    pub fn hear(&mut self, event: &Event) -> bool {
        match event {
            Event::VhostCreated(name) => self.appeared(Kind::Vhost, name),
            Event::VhostUpdated(name) => self.changed(Kind::Vhost, name),
            Event::VhostDeleted(name) => {
                self.unlisted.remove(&Target::new(Kind::Vhost, name.clone()));
                self.topology.remove(&Identity::Vhost(name.clone()))
            }
            Event::UserCreated(name) => self.appeared(Kind::User, name),
            Event::UserDeleted(name) => {
                self.unlisted.remove(&Target::new(Kind::User, name.clone()));
                self.topology.remove(&Identity::User(name.clone()))
            }
            Event::UserSet(name) => self.changed(Kind::User, name),
            Event::UserTagged(name, tags) => {
                let change = |user: &mut UserDefinition| std::mem::replace(&mut user.tags, tags.clone()) != *tags;
                self.of_user(name, change)
            }
            Event::Permitted(name, vhost, rights) => self.of_user(name, |user| match rights {
                Some(rights) => user.permissions.insert(vhost.clone(), rights.clone()).as_ref() != Some(rights),
                None => user.permissions.remove(vhost).is_some(),
            }),
            Event::TopicPermitted(name, place, rights) => self.of_user(name, |user| {
                user.topics.insert(place.clone(), rights.clone()).as_ref() != Some(rights)
            }),
            Event::TopicForbidden(name, vhost) => {
                let user = self.topology.users.get(name);
                let has = user.is_some_and(|user| user.topics.keys().any(|(of, _)| of == vhost));
                has && self.changed(Kind::User, name)
            }
            Event::QueueCreated(name) => self.appeared(Kind::Queue, name),
            Event::ExchangeCreated(name) => self.appeared(Kind::Exchange, name),
            Event::QueueDeleted(name) => {
                self.unlisted.remove(&Target::new(Kind::Queue, name.clone()));
                self.topology.remove(&Identity::Queue(name.clone()))
            }
            Event::ExchangeDeleted(name) => {
                self.unlisted.remove(&Target::new(Kind::Exchange, name.clone()));
                self.topology.remove(&Identity::Exchange(name.clone()))
            }
            Event::BindingCreated(event) => match definition(event) {
                Some(binding) => self.topology.bindings.insert(binding),
                None => false,
            },
            Event::BindingDeleted(event) => self.unbound(event),
            Event::PolicySet(name) => {
                self.changed(Kind::Policy, name);
                self.changed(Kind::OperatorPolicy, name)
            }
            Event::PolicyCleared(name) => self.topology.remove(&Identity::Policy(name.clone())),
            Event::OperatorPolicyCleared(name) => self.topology.remove(&Identity::OperatorPolicy(name.clone())),
            Event::ZeroMqSocketSet(name) => self.changed(Kind::ZeroMqSocket, name),
            Event::ZeroMqSocketCleared(name) => self.topology.remove(&Identity::ZeroMqSocket(name.clone())),
            Event::Lost(_) => false,
        }
    }

    /// Something is no longer as it is known.
    fn changed(&mut self, kind: Kind, name: &Name) -> bool {
        self.unlisted.insert(Target::new(kind, name.clone()));
        true
    }

    /// Changes what is known of a user, and says whether that was news; one that is not known has come.
    fn of_user(&mut self, name: &Name, change: impl FnOnce(&mut UserDefinition) -> bool) -> bool {
        match self.topology.users.get_mut(name) {
            Some(user) => change(user),
            None => self.appeared(Kind::User, name),
        }
    }

    fn appeared(&mut self, kind: Kind, name: &Name) -> bool {
        let target = Target::new(kind, name.clone());
        !self.topology.has(&target) && self.unlisted.insert(target)
    }

    /// With arguments, all bindings that it could be are taken for gone: making one again that stands is harmless.
    fn unbound(&mut self, event: &BindingEvent) -> bool {
        let before = self.topology.bindings.len();
        self.topology.bindings.retain(|binding| {
            binding.vhost != event.vhost
                || binding.source != event.source
                || binding.destination != event.destination
                || (binding.end == End::Queue) != event.to_queue
                || binding.routing_key != event.routing_key
                || binding.arguments.is_empty() == event.has_arguments
        });
        self.topology.bindings.len() != before
    }

    /// Takes in an operation that the broker has done for us.
    pub fn done(&mut self, operation: &Operation) {
        operation.apply(&mut self.topology);
    }
}

/// The binding that an event tells of; `None` with arguments, which an event does not tell exactly, and for the default
/// exchange, whose bindings are not made.
fn definition(event: &BindingEvent) -> Option<BindingDefinition> {
    (!event.has_arguments && !event.source.is_empty()).then(|| BindingDefinition {
        vhost: event.vhost.clone(),
        source: event.source.clone(),
        end: if event.to_queue { End::Queue } else { End::Exchange },
        destination: event.destination.clone(),
        routing_key: event.routing_key.clone(),
        arguments: Arguments::default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::topology::{Declared, Named, QueueDefinition};

    fn binding(key: &str, arguments: serde_json::Value) -> BindingDefinition {
        BindingDefinition {
            vhost: "/".to_owned(),
            source: "orders".to_owned(),
            end: End::Queue,
            destination: "invoices".to_owned(),
            routing_key: key.to_owned(),
            arguments: serde_json::from_value(arguments).unwrap(),
        }
    }

    fn event(key: &str, has_arguments: bool) -> BindingEvent {
        BindingEvent {
            vhost: "/".to_owned(),
            source: "orders".to_owned(),
            destination: "invoices".to_owned(),
            to_queue: true,
            routing_key: key.to_owned(),
            has_arguments,
        }
    }

    #[test]
    fn our_own_changes_are_known_already() {
        let mut observed = Observed::default();
        let name = Name::new("/", "invoices");
        let queue = Named::new(name.clone(), QueueDefinition::default());
        observed.done(&Operation::Declare(Declared::Queue(queue)));
        assert!(!observed.hear(&Event::QueueCreated(name.clone())));
        observed.done(&Operation::Declare(Declared::Binding(binding("a", json!({})))));
        assert!(!observed.hear(&Event::BindingCreated(event("a", false))));
        observed.done(&Operation::Remove {
            identity: Identity::Queue(name.clone()),
            if_free: true,
        });
        assert!(!observed.hear(&Event::QueueDeleted(name)));
    }

    #[test]
    fn what_others_create_is_listed_only_when_it_matters() {
        let mut observed = Observed::default();
        let name = Name::new("/", "theirs");
        let event = Event::QueueCreated(name.clone());
        assert!(observed.hear(&event));
        assert!(!observed.needs_list(&BTreeSet::new()) && !concerns(&event, &BTreeSet::new()));
        let relevant = BTreeSet::from([Target::new(Kind::Queue, name.clone())]);
        assert!(concerns(&event, &relevant));
        assert!(observed.needs_list(&relevant));
        observed.hear(&Event::QueueDeleted(name));
        assert!(!observed.needs_list(&relevant));
    }

    #[test]
    fn bindings_go_by_key_and_by_having_arguments() {
        let mut observed = Observed::default();
        let all = [
            binding("a", json!({})),
            binding("a", json!({"x": 1})),
            binding("a", json!({"x": 2})),
            binding("b", json!({})),
        ];
        observed.topology.bindings.extend(all.clone());
        assert!(observed.hear(&Event::BindingDeleted(event("a", false))));
        assert_eq!(observed.topology.bindings.len(), 3);
        assert!(observed.hear(&Event::BindingDeleted(event("a", true))));
        assert_eq!(observed.topology.bindings, BTreeSet::from([binding("b", json!({}))]));
        assert!(!observed.hear(&Event::BindingDeleted(event("a", true))));
    }
}
