//! The loop on brokers in memory: what it does, what it does not do, and what it says.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod bad_moments;

mod beginning;

mod credentials;

mod leaving;

mod pod;

mod told;

mod vhost;

mod user;

mod rights;

mod sockets;

mod stage;

use super::desired::tests::{add, snapshot};
use super::*;
use crate::broker::Operation;
use crate::broker::fake::{Fake, State};
use crate::object::{AnyObject, FORCE_DELETE, Kind, LastStatus, Meta, PAUSED, Reason, Snapshot};
use crate::resource::{BrokerSpec, QueueSpec};
use crate::topology::{Declared, Identity, Name, Named, QueueDefinition};
use stage::Stage;

const URI: &str = "amqp://one";

fn broker(uri: &str) -> Value {
    json!({"engine": "External", "external": {
        "uri": uri, "managementUri": "http://one", "credentialsSecretRef": {"name": "admin"}
    }})
}

fn to_main(mut spec: Value) -> Value {
    spec["brokerRef"] = json!({"name": "main"});
    spec
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "shop", name)
}

fn queue(name: &str) -> ObjectKey {
    key(Kind::Queue, name)
}

fn orders() -> Snapshot {
    snapshot(&[
        (Kind::Broker, "shop", "main", 0, broker(URI)),
        (Kind::Exchange, "shop", "orders", 0, to_main(json!({"type": "topic"}))),
        (Kind::Queue, "shop", "invoices", 0, to_main(json!({}))),
        (
            Kind::Binding,
            "shop",
            "b",
            0,
            to_main(json!({"source": "orders", "destination": {"queue": "invoices"}, "routingKey": "order.#"})),
        ),
    ])
}

fn all_orders() -> [ObjectKey; 3] {
    [
        key(Kind::Exchange, "orders"),
        queue("invoices"),
        key(Kind::Binding, "b"),
    ]
}

fn delete_invoices() -> Operation {
    Operation::Remove {
        identity: Identity::Queue(Name::new("/", "invoices")),
        if_free: false,
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn a_topology_is_made_and_then_left_alone() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage
        .until("the broker is Ready", |stage| {
            stage.reason(&key(Kind::Broker, "main")) == Some(Reason::Synced)
        })
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let operations = stage.fake.with(URI, |broker| broker.operations.len());
    assert_eq!(operations, 3, "one declare each");
    let (writes, lists) = (
        stage.shelf.writes.load(Ordering::SeqCst),
        stage.fake.with(URI, |broker| broker.lists),
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.change(|_| {});
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.shelf.writes.load(Ordering::SeqCst), writes, "nothing to say");
    assert_eq!(
        stage.fake.with(URI, |broker| (broker.operations.len(), broker.lists)),
        (operations, lists)
    );
}

#[tokio::test]
async fn what_is_deleted_by_hand_comes_back_with_its_bindings() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    let full = stage.fake.with(URI, |broker| broker.topology.clone());
    let lists = stage.fake.with(URI, |broker| broker.lists);
    for operation in [
        delete_invoices(),
        Operation::Remove {
            identity: Identity::Exchange(Name::new("/", "orders")),
            if_free: false,
        },
        Operation::Remove {
            identity: Identity::Binding(full.bindings.first().cloned().expect("a binding")),
            if_free: false,
        },
    ] {
        stage.fake.with(URI, |broker| broker.by_hand(&operation)).expect("done");
        let started = Instant::now();
        stage
            .until("it is back", |stage| {
                stage.fake.with(URI, |broker| broker.topology == full)
            })
            .await;
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(stage.fake.with(URI, |broker| broker.lists), lists, "events are enough");
}

#[tokio::test]
async fn without_events_the_next_list_finds_it() {
    let fake = Fake::default();
    fake.with(URI, |broker| broker.silent_events = true);
    let settings = Settings {
        resync_without_events: Duration::from_millis(100),
        ..Settings::default()
    };
    let stage = Stage::start_with(orders(), fake, settings);
    stage.until_synced(&all_orders()).await;
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&delete_invoices()))
        .expect("done");
    stage
        .until("it is back", |stage| {
            stage.fake.with(URI, |broker| broker.topology.bindings.len() == 1)
        })
        .await;
}

#[tokio::test]
async fn a_broker_that_lost_everything_gets_it_again() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    let full = stage.fake.with(URI, |broker| broker.topology.clone());
    stage.fake.with(URI, |broker| broker.restart_empty());
    stage
        .until("all is back", |stage| {
            stage.fake.with(URI, |broker| broker.topology == full)
        })
        .await;
}

#[tokio::test]
async fn a_binding_wakes_when_its_ends_appear() {
    let mut snapshot = orders();
    let exchanges: Vec<AnyObject> = snapshot.of(Kind::Exchange).cloned().collect();
    snapshot.clear(Kind::Exchange);
    let stage = Stage::start(snapshot);
    let binding = key(Kind::Binding, "b");
    stage
        .until("waiting", |stage| {
            stage.reason(&binding) == Some(Reason::WaitingForSource)
        })
        .await;
    stage.change(|snapshot| exchanges.into_iter().for_each(|object| snapshot.insert(object)));
    stage.until_synced(&all_orders()).await;
}

#[tokio::test]
async fn a_binding_wakes_when_its_ends_are_made_by_hand() {
    let mut snapshot = orders();
    snapshot.clear(Kind::Queue);
    let stage = Stage::start(snapshot);
    let binding = key(Kind::Binding, "b");
    stage
        .until("waiting", |stage| {
            stage.reason(&binding) == Some(Reason::WaitingForDestination)
        })
        .await;
    let by_hand = Operation::Declare(Declared::Queue(Named::new(
        Name::new("/", "invoices"),
        QueueDefinition::default(),
    )));
    stage.fake.with(URI, |broker| broker.by_hand(&by_hand)).expect("done");
    stage.until_synced(&[binding]).await;
}

#[tokio::test]
async fn a_queue_with_messages_stays_until_it_is_empty() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    let name = Name::new("/", "invoices");
    stage.fake.with(URI, |broker| broker.messages.insert(name.clone(), 3));
    stage.delete(&queue("invoices"), now(), None);
    stage
        .until("blocked", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::DeletionBlocked)
        })
        .await;
    assert!(
        stage.message(&queue("invoices")).contains("holds 3 messages"),
        "{}",
        stage.message(&queue("invoices"))
    );
    assert!(
        stage
            .fake
            .with(URI, |broker| broker.topology.queues.contains_key(&name))
    );
    stage.fake.with(URI, |broker| broker.messages.clear());
    stage
        .until("gone", |stage| stage.shelf.snapshot().of(Kind::Queue).next().is_none())
        .await;
    assert!(
        !stage
            .fake
            .with(URI, |broker| broker.topology.queues.contains_key(&name))
    );
}

#[tokio::test]
async fn an_annotation_lets_a_blocked_queue_go_and_leaves_its_messages() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    let name = Name::new("/", "invoices");
    stage.fake.with(URI, |broker| broker.messages.insert(name.clone(), 3));
    stage.delete(&queue("invoices"), now(), Some(FORCE_DELETE));
    stage
        .until("let go", |stage| {
            stage.shelf.snapshot().of(Kind::Queue).next().is_none()
        })
        .await;
    assert!(
        stage
            .fake
            .with(URI, |broker| broker.topology.queues.contains_key(&name))
    );
    assert!(
        stage
            .shelf
            .warnings
            .lock()
            .iter()
            .any(|warning| warning.contains("holds 3 messages"))
    );
}

#[tokio::test]
async fn the_second_resource_takes_over_when_the_first_goes() {
    let mut snapshot = orders();
    let second = to_main(json!({"name": "invoices"}));
    let meta = Meta {
        uid: "second".to_owned(),
        created: 50,
        ..Meta::fresh(queue("second"))
    };
    add(&mut snapshot, meta, second);
    let stage = Stage::start(snapshot);
    stage.until_synced(&all_orders()).await;
    stage
        .until("in conflict", |stage| {
            stage.reason(&queue("second")) == Some(Reason::Conflict)
        })
        .await;
    assert!(stage.message(&queue("second")).contains("Queue shop/invoices"));
    assert_eq!(stage.shelf.finalizers.load(Ordering::SeqCst), 0, "it owns nothing yet");
    stage.delete(&queue("invoices"), now(), None);
    stage.until_synced(&[queue("second")]).await;
    stage
        .until("gone", |stage| stage.shelf.snapshot().of(Kind::Queue).count() == 1)
        .await;
    assert!(stage.fake.with(URI, |broker| {
        broker.topology.queues.contains_key(&Name::new("/", "invoices"))
    }));
    assert_eq!(stage.shelf.finalizers.load(Ordering::SeqCst), 1);
    let deletes = stage.fake.with(URI, |broker| {
        broker
            .operations
            .iter()
            .filter(|operation| operation.label() == "delete_queue")
            .count()
    });
    assert_eq!(deletes, 0, "handed over, not deleted and made again");
}

#[tokio::test]
async fn a_refused_queue_is_not_asked_for_again_and_again() {
    let fake = Fake::default();
    let text = "PRECONDITION_FAILED - invalid arg 'x-colour' for queue 'invoices'";
    fake.with(URI, |broker| {
        broker.refusals.insert("invoices".to_owned(), (406, text.to_owned()))
    });
    let stage = Stage::start_with(orders(), fake, Settings::default());
    stage
        .until("refused", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::InvalidArgument)
        })
        .await;
    assert!(stage.message(&queue("invoices")).contains(text));
    for _ in 0..5 {
        stage.change(|_| {});
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let asked = stage.fake.with(URI, |broker| {
        broker
            .operations
            .iter()
            .filter(|operation| operation.label() == "declare_queue")
            .count()
    });
    assert_eq!(asked, 1);
    stage
        .until("the binding waits", |stage| {
            stage.reason(&key(Kind::Binding, "b")) == Some(Reason::WaitingForDestination)
        })
        .await;
}

#[tokio::test]
async fn a_black_hole_delays_no_other() {
    let mut snapshot = orders();
    let (kind, hole) = (Kind::Broker, broker("amqp://hole"));
    let meta = |key: ObjectKey| Meta {
        uid: key.to_string(),
        key,
        generation: 1,
        created: 0,
        deleting: None,
        annotations: BTreeMap::new(),
        touched: 0,
        finalized: true,
        status: LastStatus::default(),
    };
    add(&mut snapshot, meta(key(kind, "hole")), hole);
    add(
        &mut snapshot,
        meta(queue("lost")),
        json!({"brokerRef": {"name": "hole"}}),
    );
    let fake = Fake::default();
    fake.with("amqp://hole", |broker| broker.state = State::BlackHole);
    let started = Instant::now();
    let stage = Stage::start_with(snapshot, fake, Settings::default());
    stage.until_synced(&all_orders()).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    stage
        .until("it is told", |stage| {
            stage.reason(&queue("lost")) == Some(Reason::WaitingForBroker)
        })
        .await;
}

#[tokio::test]
async fn deletion_is_never_stuck() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.fake.with(URI, |broker| {
        broker.state = State::Down;
        broker.disconnect();
    });
    // Not long ago: it waits, and says for how long. The annotation ends it.
    stage.delete(&key(Kind::Binding, "b"), now(), None);
    stage
        .until("waiting", |stage| {
            stage.reason(&key(Kind::Binding, "b")) == Some(Reason::WaitingForBroker)
        })
        .await;
    assert!(stage.message(&key(Kind::Binding, "b")).contains("60 s at most"));
    stage.delete(&key(Kind::Binding, "b"), now(), Some(FORCE_DELETE));
    stage
        .until("forced", |stage| {
            stage.shelf.snapshot().of(Kind::Binding).next().is_none()
        })
        .await;
    // Long ago: patience is over.
    stage.delete(&queue("invoices"), now() - 61, None);
    stage
        .until("let go", |stage| {
            stage.shelf.snapshot().of(Kind::Queue).next().is_none()
        })
        .await;
    assert_eq!(stage.shelf.warnings.lock().len(), 4, "two, each on the Broker too");
}

#[tokio::test]
async fn a_missing_broker_or_secret_holds_nothing() {
    for without_broker in [true, false] {
        let mut snapshot = orders();
        if without_broker {
            snapshot.clear(Kind::Broker);
        } else {
            let broker = snapshot.get_mut::<BrokerSpec>(&key(Kind::Broker, "main"));
            broker.expect("the broker").spec.external = None;
        }
        let status = LastStatus {
            name: Some("invoices".to_owned()),
            vhost: Some("/".to_owned()),
            applied: None,
            queue: None,
            looked_at: None,
        };
        let object = snapshot.any_mut(&queue("invoices")).expect("the queue");
        object.meta_mut().status = status;
        let stage = Stage::start(snapshot);
        stage
            .until("told", |stage| {
                stage.reason(&key(Kind::Exchange, "orders")) == Some(Reason::WaitingForBroker)
            })
            .await;
        stage.delete(&queue("invoices"), now(), None);
        stage
            .until("let go", |stage| {
                stage.shelf.snapshot().of(Kind::Queue).next().is_none()
            })
            .await;
        let warnings = if without_broker { 1 } else { 2 };
        assert_eq!(
            stage.shelf.warnings.lock().len(),
            warnings,
            "on the Broker too, where there is one"
        );
    }
}

#[tokio::test]
async fn paused_means_hands_off() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.change(|snapshot| {
        let object = snapshot.any_mut(&queue("invoices")).expect("the queue");
        object
            .meta_mut()
            .annotations
            .insert(PAUSED.to_owned(), "true".to_owned());
    });
    stage
        .until("paused", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::Paused)
        })
        .await;
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&delete_invoices()))
        .expect("done");
    let binding = key(Kind::Binding, "b");
    stage
        .until("its binding waits", |stage| {
            stage.reason(&binding) == Some(Reason::WaitingForDestination)
        })
        .await;
    assert!(!stage.fake.with(URI, |broker| {
        broker.topology.queues.contains_key(&Name::new("/", "invoices"))
    }));
    stage.delete(&queue("invoices"), now(), None);
    stage
        .until("let go", |stage| {
            stage.shelf.snapshot().of(Kind::Queue).next().is_none()
        })
        .await;
}

#[tokio::test]
async fn an_edit_that_no_broker_can_follow_is_immutable_and_comes_back_when_undone() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    let set_length = |length: Option<i64>| {
        stage.change(|snapshot| {
            let object = snapshot.get_mut::<QueueSpec>(&queue("invoices")).expect("the queue");
            object.spec.max_length = length;
            object.meta.generation += 1;
        });
    };
    set_length(Some(5));
    stage
        .until("immutable", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::Immutable)
        })
        .await;
    assert!(
        stage
            .message(&queue("invoices"))
            .contains("x-max-length is not set on the broker, wanted 5")
    );
    set_length(None);
    stage.until_synced(&[queue("invoices")]).await;
}

#[tokio::test]
async fn a_quorum_queue_is_counted_before_it_is_deleted() {
    let mut snapshot = orders();
    let spec = to_main(json!({"type": "quorum"}));
    let quorum = self::snapshot(&[(Kind::Queue, "shop", "ledger", 0, spec)]);
    quorum.objects().for_each(|object| snapshot.insert(object.clone()));
    let stage = Stage::start(snapshot);
    stage.until_synced(&[queue("ledger")]).await;
    let name = Name::new("/", "ledger");
    stage.fake.with(URI, |broker| broker.messages.insert(name.clone(), 2));
    stage.delete(&queue("ledger"), now(), None);
    stage
        .until("it is blocked", |stage| {
            stage.reason(&queue("ledger")) == Some(Reason::DeletionBlocked)
        })
        .await;
    assert!(stage.message(&queue("ledger")).contains("holds 2 messages"));
    assert!(
        stage
            .fake
            .with(URI, |broker| broker.topology.queues.contains_key(&name))
    );
    stage.fake.with(URI, |broker| broker.messages.clear());
    stage
        .until("it is gone", |stage| stage.reason(&queue("ledger")).is_none())
        .await;
    assert!(
        !stage
            .fake
            .with(URI, |broker| broker.topology.queues.contains_key(&name))
    );
}

#[tokio::test]
async fn a_refused_login_is_tried_again_when_the_password_changes_and_not_before() {
    let fake = Fake::default();
    fake.with(URI, |broker| broker.password = "new".to_owned());
    let stage = Stage::start_with(orders(), fake, Settings::default());
    let attempts = |stage: &Stage| stage.fake.with(URI, |broker| broker.attempts);
    // Long enough that the next attempt by itself is seconds away.
    stage.until("five attempts", |stage| attempts(stage) >= 5).await;
    assert_eq!(stage.reason(&key(Kind::Broker, "main")), Some(Reason::NotAllowed));
    for _ in 0..5 {
        stage.change(|_| {});
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(attempts(&stage), 5, "the same password again");
    let started = Instant::now();
    stage.change(|_| {});
    *stage.shelf.password.lock() = "new".to_owned();
    stage.change(|_| {});
    stage.until_synced(&all_orders()).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
