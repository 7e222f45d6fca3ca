//! Step 4 (pure): what must be done so that the broker stands as desired, and what cannot be done.
//!
//! In: [`Desired`], the observed [`Topology`], and what each resource owns. Out: [`Plan`], with its steps in the order
//! in which they must happen. Does not know about calls, failures, or statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Deletion, Desired, Item, Standing, Thing, describe};
use crate::object::{ObjectKey, Reason};
use crate::resource::AdoptionPolicy;
use crate::topology::{
    Arguments, BindingDefinition, End, ExchangeDefinition, Identity, Name, Operation, QueueDefinition, Topology,
};

/// What resources own on the broker, as far as they own anything. A binding that is being edited owns two for a while.
pub type Owned = BTreeMap<ObjectKey, BTreeSet<Identity>>;

/// One operation, and for which resource it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub key: ObjectKey,
    pub operation: Operation,
}

/// Parts of a plan; all steps of one phase may go at once, the next phase needs the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Exchanges,
    Queues,
    Binds,
    Unbinds,
    QueueDeletions,
    ExchangeDeletions,
}

impl Step {
    pub fn phase(&self) -> Phase {
        match self.operation {
            Operation::DeclareExchange(..) => Phase::Exchanges,
            Operation::DeclareQueue(..) => Phase::Queues,
            Operation::Bind(_) => Phase::Binds,
            Operation::Unbind(_) => Phase::Unbinds,
            Operation::DeleteQueue { .. } => Phase::QueueDeletions,
            Operation::DeleteExchange { .. } => Phase::ExchangeDeletions,
        }
    }

    /// Creates rather than takes away: needs the finalizer first.
    pub fn creates(&self) -> bool {
        self.phase() <= Phase::Binds
    }
}

/// What is to be said of a resource, unless a step for it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker has (after the steps) what the resource wants, and the resource owns it.
    Synced(Identity),
    /// Nothing can be done now, or ever; what it owned stays owned.
    Not(Reason, String),
    /// The resource owns nothing (any more), because another does or must decide.
    Disowned(Reason, String),
    /// The resource may go; with a text when something stays on the broker that a user may not expect there.
    Released(Option<String>),
}

/// What to do, in order, and what to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Sorted by [`Phase`].
    pub steps: Vec<Step>,
    pub verdicts: BTreeMap<ObjectKey, Verdict>,
}

/// Compares what should stand with what stands.
pub fn difference(desired: &Desired, observed: &Topology, owned: &Owned) -> Plan {
    let coming = coming(desired, observed);
    let context = Context {
        desired,
        observed,
        coming: &coming,
    };
    let nothing = BTreeSet::new();
    let mut plan = Plan::default();
    for item in &desired.items {
        let mine = owned.get(&item.key).unwrap_or(&nothing);
        let verdict = match &item.standing {
            Standing::Wanted(thing) => context.wanted(item, thing, mine, &mut plan.steps),
            Standing::Leaving { .. } => context.leaving(item, mine, &mut plan.steps),
            Standing::Paused => Verdict::Not(Reason::Paused, "paused: nothing is done for it".to_owned()),
            Standing::Refused(Reason::Conflict, message) => Verdict::Disowned(Reason::Conflict, message.clone()),
            Standing::Refused(reason, message) => Verdict::Not(*reason, message.clone()),
        };
        plan.verdicts.insert(item.key.clone(), verdict);
    }
    plan.steps.sort_by_key(Step::phase);
    plan
}

/// Queues and exchanges that this plan creates: a binding to them can follow in the same plan.
fn coming<'a>(desired: &'a Desired, observed: &Topology) -> BTreeSet<(End, &'a Name)> {
    let wanted = desired.items.iter().filter_map(|item| match &item.standing {
        Standing::Wanted(Thing::Exchange(name, _)) => Some((End::Exchange, name)),
        Standing::Wanted(Thing::Queue(name, _)) => Some((End::Queue, name)),
        _ => None,
    });
    wanted.filter(|(end, name)| !observed.has_end(*end, name)).collect()
}

struct Context<'a> {
    desired: &'a Desired,
    observed: &'a Topology,
    coming: &'a BTreeSet<(End, &'a Name)>,
}

impl Context<'_> {
    fn wanted(&self, item: &Item, thing: &Thing, mine: &BTreeSet<Identity>, steps: &mut Vec<Step>) -> Verdict {
        let identity = thing.identity();
        let owns = mine.contains(&identity);
        if let Thing::Binding(binding) = thing {
            return self.wanted_binding(item, binding, mine, steps);
        }
        if let (false, Some(other)) = (owns, mine.first()) {
            let message = format!(
                "it is {} and cannot become {}: the name cannot change, make a new resource",
                describe(other),
                describe(&identity)
            );
            return Verdict::Not(Reason::Immutable, message);
        }
        let (found, differences, operation) = match thing {
            Thing::Exchange(name, wanted) => {
                let found = self.observed.exchanges.get(name);
                let differences = found.map(|found| exchange_differences(wanted, found));
                let operation = Operation::DeclareExchange(name.clone(), wanted.clone());
                (found.is_some(), differences.unwrap_or_default(), operation)
            }
            Thing::Queue(name, wanted) => {
                let found = self.observed.queues.get(name);
                let differences = found.map(|found| queue_differences(wanted, found));
                let operation = Operation::DeclareQueue(name.clone(), wanted.clone());
                (found.is_some(), differences.unwrap_or_default(), operation)
            }
            Thing::Binding(_) => return Verdict::Synced(identity),
        };
        if !found {
            steps.push(Step {
                key: item.key.clone(),
                operation,
            });
            return Verdict::Synced(identity);
        }
        settle(item.adoption, owns, differences, identity)
    }

    /// A binding has no properties beside its identity: an edit adds the new one, then takes the old one away.
    fn wanted_binding(
        &self,
        item: &Item,
        binding: &BindingDefinition,
        mine: &BTreeSet<Identity>,
        steps: &mut Vec<Step>,
    ) -> Verdict {
        let identity = Identity::Binding(binding.clone());
        if !self.observed.bindings.contains(binding) {
            let source = binding.source_name();
            let destination = binding.destination_name();
            let stands = |end, name| self.observed.has_end(end, name) || self.coming.contains(&(end, name));
            if !stands(End::Exchange, &source) {
                return Verdict::Not(
                    Reason::WaitingForSource,
                    format!("{} does not exist", describe(&Identity::Exchange(source))),
                );
            }
            if !stands(binding.end, &destination) {
                let end = match binding.end {
                    End::Exchange => Identity::Exchange(destination),
                    End::Queue => Identity::Queue(destination),
                };
                return Verdict::Not(
                    Reason::WaitingForDestination,
                    format!("{} does not exist", describe(&end)),
                );
            }
            steps.push(Step {
                key: item.key.clone(),
                operation: Operation::Bind(binding.clone()),
            });
        }
        for old in mine.iter().filter(|old| **old != identity) {
            steps.extend(self.removal(item, old));
        }
        Verdict::Synced(identity)
    }

    fn leaving(&self, item: &Item, mine: &BTreeSet<Identity>, steps: &mut Vec<Step>) -> Verdict {
        if item.deletion != Deletion::Retain {
            for owned in mine {
                steps.extend(self.removal(item, owned));
            }
        }
        Verdict::Released(None)
    }

    /// How something owned is taken away; `None` when it is gone already, when another resource has claimed it
    /// meanwhile (and takes it over), or when it is the broker's own.
    fn removal(&self, item: &Item, owned: &Identity) -> Option<Step> {
        if self.desired.claims.get(owned).is_some_and(|owner| *owner != item.key) {
            return None;
        }
        let free = item.deletion == Deletion::DeleteIfFree;
        let operation = match owned {
            Identity::Queue(name) => {
                (self.observed.queues.contains_key(name) && !name.is_reserved()).then(|| Operation::DeleteQueue {
                    name: name.clone(),
                    if_empty: free,
                })
            }
            Identity::Exchange(name) => {
                (self.observed.exchanges.contains_key(name) && !name.is_reserved()).then(|| Operation::DeleteExchange {
                    name: name.clone(),
                    if_unused: free,
                })
            }
            Identity::Binding(binding) => self
                .observed
                .bindings
                .contains(binding)
                .then(|| Operation::Unbind(binding.clone())),
        };
        operation.map(|operation| Step {
            key: item.key.clone(),
            operation,
        })
    }
}

/// A queue or exchange that stands: whose is it, and is it as wanted?
fn settle(adoption: AdoptionPolicy, owns: bool, differences: Vec<String>, identity: Identity) -> Verdict {
    let what = describe(&identity);
    match (owns, adoption, differences.is_empty()) {
        (true, _, true) | (false, AdoptionPolicy::IfEqual | AdoptionPolicy::Always, true) => Verdict::Synced(identity),
        (true, ..) | (false, AdoptionPolicy::Always, false) => Verdict::Not(
            Reason::Immutable,
            format!("{what} cannot be changed in place: {}", differences.join("; ")),
        ),
        (false, AdoptionPolicy::IfEqual, false) => Verdict::Disowned(
            Reason::Mismatch,
            format!("{what} exists and differs: {}", differences.join("; ")),
        ),
        (false, AdoptionPolicy::Never, _) => Verdict::Disowned(
            Reason::Mismatch,
            format!("{what} exists already, and adoptionPolicy is Never"),
        ),
    }
}

fn queue_differences(wanted: &QueueDefinition, found: &QueueDefinition) -> Vec<String> {
    let mut list = Vec::new();
    compare(&mut list, "durable", &wanted.durable, &found.durable);
    compare(&mut list, "autoDelete", &wanted.auto_delete, &found.auto_delete);
    compare(&mut list, "exclusive", &wanted.exclusive, &found.exclusive);
    compare_arguments(&mut list, wanted.arguments(), found.arguments());
    list
}

fn exchange_differences(wanted: &ExchangeDefinition, found: &ExchangeDefinition) -> Vec<String> {
    let mut list = Vec::new();
    compare(&mut list, "type", &wanted.kind, &found.kind);
    compare(&mut list, "durable", &wanted.durable, &found.durable);
    compare(&mut list, "autoDelete", &wanted.auto_delete, &found.auto_delete);
    compare(&mut list, "internal", &wanted.internal, &found.internal);
    compare_arguments(&mut list, &wanted.arguments, &found.arguments);
    list
}

fn compare<T: PartialEq + std::fmt::Display>(list: &mut Vec<String>, field: &str, wanted: &T, found: &T) {
    if wanted != found {
        list.push(format!("{field} is {found} on the broker, wanted {wanted}"));
    }
}

fn compare_arguments(list: &mut Vec<String>, wanted: &Arguments, found: &Arguments) {
    let names: BTreeSet<&str> = wanted.iter().chain(found.iter()).map(|(name, _)| name).collect();
    for name in names {
        let show = |arguments: &Arguments| match arguments.get(name) {
            None if name == "x-queue-type" => "\"classic\"".to_owned(),
            None => "not set".to_owned(),
            Some(value) => value.to_string(),
        };
        compare(list, name, &show(wanted), &show(found));
    }
}

#[cfg(test)]
mod tests;
