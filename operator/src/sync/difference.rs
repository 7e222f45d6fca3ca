//! Step 4 (pure): what must be done so that the broker stands as desired, and what cannot be done.
//!
//! In: `Desired`, the observed `Topology`, and what each resource owns. Out: `Plan`, with its steps in the order
//! in which they must happen. Does not know about calls, failures, or statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, Item, Owned, Standing};
use crate::object::{ObjectKey, Reason};
use crate::resource::AdoptionPolicy;
use crate::topology::{Declared, Deletion, Identity, Need, Operation, Phase, Target, Topology};

/// One operation, and for which resource it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub key: ObjectKey,
    pub operation: Operation,
}

impl Step {
    pub fn phase(&self) -> Phase {
        self.operation.phase()
    }

    /// Creates rather than takes away: needs the finalizer first.
    pub fn creates(&self) -> bool {
        self.operation.declares()
    }
}

/// The verdict on a resource, unless a step for it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker has (after the steps) what the resource wants, and the resource owns it.
    Synced(Identity),
    /// The resource owns what stands (after the steps), which is not as it wants it: it cannot be changed, or a part
    /// waits for something.
    Kept(Identity, Reason, String),
    /// Nothing can be done now, or ever; what it owned stays owned.
    Not(Reason, String),
    /// The resource owns nothing (any more), because another does or must decide.
    Disowned(Reason, String),
    /// Nothing is said yet: a part of what it wants is still being looked for.
    Later,
    /// The resource may go; with a text when something stays on the broker that a user may not expect there.
    Released(Option<String>),
}

/// Things to do, in order, and things to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Sorted by [`Phase`].
    pub steps: Vec<Step>,
    pub verdicts: BTreeMap<ObjectKey, Verdict>,
}

impl Plan {
    /// Resources in the order of their first steps, those without steps last.
    pub fn in_order(&self, keys: impl Iterator<Item = ObjectKey>) -> Vec<ObjectKey> {
        let places = self.steps.iter().enumerate().rev();
        let places: BTreeMap<&ObjectKey, usize> = places.map(|(place, step)| (&step.key, place)).collect();
        let mut keys: Vec<ObjectKey> = keys.collect();
        keys.sort_by_key(|key| places.get(key).copied().unwrap_or(usize::MAX));
        keys
    }

    /// Nothing is done for these resources, and nothing is said of them.
    pub fn leave_out(&mut self, keys: &BTreeSet<ObjectKey>) {
        self.steps.retain(|step| !keys.contains(&step.key));
        self.verdicts.retain(|key, _| !keys.contains(key));
    }
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
            Standing::Wanted(declared) => context.part(item, declared, mine, &mut plan.steps),
            Standing::Waiting(reason, message) => Verdict::Not(*reason, message.clone()),
            Standing::Unknown => Verdict::Later,
            Standing::Leaving { .. } => context.leaving(item, mine, &mut plan.steps),
            Standing::Observed(declared) => context.observed(declared),
            Standing::Paused => Verdict::Not(Reason::Paused, "paused: nothing is done for it".to_owned()),
            Standing::Refused(Reason::Conflict, message) => Verdict::Disowned(Reason::Conflict, message.clone()),
            Standing::Refused(reason, message) => Verdict::Not(*reason, unkept(*reason, message, mine)),
        };
        plan.verdicts.insert(item.key.clone(), verdict);
    }
    plan.steps.sort_by_key(Step::phase);
    plan
}

/// Objects that this plan makes: what needs them can follow in the same plan.
fn coming(desired: &Desired, observed: &Topology) -> BTreeSet<Target> {
    let wanted = desired.items.iter().filter_map(|item| match &item.standing {
        Standing::Wanted(declared) => declared.identity().target(),
        _ => None,
    });
    wanted.filter(|target| !observed.has(target)).collect()
}

struct Context<'a> {
    desired: &'a Desired,
    observed: &'a Topology,
    coming: &'a BTreeSet<Target>,
}

impl Context<'_> {
    /// As much of an object as can be made.
    fn part(&self, item: &Item, declared: &Declared, mine: &BTreeSet<Identity>, steps: &mut Vec<Step>) -> Verdict {
        let (part, missing) = declared.within(self.observed, |target| self.coming.contains(target));
        match (self.wanted(item, &part, mine, steps), missing) {
            (Verdict::Synced(identity), Some(need)) => {
                let message = format!("{} does not exist: what {identity} has there waits for it", need.target);
                Verdict::Kept(identity, need.reason, message)
            }
            (verdict, _) => verdict,
        }
    }

    fn wanted(&self, item: &Item, declared: &Declared, mine: &BTreeSet<Identity>, steps: &mut Vec<Step>) -> Verdict {
        let identity = declared.identity();
        let owns = mine.contains(&identity);
        let others = || mine.iter().filter(|other| **other != identity);
        if let (false, false, Some(other)) = (declared.moves(), owns, others().next()) {
            let message =
                format!("it is {other} and cannot become {identity}: the name cannot change, make a new resource");
            return Verdict::Not(Reason::Immutable, message);
        }
        let differences = declared.differences(self.observed);
        let makes = match &differences {
            None => true,
            Some(differences) => declared.is_mutable() && !differences.is_empty(),
        };
        let verdict = match differences {
            None => match self.missing(declared) {
                Some(need) => Verdict::Not(need.reason, format!("{} does not exist", need.target)),
                None => Verdict::Synced(identity.clone()),
            },
            // What is only completed is not changed.
            Some(_) if !owns && declared.completes(self.observed) => settle(item.adoption, owns, &[], declared),
            Some(differences) => settle(item.adoption, owns, &differences, declared),
        };
        if !matches!(verdict, Verdict::Synced(_)) {
            return verdict;
        }
        if makes {
            steps.push(Step {
                key: item.key.clone(),
                operation: Operation::Declare(declared.clone()),
            });
        }
        // An edited binding: the new one is added, then the old one taken away.
        if declared.moves() {
            steps.extend(others().filter_map(|old| self.removal(item, old)));
        }
        verdict
    }

    /// The comparison alone.
    fn observed(&self, declared: &Declared) -> Verdict {
        const ONLY: &str = "observed, so nothing is done for it";
        let identity = declared.identity();
        match declared.differences(self.observed).as_deref() {
            None => Verdict::Not(
                Reason::Mismatch,
                format!("{identity} does not stand on the broker; {ONLY}"),
            ),
            Some([]) => Verdict::Not(Reason::Observed, format!("{identity} is as declared; {ONLY}")),
            Some(differences) => {
                let message = format!("{identity} differs: {}; {ONLY}", differences.join("; "));
                Verdict::Not(Reason::Mismatch, message)
            }
        }
    }

    /// The first of what an object needs that neither stands nor is about to be made.
    fn missing(&self, declared: &Declared) -> Option<Need> {
        let stands = |target: &Target| self.observed.has(target) || self.coming.contains(target);
        declared.needs().into_iter().find(|need| !stands(&need.target))
    }

    fn leaving(&self, item: &Item, mine: &BTreeSet<Identity>, steps: &mut Vec<Step>) -> Verdict {
        if item.paused {
            return Verdict::Released(left_while_paused(mine));
        }
        if item.deletion == Deletion::Retain {
            return Verdict::Released(None);
        }
        steps.extend(mine.iter().filter_map(|owned| self.removal(item, owned)));
        Verdict::Released(left_barred(item, mine))
    }

    /// The step that takes something owned away; `None` when it is gone already, when another resource has claimed it
    /// meanwhile (and takes it over), when the Broker lets it touch it no more, or when it is the broker's own.
    fn removal(&self, item: &Item, owned: &Identity) -> Option<Step> {
        if self.desired.is_others(owned, &item.key) || item.barred.contains_key(owned) {
            return None;
        }
        let reserved = owned.is_reserved() || self.desired.is_reserved(owned);
        (self.observed.contains(owned) && !reserved).then(|| Step {
            key: item.key.clone(),
            operation: Operation::Remove {
                identity: owned.clone(),
                if_free: item.deletion == Deletion::DeleteIfFree,
            },
        })
    }
}

/// The words for what a paused resource leaves on the broker, where it owns something.
pub fn left_while_paused(owned: &BTreeSet<Identity>) -> Option<String> {
    let stays: Vec<String> = owned.iter().map(Identity::to_string).collect();
    (!stays.is_empty()).then(|| {
        format!(
            "{} stays on the broker: nothing is done for what is paused",
            stays.join(", ")
        )
    })
}

/// The words for what a resource owns and may not touch any more, where there is any.
pub fn left_barred(item: &Item, owned: &BTreeSet<Identity>) -> Option<String> {
    let stays = |identity: &Identity| {
        let why = item.barred.get(identity)?;
        Some(format!("{identity} stays on the broker: {why}"))
    };
    let all: Vec<String> = owned.iter().filter_map(stays).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// A refusal, with what stands on the broker nevertheless because it came in before.
pub fn unkept(reason: Reason, message: &str, owned: &BTreeSet<Identity>) -> String {
    if reason != Reason::NotAllowed || owned.is_empty() {
        return message.to_owned();
    }
    let stays: Vec<String> = owned.iter().map(Identity::to_string).collect();
    format!(
        "{message}; {} stays on the broker and is not kept as declared",
        stays.join(", ")
    )
}

/// The verdict on an object that stands: whose is it, and is it as wanted?
fn settle(adoption: AdoptionPolicy, owns: bool, differences: &[String], declared: &Declared) -> Verdict {
    let identity = declared.identity();
    match (owns, adoption, differences.is_empty()) {
        (true, _, true) | (false, AdoptionPolicy::IfEqual | AdoptionPolicy::Always, true) => Verdict::Synced(identity),
        (true, ..) | (false, AdoptionPolicy::Always, false) if declared.is_mutable() => Verdict::Synced(identity),
        (true, ..) => Verdict::Not(
            Reason::Immutable,
            format!("{identity} cannot be changed in place: {}", differences.join("; ")),
        ),
        (false, AdoptionPolicy::Always, false) => {
            let message = format!("{identity} cannot be changed in place: {}", differences.join("; "));
            Verdict::Kept(identity, Reason::Immutable, message)
        }
        (false, AdoptionPolicy::IfEqual, false) => Verdict::Disowned(
            Reason::Mismatch,
            format!("{identity} exists and differs: {}", differences.join("; ")),
        ),
        (false, AdoptionPolicy::Never, _) => Verdict::Disowned(
            Reason::Mismatch,
            format!("{identity} exists already, and adoptionPolicy is Never"),
        ),
    }
}

#[cfg(test)]
mod tests;
