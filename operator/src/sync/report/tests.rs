//! What users are told, and what is remembered in a status.

use super::*;
use crate::object::Kind;
use crate::resource::AdoptionPolicy;
use crate::topology::{Arguments, BindingDefinition, Declared, End, Name, Named, QueueDefinition};

fn item(standing: Standing) -> Item {
    Item {
        key: ObjectKey::new(Kind::Queue, "shop", "q"),
        uid: "u".to_owned(),
        generation: 3,
        finalized: true,
        paused: false,
        deletion: Deletion::DeleteIfFree,
        adoption: AdoptionPolicy::IfEqual,
        secret: None,
        standing,
        barred: Default::default(),
    }
}

fn broker() -> ObjectKey {
    ObjectKey::new(Kind::Broker, "shop", "main")
}

fn owned() -> BTreeSet<Identity> {
    BTreeSet::from([Identity::Queue(Name::new("/", "q"))])
}

fn unreachable() -> Away {
    Away::Unreachable(Reason::WaitingForBroker, "connection refused".to_owned())
}

fn leaving(forced: bool) -> Standing {
    Standing::Leaving { since: 100, forced }
}

#[test]
fn every_reason_has_conditions_that_kstatus_understands() {
    for reason in Reason::ALL {
        let Conditions {
            ready,
            reconciling,
            stalled,
        } = conditions(reason);
        let both = reconciling == ConditionStatus::True && stalled == ConditionStatus::True;
        assert!(!both, "{reason}: kstatus cannot tell InProgress from Failed");
        let good = matches!(reason, Reason::Synced | Reason::Observed);
        assert_eq!(ready == ConditionStatus::True, good, "{reason}");
    }
}

#[test]
fn deletion_without_broker() {
    let now = 130;
    for (away, standing, owned, released, said) in [
        (unreachable(), leaving(false), owned(), false, "at most"),
        (unreachable(), leaving(true), owned(), true, "left behind"),
        (unreachable(), leaving(false), BTreeSet::new(), true, ""),
        (
            Away::NoBroker,
            leaving(false),
            owned(),
            true,
            "Broker shop/main does not exist",
        ),
        (
            Away::Unusable(Reason::WaitingForBroker, "Secret shop/x is missing".to_owned()),
            leaving(false),
            owned(),
            true,
            "Secret shop/x is missing",
        ),
    ] {
        let (verdict, deadline) = offline(&item(standing), &owned, &away, &broker(), now, 60);
        let text = match &verdict {
            Verdict::Released(text) => text.clone().unwrap_or_default(),
            Verdict::Not(Reason::WaitingForBroker, text) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(matches!(verdict, Verdict::Released(_)), released, "{away:?}");
        assert!(text.contains(said), "{text}");
        assert_eq!(deadline, (!released).then_some(160));
    }
    let (verdict, _) = offline(&item(leaving(false)), &owned(), &unreachable(), &broker(), 160, 60);
    assert!(matches!(verdict, Verdict::Released(Some(_))), "patience has an end");
}

#[test]
fn a_wanted_queue_waits_for_its_broker() {
    let thing = Declared::Queue(Named::new(Name::new("/", "q"), QueueDefinition::default()));
    let item = item(Standing::Wanted(thing));
    let (verdict, _) = offline(&item, &owned(), &unreachable(), &broker(), 0, 60);
    let report = report(&item, &verdict, None, &owned(), false).expect("a report");
    assert_eq!(report.reason, Reason::WaitingForBroker);
    assert_eq!(report.message, "Broker shop/main is not connected; its status says why");
    assert_eq!((report.ready, report.generation), (ConditionStatus::Unknown, 3));
    assert_eq!(report.name.as_deref(), Some("q"), "it is still known what it owns");
}

#[test]
fn what_is_remembered_is_recalled() {
    let binding = |key: &str| BindingDefinition {
        vhost: "v".to_owned(),
        source: "x".to_owned(),
        end: End::Queue,
        destination: "q".to_owned(),
        routing_key: key.to_owned(),
        arguments: serde_json::from_value::<Arguments>(serde_json::json!({"x-match": "all", "n": 5})).unwrap(),
    };
    for (kind, owned) in [
        (Kind::Queue, BTreeSet::from([Identity::Queue(Name::new("v", "q"))])),
        (
            Kind::Exchange,
            BTreeSet::from([Identity::Exchange(Name::new("v", "x"))]),
        ),
        (
            Kind::Binding,
            BTreeSet::from([Identity::Binding(binding("a")), Identity::Binding(binding("b"))]),
        ),
        (Kind::Queue, BTreeSet::new()),
        (Kind::Binding, BTreeSet::new()),
    ] {
        let meta = Meta {
            finalized: true,
            status: remember(&owned),
            ..Meta::fresh(ObjectKey::new(kind, "shop", "r"))
        };
        assert_eq!(recall(&meta), owned);
    }
}

#[test]
fn a_broker_that_answers_is_not_ready_before_its_pod_is_as_declared() {
    let meta = Meta {
        uid: "u".to_owned(),
        generation: 3,
        ..Meta::fresh(broker())
    };
    let object = Object {
        meta,
        spec: BrokerSpec::default(),
    };
    let endpoint = Endpoint {
        amqp: "amqp://a:1".to_owned(),
        management: "http://a:2".to_owned(),
    };
    let told = |engine: Option<&EngineState>| {
        let connected = Connected {
            version: "Leveret 1",
            endpoint: &endpoint,
            usage: Usage::default(),
            twin: None,
        };
        let counted = Counted { all: 2, not_ready: 1 };
        let report = broker_report(&object, Ok(connected), None, engine, counted, None);
        (report.ready, report.reason, report.message)
    };
    let up = EngineState {
        generation: 3,
        ..EngineState::default()
    };
    assert_eq!(
        told(Some(&up)),
        (
            ConditionStatus::True,
            Reason::Synced,
            "connected to Leveret 1".to_owned()
        )
    );
    assert_eq!(told(None).1, Reason::Synced, "another runs it");
    let unseen = EngineState {
        generation: 2,
        ..up.clone()
    };
    assert_eq!(told(Some(&unseen)).1, Reason::Starting);
    let replaced = EngineState {
        pending: Some((Reason::Starting, "is ending".to_owned())),
        ..up.clone()
    };
    assert_eq!(
        told(Some(&replaced)),
        (ConditionStatus::False, Reason::Starting, "is ending".to_owned())
    );
    let wrong = EngineState {
        problem: Some((Reason::Immutable, "no".to_owned())),
        ..replaced
    };
    assert_eq!(told(Some(&wrong)).1, Reason::Immutable, "what lasts comes first");
}
