//! (pure) Drift: what a resource owned, is missing on the broker, and is put back; and how that is told.
//!
//! In: a plan, what stands, what is owned. Out: what the plan repairs, and notices for users once it is done.
//! Does not know about how a plan is carried out, or where notices go.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::Owned;
use super::difference::Plan;
use crate::object::{Kind, ObjectKey, QueueNumbers};
use crate::topology::{Declared, Effect, Identity, Operation, Topology};

/// Reasons of events.
pub(super) const REPAIRED: &str = "DriftRepaired";
pub(super) const EMPTIED: &str = "BrokerEmptied";

/// The repairs in a plan.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    gone: BTreeSet<(ObjectKey, Identity)>,
    /// Nothing of what was owned stands any more.
    emptied: bool,
}

/// Something to tell of a resource, or of the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) about: ObjectKey,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

impl Repairs {
    /// The things that `plan` puts back. What goes by itself, unused or with its last consumer, is no drift. `first`:
    /// the broker was listed for the first time on this connection.
    pub(super) fn of(plan: &Plan, stands: &Topology, owned: &Owned, first: bool) -> Self {
        let repaired = plan.steps.iter().filter_map(|step| match &step.operation {
            Operation::Declare(declared) if !declared.goes_by_itself() => {
                let identity = declared.identity();
                let owns = owned.get(&step.key).is_some_and(|owned| owned.contains(&identity));
                (owns && !stands.contains(&identity)).then(|| (step.key.clone(), identity))
            }
            _ => None,
        });
        let gone: BTreeSet<_> = repaired.collect();
        let mut all = owned.values().flatten();
        let emptied = first && gone.len() > 1 && all.all(|identity| !stands.contains(identity));
        Self { gone, emptied }
    }

    /// True when nothing of what was owned stood any more.
    pub(super) fn is_emptied(&self) -> bool {
        self.emptied
    }

    /// The part of it that was carried out.
    pub(super) fn done<'a>(mut self, effects: impl Iterator<Item = (&'a ObjectKey, &'a Effect)>) -> Self {
        let stands: BTreeSet<_> = effects
            .filter(|(_, effect)| effect.stands)
            .map(|(key, effect)| (key.clone(), effect.identity.clone()))
            .collect();
        self.gone.retain(|repaired| stands.contains(repaired));
        self
    }

    /// Kinds of what was put back.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.gone.iter().map(|(key, _)| key.kind)
    }

    /// The things to tell: one notice for each resource, or one for a broker that had nothing left. `numbers`: what
    /// queues were last known to hold.
    pub(super) fn notices(&self, broker: &ObjectKey, numbers: &BTreeMap<&ObjectKey, &QueueNumbers>) -> Vec<Notice> {
        let held = |key: &ObjectKey| numbers.get(key).map_or(0, |numbers| numbers.messages);
        if self.emptied {
            let lost: u64 = self.gone.iter().map(|(key, _)| held(key)).sum();
            let text = format!(
                "nothing stood on the broker any more of what had been declared there: its disk is empty, or it is \
                 another broker. {} objects were put back{}",
                self.gone.len(),
                lost_messages(lost, "their queues")
            );
            return vec![Notice {
                about: broker.clone(),
                reason: EMPTIED,
                text,
            }];
        }
        let notice = |(key, identity): &(ObjectKey, Identity)| Notice {
            about: key.clone(),
            reason: REPAIRED,
            text: format!(
                "{identity} was gone from the broker and was put back{}",
                lost_messages(held(key), "it")
            ),
        };
        self.gone.iter().map(notice).collect()
    }
}

fn lost_messages(count: u64, place: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("; 1 message that was in {place} when it was last looked at is lost"),
        count => format!("; {count} messages that were in {place} when it was last looked at are lost"),
    }
}

impl Declared {
    /// The broker takes it away by itself: unused for a time, with its last consumer, with its last binding. That it is
    /// gone is then no drift.
    fn goes_by_itself(&self) -> bool {
        match self {
            Declared::Queue(queue) => {
                queue.definition.auto_delete || queue.definition.arguments().get("x-expires").is_some()
            }
            Declared::Exchange(exchange) => exchange.definition.auto_delete,
            Declared::Vhost(_)
            | Declared::User(_)
            | Declared::Permission(_)
            | Declared::TopicPermission(_)
            | Declared::OperatorPolicy(_)
            | Declared::Policy(_)
            | Declared::Binding(_)
            | Declared::ZeroMqSocket(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::difference::Step;
    use super::*;
    use crate::topology::{Name, Named, QueueDefinition};

    fn queue(name: &str, auto_delete: bool, arguments: serde_json::Value) -> Declared {
        let arguments = serde_json::from_value(arguments).expect("arguments");
        let definition = QueueDefinition::new(true, auto_delete, false, arguments);
        Declared::Queue(Named::new(Name::new("/", name), definition))
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Queue, "shop", name)
    }

    fn broker() -> ObjectKey {
        ObjectKey::new(Kind::Broker, "shop", "main")
    }

    /// A plan that declares queues which all are owned.
    fn plan(queues: &[(&str, Declared)]) -> (Plan, Owned) {
        let steps = queues.iter().map(|(name, declared)| Step {
            key: key(name),
            operation: Operation::Declare(declared.clone()),
        });
        let owned = queues
            .iter()
            .map(|(name, declared)| (key(name), BTreeSet::from([declared.identity()])));
        let plan = Plan {
            steps: steps.collect(),
            ..Plan::default()
        };
        (plan, owned.collect())
    }

    #[test]
    fn what_goes_by_itself_is_no_drift() {
        let (plan, owned) = plan(&[
            ("a", queue("a", false, json!({}))),
            ("b", queue("b", true, json!({}))),
            ("c", queue("c", false, json!({"x-expires": 5000}))),
        ]);
        let repairs = Repairs::of(&plan, &Topology::default(), &owned, false);
        let numbers = QueueNumbers {
            messages: 5,
            ..QueueNumbers::default()
        };
        let key = key("a");
        let numbers = BTreeMap::from([(&key, &numbers)]);
        assert_eq!(repairs.kinds().collect::<Vec<_>>(), [Kind::Queue]);
        let notices = repairs.notices(&broker(), &numbers);
        assert_eq!(
            notices,
            [Notice {
                about: key.clone(),
                reason: REPAIRED,
                text:
                    "queue 'a' was gone from the broker and was put back; 5 messages that were in it when it was last \
                       looked at are lost"
                        .to_owned(),
            }]
        );
    }

    #[test]
    fn a_broker_with_nothing_left_is_told_of_once() {
        let (plan, owned) = plan(&[("a", queue("a", false, json!({}))), ("b", queue("b", false, json!({})))]);
        let repairs = Repairs::of(&plan, &Topology::default(), &owned, true);
        let notices = repairs.notices(&broker(), &BTreeMap::new());
        assert_eq!((notices.len(), notices[0].reason), (1, EMPTIED));
        let mut stands = Topology::default();
        stands.insert(queue("a", false, json!({})));
        assert!(!Repairs::of(&plan, &stands, &owned, true).is_emptied());
        let by_hand = Repairs::of(&plan, &Topology::default(), &owned, false);
        assert!(!by_hand.is_emptied(), "one after the other, while it was looked at");
        let effect = Effect {
            identity: Identity::Queue(Name::new("/", "b")),
            stands: true,
        };
        let done = by_hand.done([(&key("b"), &effect)].into_iter());
        assert_eq!(done.notices(&broker(), &BTreeMap::new()).len(), 1, "only what was done");
    }
}
