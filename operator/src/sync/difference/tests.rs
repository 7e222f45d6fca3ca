//! Plans: tables, and the property that a plan leads to what is desired.

use std::cmp::Reverse;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object::Kind;
use crate::sync::observe::Observed;
use crate::topology::{Arguments, BindingDefinition, End, ExchangeDefinition, Name, Named, QueueDefinition};

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "shop", name)
}

fn item(kind: Kind, name: &str, standing: Standing) -> Item {
    Item {
        key: key(kind, name),
        uid: name.to_owned(),
        generation: 1,
        finalized: true,
        paused: false,
        deletion: if kind == Kind::Queue {
            Deletion::DeleteIfFree
        } else {
            Deletion::Delete
        },
        adoption: AdoptionPolicy::IfEqual,
        secret: None,
        standing,
        barred: Default::default(),
    }
}

fn queue(max_length: Option<i64>) -> QueueDefinition {
    let arguments = match max_length {
        Some(length) => serde_json::from_value(json!({"x-max-length": length})).unwrap(),
        None => Arguments::default(),
    };
    QueueDefinition::new(true, false, false, arguments)
}

fn binding(source: &str, queue: &str, key: &str) -> BindingDefinition {
    BindingDefinition {
        vhost: "/".to_owned(),
        source: source.to_owned(),
        end: End::Queue,
        destination: queue.to_owned(),
        routing_key: key.to_owned(),
        arguments: Arguments::default(),
    }
}

fn name(name: &str) -> Name {
    Name::new("/", name)
}

fn wanted(items: Vec<Item>) -> Desired {
    let claims = items.iter().filter_map(|item| match &item.standing {
        Standing::Wanted(thing) => Some((thing.identity(), item.key.clone())),
        _ => None,
    });
    Desired {
        claims: claims.collect(),
        items,
        wholes: Default::default(),
        reserved: None,
    }
}

fn owns(key: &ObjectKey, identities: &[Identity]) -> Owned {
    Owned::from([(key.clone(), identities.iter().cloned().collect())])
}

#[test]
fn what_others_need_has_its_turn_first() {
    let make = |name: &str, target| Step {
        key: key(Kind::Queue, name),
        operation: target,
    };
    let declare = Operation::Declare(Declared::Queue(Named::new(name("q"), queue(None))));
    let bind = Operation::Declare(Declared::Binding(binding("x", "q", "k")));
    let mut plan = Plan::default();
    for (of, step) in [
        ("queue", &declare),
        ("both", &declare),
        ("both", &bind),
        ("binding", &bind),
    ] {
        plan.steps.push(make(of, step.clone()));
        let verdict = Verdict::Synced(step.identity());
        plan.verdicts.insert(key(Kind::Queue, of), verdict);
    }
    let keys = |names: &[&str]| -> Vec<ObjectKey> { names.iter().map(|name| key(Kind::Queue, name)).collect() };
    let ordered = plan.in_order(keys(&["binding", "adopted", "both", "queue"]).into_iter());
    assert_eq!(ordered, keys(&["queue", "both", "binding", "adopted"]));
    plan.leave_out(&keys(&["both", "binding"]).into_iter().collect());
    assert_eq!((plan.steps.len(), plan.verdicts.len()), (1, 1));
}

#[test]
fn steps_come_in_order() {
    let desired = wanted(vec![
        item(
            Kind::Binding,
            "b",
            Standing::Wanted(Declared::Binding(binding("x", "q", "k"))),
        ),
        item(
            Kind::Queue,
            "q",
            Standing::Wanted(Declared::Queue(Named::new(name("q"), queue(None)))),
        ),
        item(
            Kind::Exchange,
            "x",
            Standing::Wanted(Declared::Exchange(Named::new(name("x"), ExchangeDefinition::default()))),
        ),
        item(Kind::Exchange, "old", leaving_standing()),
        item(Kind::Queue, "old", leaving_standing()),
        item(Kind::Binding, "old", leaving_standing()),
    ]);
    let old_binding = binding("old", "old", "");
    let mut observed = Topology::default();
    observed.exchanges.insert(name("old"), ExchangeDefinition::default());
    observed.queues.insert(name("old"), queue(None));
    observed.bindings.insert(old_binding.clone());
    let mut owned = owns(&key(Kind::Exchange, "old"), &[Identity::Exchange(name("old"))]);
    owned.extend(owns(&key(Kind::Queue, "old"), &[Identity::Queue(name("old"))]));
    owned.extend(owns(&key(Kind::Binding, "old"), &[Identity::Binding(old_binding)]));
    let plan = difference(&desired, &observed, &owned);
    let phases: Vec<Phase> = plan.steps.iter().map(Step::phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Declare(Kind::Exchange),
            Phase::Declare(Kind::Queue),
            Phase::Declare(Kind::Binding),
            Phase::Remove(Reverse(Kind::Binding)),
            Phase::Remove(Reverse(Kind::Queue)),
            Phase::Remove(Reverse(Kind::Exchange)),
        ]
    );
}

#[test]
fn what_stands_already() {
    use AdoptionPolicy::{Always, IfEqual, Never};
    let identity = Identity::Queue(name("q"));
    for (adoption, owned, found, reason) in [
        (IfEqual, false, None, None),
        (IfEqual, false, Some(5), Some(Reason::Mismatch)),
        (Always, false, None, None),
        (Always, false, Some(5), Some(Reason::Immutable)),
        (Never, false, None, Some(Reason::Mismatch)),
        (Never, true, None, None),
        (IfEqual, true, Some(5), Some(Reason::Immutable)),
    ] {
        let mut item = item(
            Kind::Queue,
            "q",
            Standing::Wanted(Declared::Queue(Named::new(name("q"), queue(None)))),
        );
        item.adoption = adoption;
        let mut observed = Topology::default();
        observed.queues.insert(name("q"), queue(found));
        let key = item.key.clone();
        let owned = if owned {
            owns(&key, std::slice::from_ref(&identity))
        } else {
            Owned::new()
        };
        let plan = difference(&wanted(vec![item]), &observed, &owned);
        assert_eq!(plan.steps, [], "{adoption:?}");
        let verdict = plan.verdicts[&key].clone();
        let said = match &verdict {
            Verdict::Synced(_) => None,
            Verdict::Not(reason, _) | Verdict::Disowned(reason, _) | Verdict::Kept(_, reason, _) => Some(*reason),
            Verdict::Released(_) | Verdict::Later => panic!("{verdict:?}"),
        };
        assert_eq!(said, reason, "{adoption:?} {found:?}");
        if (adoption, found) == (Always, Some(5)) {
            assert!(
                matches!(verdict, Verdict::Kept(..)),
                "it is taken over, and goes with the resource"
            );
        }
        if reason == Some(Reason::Mismatch) {
            assert!(
                matches!(verdict, Verdict::Disowned(..)),
                "what is not ours must not be deleted with us"
            );
        }
    }
}

#[test]
fn differences_name_the_fields() {
    let item = item(
        Kind::Queue,
        "q",
        Standing::Wanted(Declared::Queue(Named::new(name("q"), queue(Some(5))))),
    );
    let mut observed = Topology::default();
    let arguments = serde_json::from_value(json!({"x-max-length": 7, "x-queue-type": "quorum"})).unwrap();
    observed
        .queues
        .insert(name("q"), QueueDefinition::new(false, false, false, arguments));
    let plan = difference(&wanted(vec![item]), &observed, &Owned::new());
    let Verdict::Disowned(_, message) = &plan.verdicts[&key(Kind::Queue, "q")] else {
        panic!("{plan:?}")
    };
    assert_eq!(
        message,
        "queue 'q' exists and differs: durable is false on the broker, wanted true; \
         x-max-length is 7 on the broker, wanted 5; x-queue-type is \"quorum\" on the broker, wanted \"classic\""
    );
}

#[test]
fn a_binding_waits_for_its_ends() {
    let item = item(
        Kind::Binding,
        "b",
        Standing::Wanted(Declared::Binding(binding("x", "q", "k"))),
    );
    let mut observed = Topology::default();
    let reason = |observed: &Topology| {
        let plan = difference(&wanted(vec![item.clone()]), observed, &Owned::new());
        match &plan.verdicts[&item.key] {
            Verdict::Not(reason, message) => Some((*reason, message.clone(), plan.steps.len())),
            _ => None,
        }
    };
    assert_eq!(
        reason(&observed),
        Some((Reason::WaitingForSource, "exchange 'x' does not exist".to_owned(), 0))
    );
    observed.exchanges.insert(name("x"), ExchangeDefinition::default());
    assert_eq!(
        reason(&observed),
        Some((Reason::WaitingForDestination, "queue 'q' does not exist".to_owned(), 0))
    );
    observed.queues.insert(name("q"), queue(None));
    assert_eq!(reason(&observed), None);
}

#[test]
fn an_edited_binding_is_added_before_the_old_one_goes() {
    let (old, new) = (binding("x", "q", "old"), binding("x", "q", "new"));
    let item = item(Kind::Binding, "b", Standing::Wanted(Declared::Binding(new.clone())));
    let mut observed = Topology::default();
    observed.exchanges.insert(name("x"), ExchangeDefinition::default());
    observed.queues.insert(name("q"), queue(None));
    observed.bindings.insert(old.clone());
    let owned = owns(&item.key, &[Identity::Binding(old.clone())]);
    let operations = |desired: &Desired, observed: &Topology| -> Vec<Operation> {
        let plan = difference(desired, observed, &owned);
        plan.steps.into_iter().map(|step| step.operation).collect()
    };
    let mut desired = wanted(vec![item]);
    assert_eq!(
        operations(&desired, &observed),
        [
            Operation::Declare(Declared::Binding(new.clone())),
            Operation::Remove {
                identity: Identity::Binding(old.clone()),
                if_free: false
            }
        ]
    );
    // Another resource wants the old one: it stays.
    desired
        .claims
        .insert(Identity::Binding(old.clone()), key(Kind::Binding, "other"));
    assert_eq!(
        operations(&desired, &observed),
        [Operation::Declare(Declared::Binding(new.clone()))]
    );
    // As long as the new one cannot be made, the old one stays too.
    let mut waiting = desired.clone();
    waiting.claims.clear();
    observed.queues.clear();
    observed.bindings = BTreeSet::from([old]);
    assert_eq!(operations(&waiting, &observed), []);
}

#[test]
fn what_leaves_takes_along_what_it_owns() {
    let identity = Identity::Queue(name("q"));
    let mut observed = Topology::default();
    observed.queues.insert(name("q"), queue(None));
    for (deletion, owned, stands, claimed, expected) in [
        (Deletion::DeleteIfFree, true, true, false, Some(true)),
        (Deletion::Delete, true, true, false, Some(false)),
        (Deletion::Retain, true, true, false, None),
        (Deletion::Delete, false, true, false, None),
        (Deletion::Delete, true, false, false, None),
        (Deletion::Delete, true, true, true, None),
    ] {
        let mut item = item(Kind::Queue, "q", leaving_standing());
        item.deletion = deletion;
        let key = item.key.clone();
        let mut desired = wanted(vec![item]);
        if claimed {
            desired
                .claims
                .insert(identity.clone(), ObjectKey::new(Kind::Queue, "shop", "heir"));
        }
        let owned = if owned {
            owns(&key, std::slice::from_ref(&identity))
        } else {
            Owned::new()
        };
        let observed = if stands { observed.clone() } else { Topology::default() };
        let plan = difference(&desired, &observed, &owned);
        let found: Vec<bool> = plan
            .steps
            .iter()
            .map(|step| matches!(step.operation, Operation::Remove { if_free: true, .. }))
            .collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{deletion:?}");
        assert_eq!(plan.verdicts[&key], Verdict::Released(None));
    }
}

#[test]
fn the_brokers_own_exchanges_are_never_deleted() {
    let mut observed = Topology::default();
    observed
        .exchanges
        .insert(name("amq.topic"), ExchangeDefinition::default());
    let item = item(Kind::Exchange, "x", leaving_standing());
    let owned = owns(&item.key, &[Identity::Exchange(name("amq.topic"))]);
    assert_eq!(difference(&wanted(vec![item]), &observed, &owned).steps, []);
}

#[test]
fn a_name_cannot_change() {
    let item = item(
        Kind::Queue,
        "q",
        Standing::Wanted(Declared::Queue(Named::new(name("new"), queue(None)))),
    );
    let owned = owns(&item.key, &[Identity::Queue(name("old"))]);
    let plan = difference(&wanted(vec![item]), &Topology::default(), &owned);
    assert_eq!(plan.steps, []);
    assert!(matches!(
        &plan.verdicts[&key(Kind::Queue, "q")],
        Verdict::Not(Reason::Immutable, _)
    ));
}

fn leaving_standing() -> Standing {
    Standing::Leaving {
        since: 0,
        forced: false,
    }
}

/// Few names, so that things meet.
fn names() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

fn things() -> impl Strategy<Value = Declared> {
    prop_oneof![
        names().prop_map(|it| Declared::Exchange(Named::new(name(&it), ExchangeDefinition::default()))),
        (names(), prop::option::of(1..3_i64))
            .prop_map(|(it, length)| Declared::Queue(Named::new(name(&it), queue(length)))),
        (names(), names(), names()).prop_map(|(x, q, k)| Declared::Binding(binding(&x, &q, &k))),
    ]
}

fn topologies() -> impl Strategy<Value = Topology> {
    prop::collection::vec(things(), 0..12).prop_map(|things| {
        let mut observed = Observed::default();
        for thing in things {
            let stands = |topology: &Topology, binding: &BindingDefinition| {
                topology.has(&binding.from()) && topology.has(&binding.to())
            };
            match thing {
                Declared::Binding(binding) if !stands(&observed.topology, &binding) => {}
                thing => observed.done(&Operation::Declare(thing)),
            }
        }
        observed.topology
    })
}

/// Items with distinct claims; a few are leaving and own what they would have wanted.
fn resources() -> impl Strategy<Value = (Desired, Owned)> {
    prop::collection::vec((things(), any::<bool>(), any::<bool>()), 0..12).prop_map(|list| {
        let mut seen = BTreeSet::new();
        let mut owned = Owned::new();
        let mut items = Vec::new();
        for (index, (thing, leaves, owns)) in list.into_iter().enumerate() {
            if !seen.insert(thing.identity()) {
                continue;
            }
            let kind = thing.kind();
            let identity = thing.identity();
            let standing = if leaves {
                leaving_standing()
            } else {
                Standing::Wanted(thing)
            };
            let item = item(kind, &format!("r{index}"), standing);
            if owns {
                owned.insert(item.key.clone(), BTreeSet::from([identity]));
            }
            items.push(item);
        }
        (wanted(items), owned)
    })
}

proptest! {
    /// Carrying out the steps gives everything that was called Synced, takes away everything that was owned and let go,
    /// touches nothing else, and leaves nothing to do.
    #[test]
    fn a_plan_leads_to_what_is_desired((desired, mut owned) in resources(), before in topologies()) {
        let plan = difference(&desired, &before, &owned);
        let mut after = Observed::listed(before.clone());
        let mut touched = BTreeSet::new();
        for step in &plan.steps {
            if let Operation::Declare(Declared::Binding(binding)) = &step.operation {
                prop_assert!(after.topology.has(&binding.from()));
                prop_assert!(after.topology.has(&binding.to()));
            }
            after.done(&step.operation);
            touched.insert(step.key.clone());
        }
        for item in &desired.items {
            match (&plan.verdicts[&item.key], &item.standing) {
                (Verdict::Synced(identity), Standing::Wanted(thing)) => {
                    prop_assert_eq!(identity, &thing.identity());
                    let stands = match thing {
                        // A removal in the same plan may have taken an end away; the next plan says so.
                        Declared::Binding(binding) => {
                            after.topology.bindings.contains(binding)
                                || !after.topology.has(&binding.from())
                                || !after.topology.has(&binding.to())
                        }
                        thing => thing.differences(&after.topology) == Some(vec![]),
                    };
                    prop_assert!(stands, "{:?} in {:?}", thing, after);
                    owned.entry(item.key.clone()).or_default().insert(identity.clone());
                }
                (Verdict::Released(_), Standing::Leaving { .. }) => {
                    for identity in owned.remove(&item.key).unwrap_or_default() {
                        let gone = !after.topology.contains(&identity);
                        prop_assert!(gone || desired.claims.contains_key(&identity));
                    }
                }
                _ => prop_assert!(!touched.contains(&item.key)),
            }
        }
        for name in before.queues.keys().filter(|name| !after.topology.queues.contains_key(*name)) {
            let deleted = plan.steps.iter().any(|step| {
                matches!(&step.operation, Operation::Remove { identity: Identity::Queue(deleted), .. } if deleted == name)
            });
            prop_assert!(deleted, "only what is owned goes");
        }
        let again = difference(
            &Desired {
                items: desired.items.iter().filter(|item| !matches!(item.standing, Standing::Leaving { .. })).cloned().collect(),
                claims: desired.claims.clone(),
                wholes: Default::default(),
        reserved: None,
            },
            &after.topology,
            &owned,
        );
        prop_assert_eq!(again.steps, vec![]);
    }
}
