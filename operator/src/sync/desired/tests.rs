//! What resources want, and who owns what.

use serde_json::{Value, json};

/// Rules for other namespaces.
mod tenancy;

/// Rights that users have by other objects.
pub(crate) mod rights;

/// ZeroMQ sockets.
mod sockets;

use super::*;
use crate::object::{AnyObject, LastStatus};
use crate::resource::Spec;
use crate::topology::{Arguments, Name, Named, QueueDefinition};

/// A snapshot out of manifests: (kind, namespace, name, created, spec).
pub(crate) fn snapshot(objects: &[(Kind, &str, &str, i64, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (kind, namespace, name, created, spec) in objects {
        let meta = Meta {
            key: ObjectKey::new(*kind, *namespace, *name),
            uid: format!("{namespace}-{name}"),
            generation: 1,
            created: *created,
            deleting: None,
            annotations: BTreeMap::new(),
            touched: 0,
            finalized: true,
            status: LastStatus::default(),
        };
        add(&mut snapshot, meta, spec.clone());
    }
    snapshot
}

pub(crate) fn add(snapshot: &mut Snapshot, meta: Meta, spec: Value) {
    let spec = Spec::parse(meta.key.kind, spec).unwrap();
    snapshot.insert(AnyObject::new(meta, spec));
}

fn main_broker() -> ObjectKey {
    ObjectKey::new(Kind::Broker, "shop", "main")
}

fn standing(desired: &Desired, name: &str) -> Standing {
    let item = desired.items.iter().find(|item| item.key.name == name);
    item.expect("the item").standing.clone()
}

fn with_annotation(snapshot: &mut Snapshot, key: &ObjectKey, name: &str) {
    let object = snapshot.any_mut(key).unwrap();
    object.meta_mut().annotations.insert(name.to_owned(), "true".to_owned());
}

#[test]
fn shorthands_become_arguments() {
    let snapshot = snapshot(&[(
        Kind::Queue,
        "shop",
        "q",
        0,
        json!({
            "brokerRef": {"name": "main"}, "type": "quorum", "maxLength": 5, "maxLengthBytes": 6,
            "overflow": "reject-publish", "messageTtl": "1h30m", "expires": "7d", "maxPriority": 3,
            "deadLetter": {"exchange": "dead", "routingKey": "k", "strategy": "at-least-once"}, "deliveryLimit": -1,
            "delayedRetry": {"type": "failed", "min": "10s", "max": "1h"},
            "singleActiveConsumer": true, "consumerTimeout": "10s",
            "deduplication": {"cacheSize": 9, "cacheTtl": "1s", "header": "id"},
            "arguments": {"x-own": [1, "a"]}
        }),
    )]);
    let Standing::Wanted(Declared::Queue(queue)) = standing(&desired(&snapshot, &main_broker()), "q") else {
        panic!("not wanted");
    };
    let Named { name, definition } = queue;
    assert_eq!(name, Name::new("/", "q"));
    assert_eq!(
        serde_json::to_value(definition.arguments()).unwrap(),
        json!({
            "x-queue-type": "quorum", "x-max-length": 5, "x-max-length-bytes": 6, "x-overflow": "reject-publish",
            "x-message-ttl": 5_400_000, "x-expires": 604_800_000, "x-max-priority": 3,
            "x-dead-letter-exchange": "dead", "x-dead-letter-routing-key": "k",
            "x-dead-letter-strategy": "at-least-once", "x-delivery-limit": -1,
            "x-delayed-retry-type": "failed", "x-delayed-retry-min": 10_000, "x-delayed-retry-max": 3_600_000,
            "x-single-active-consumer": true, "x-consumer-timeout": 10_000, "x-message-deduplication": true,
            "x-cache-size": 9, "x-cache-ttl": 1_000, "x-deduplication-header": "id", "x-own": [1, "a"]
        })
    );
}

#[test]
fn a_plain_queue_has_no_arguments() {
    let spec = json!({"brokerRef": {"name": "main"}, "name": "theirs", "vhost": "v"});
    let snapshot = snapshot(&[(Kind::Queue, "shop", "q", 0, spec)]);
    let expected = Declared::Queue(Named::new(
        Name::new("v", "theirs"),
        QueueDefinition::new(true, false, false, Arguments::default()),
    ));
    assert_eq!(
        standing(&desired(&snapshot, &main_broker()), "q"),
        Standing::Wanted(expected)
    );
}

#[test]
fn the_oldest_owns() {
    let spec = |name: &str| json!({"brokerRef": {"name": "main"}, "name": name});
    let mut snapshot = snapshot(&[
        (Kind::Queue, "shop", "young", 20, spec("q")),
        (Kind::Queue, "shop", "old", 10, spec("q")),
        (Kind::Queue, "shop", "b-same-age", 5, spec("r")),
        (Kind::Queue, "shop", "a-same-age", 5, spec("r")),
    ]);
    let result = desired(&snapshot, &main_broker());
    assert!(matches!(standing(&result, "old"), Standing::Wanted(_)));
    assert_eq!(
        standing(&result, "young"),
        Standing::Refused(
            Reason::Conflict,
            "queue 'q' belongs to Queue shop/old, which is older".to_owned()
        )
    );
    assert!(matches!(standing(&result, "a-same-age"), Standing::Wanted(_)));
    assert!(matches!(
        standing(&result, "b-same-age"),
        Standing::Refused(Reason::Conflict, _)
    ));

    let old = snapshot.any_mut(&ObjectKey::new(Kind::Queue, "shop", "old")).unwrap();
    old.meta_mut().deleting = Some(30);
    let result = desired(&snapshot, &main_broker());
    assert!(
        matches!(standing(&result, "young"), Standing::Wanted(_)),
        "what leaves claims nothing"
    );
    assert_eq!(
        result.claims.get(&Identity::Queue(Name::new("/", "q"))),
        Some(&ObjectKey::new(Kind::Queue, "shop", "young"))
    );
}

#[test]
fn only_allowed_namespaces_come_in() {
    let reference = json!({"brokerRef": {"name": "main", "namespace": "shop"}});
    for (allowed, expected) in [
        (json!({}), false),
        (json!({"from": "All"}), true),
        (
            json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}),
            true,
        ),
        (
            json!({"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}),
            false,
        ),
    ] {
        let mut snapshot = snapshot(&[
            (
                Kind::Broker,
                "shop",
                "main",
                0,
                json!({"allowedNamespaces": allowed.clone()}),
            ),
            (Kind::Queue, "other", "q", 0, reference.clone()),
        ]);
        snapshot.namespaces.insert(
            "other".to_owned(),
            BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        );
        let standing = standing(&desired(&snapshot, &main_broker()), "q");
        assert_eq!(matches!(standing, Standing::Wanted(_)), expected, "{allowed}");
        assert_eq!(
            matches!(standing, Standing::Refused(Reason::NotAllowed, _)),
            !expected,
            "{allowed}"
        );
    }
}

#[test]
fn pausing_one_or_all() {
    let reference = json!({"brokerRef": {"name": "main"}});
    let objects = [
        (Kind::Broker, "shop", "main", 0, json!({})),
        (Kind::Queue, "shop", "a", 0, reference.clone()),
        (Kind::Queue, "shop", "b", 0, reference),
    ];
    let mut one = snapshot(&objects);
    with_annotation(&mut one, &ObjectKey::new(Kind::Queue, "shop", "a"), PAUSED);
    let result = desired(&one, &main_broker());
    assert_eq!(standing(&result, "a"), Standing::Paused);
    assert!(matches!(standing(&result, "b"), Standing::Wanted(_)));
    assert!(
        result.claims.contains_key(&Identity::Queue(Name::new("/", "a"))),
        "it keeps what it owns"
    );

    let mut all = snapshot(&objects);
    with_annotation(&mut all, &main_broker(), PAUSED);
    let result = desired(&all, &main_broker());
    assert_eq!(
        (standing(&result, "a"), standing(&result, "b")),
        (Standing::Paused, Standing::Paused)
    );
}

#[test]
fn what_cannot_be_meant_is_refused_here() {
    let bad_period = json!({"brokerRef": {"name": "main"}, "messageTtl": "soon"});
    let two_ends =
        json!({"brokerRef": {"name": "main"}, "source": "x", "destination": {"queue": "a", "exchange": "b"}});
    let snapshot = snapshot(&[
        (Kind::Queue, "shop", "q", 0, bad_period),
        (Kind::Binding, "shop", "b", 0, two_ends),
    ]);
    let result = desired(&snapshot, &main_broker());
    for name in ["q", "b"] {
        assert!(
            matches!(standing(&result, name), Standing::Refused(Reason::InvalidArgument, _)),
            "{name}"
        );
    }
}

#[test]
fn brokers_that_exist_or_are_meant() {
    let snapshot = snapshot(&[
        (Kind::Broker, "shop", "main", 0, json!({})),
        (
            Kind::Queue,
            "a",
            "q",
            0,
            json!({"brokerRef": {"name": "main", "namespace": "shop"}}),
        ),
        (Kind::Queue, "b", "q", 0, json!({"brokerRef": {"name": "gone"}})),
    ]);
    let keys: Vec<String> = broker_keys(&snapshot).iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["Broker b/gone", "Broker shop/main"]);
}

/// Ages count in seconds, in which much can happen.
#[test]
fn of_one_age_the_owner_keeps_it() {
    let spec = || json!({"brokerRef": {"name": "main"}, "name": "shared"});
    let mut both = snapshot(&[
        (Kind::Queue, "shop", "a", 7, spec()),
        (Kind::Queue, "shop", "b", 7, spec()),
    ]);
    let (a, b) = (
        ObjectKey::new(Kind::Queue, "shop", "a"),
        ObjectKey::new(Kind::Queue, "shop", "b"),
    );
    let shared = Identity::Queue(Name::new("/", "shared"));
    let owner = |snapshot: &Snapshot, owned: &Owned| {
        desired_among(snapshot, &main_broker(), &BTreeSet::new(), owned).claims[&shared].clone()
    };
    assert_eq!(owner(&both, &Owned::new()), a, "the name decides");
    let known = Owned::from([(b.clone(), BTreeSet::from([shared.clone()]))]);
    assert_eq!(owner(&both, &known), b);
    let status = LastStatus {
        name: Some("shared".to_owned()),
        vhost: Some("/".to_owned()),
        ..LastStatus::default()
    };
    both.any_mut(&b).expect("it is there").meta_mut().status = status;
    assert_eq!(owner(&both, &Owned::new()), b, "after a restart, too");
    both.any_mut(&a).expect("it is there").meta_mut().created = 6;
    assert_eq!(owner(&both, &known), a, "an older one takes it over");
}
