//! What goes, in which order, for how long it waits, and what is said of what stays.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::Stage;
use super::{URI, all_orders, key, now, orders, queue, to_main};
use crate::broker::fake::{Fake, State};
use crate::object::{AMQP_URI, EngineState, FORCE_DELETE, Kind, ObjectKey, PAUSED, Reason, Snapshot};
use crate::sync::Settings;
use crate::sync::desired::tests::snapshot;
use crate::topology::Name;

fn main_broker() -> ObjectKey {
    key(Kind::Broker, "main")
}

fn invoices() -> Name {
    Name::new("/", "invoices")
}

fn patient(seconds: u64) -> Settings {
    Settings {
        deletion_timeout: Duration::from_secs(seconds),
        ..Settings::default()
    }
}

fn is_there(stage: &Stage, key: &ObjectKey) -> bool {
    stage.shelf.snapshot.lock().contains(key)
}

fn on_broker(stage: &Stage) -> bool {
    stage
        .fake
        .with(URI, |broker| broker.topology.queues.contains_key(&invoices()))
}

fn hold_messages(stage: &Stage, count: u32) {
    stage.fake.with(URI, |broker| broker.messages.insert(invoices(), count));
}

async fn until_gone(stage: &Stage, key: &ObjectKey) {
    stage
        .until(&format!("{key} is gone"), |stage| !is_there(stage, key))
        .await;
}

#[tokio::test]
async fn a_broker_goes_after_what_refers_to_it() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.delete(&main_broker(), now(), None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(is_there(&stage, &main_broker()), "others still refer to it");
    for key in all_orders() {
        stage.delete(&key, now(), None);
    }
    until_gone(&stage, &main_broker()).await;
    assert!(!on_broker(&stage), "cleaned up before");
    assert!(all_orders().iter().all(|key| !is_there(&stage, key)));
    let said = stage.shelf.warnings.lock().clone();
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test]
async fn it_says_what_it_waits_for_and_not_for_ever() {
    let stage = Stage::start_with(orders(), Fake::default(), patient(4));
    stage.until_synced(&all_orders()).await;
    stage.delete(&main_broker(), now(), None);
    stage
        .until("it says so", |stage| {
            stage.reason(&main_broker()) == Some(Reason::DeletionBlocked)
        })
        .await;
    let message = stage.message(&main_broker());
    assert!(
        message.contains("for 4 s at most, since 3 resources refer to it (0 being deleted)"),
        "{message}"
    );
    until_gone(&stage, &main_broker()).await;
    assert!(on_broker(&stage), "its resource is still there");
    stage
        .until("the others wait", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::WaitingForBroker)
        })
        .await;
}

#[tokio::test]
async fn a_queue_with_messages_holds_its_broker_for_a_while_and_is_told_of() {
    let stage = Stage::start_with(orders(), Fake::default(), patient(3));
    stage.until_synced(&all_orders()).await;
    hold_messages(&stage, 2);
    for key in all_orders().iter().chain([&main_broker()]) {
        stage.delete(key, now(), None);
    }
    stage
        .until("blocked", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::DeletionBlocked)
        })
        .await;
    let started = Instant::now();
    until_gone(&stage, &main_broker()).await;
    assert!(started.elapsed() < Duration::from_secs(6));
    assert!(!is_there(&stage, &queue("invoices")) && on_broker(&stage));
    let announced = stage.shelf.announced.lock().clone();
    assert_eq!(announced.len(), 1, "{announced:?}");
    assert!(announced[0].contains("on Broker shop/main: Queue shop/invoices: queue 'invoices' may be left behind"));
    assert!(announced[0].contains("holds 2 messages"), "{announced:?}");
    let on_the_broker = |warning: &&String| warning.starts_with("Broker shop/main: ");
    assert_eq!(stage.shelf.warnings.lock().iter().filter(on_the_broker).count(), 1);
}

#[tokio::test]
async fn the_connection_of_a_broker_that_vanished_is_not_used() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.change(|snapshot| snapshot.clear(Kind::Broker));
    stage
        .until("it is missed", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::WaitingForBroker)
        })
        .await;
    stage.delete(&queue("invoices"), now(), None);
    until_gone(&stage, &queue("invoices")).await;
    assert!(on_broker(&stage));
    let announced = stage.shelf.announced.lock().clone();
    assert!(
        announced[0].contains("Broker shop/main does not exist"),
        "{announced:?}"
    );
}

#[tokio::test]
async fn a_blocked_queue_is_let_go_when_its_broker_vanishes() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    hold_messages(&stage, 2);
    stage.delete(&queue("invoices"), now(), None);
    stage
        .until("blocked", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::DeletionBlocked)
        })
        .await;
    stage.change(|snapshot| snapshot.clear(Kind::Broker));
    until_gone(&stage, &queue("invoices")).await;
    assert!(on_broker(&stage));
}

#[tokio::test]
async fn a_broker_that_is_away_holds_nothing_for_ever() {
    let stage = Stage::start_with(orders(), Fake::default(), patient(2));
    stage.until_synced(&all_orders()).await;
    stage.fake.with(URI, |broker| {
        broker.state = State::Down;
        broker.disconnect();
    });
    for key in all_orders().iter().chain([&main_broker()]) {
        stage.delete(key, now(), None);
    }
    until_gone(&stage, &main_broker()).await;
    let announced = stage.shelf.announced.lock().join("\n");
    for what in ["exchange 'orders'", "queue 'invoices'", "binding"] {
        assert!(announced.contains(what), "{what}: {announced}");
    }
}

/// A Broker without a volume, run by the operator, with a pod.
fn volatile() -> Snapshot {
    let mut snapshot = snapshot(&[
        (Kind::Broker, "shop", "main", 0, json!({})),
        (Kind::Queue, "shop", "invoices", 0, to_main(json!({}))),
    ]);
    let broker = snapshot.any_mut(&main_broker()).expect("the Broker");
    let annotations = &mut broker.meta_mut().annotations;
    annotations.insert(AMQP_URI.to_owned(), URI.to_owned());
    pod(&mut snapshot, true);
    snapshot
}

fn pod(snapshot: &mut Snapshot, has_run: bool) {
    let state = EngineState {
        generation: 1,
        has_run,
        ..EngineState::default()
    };
    snapshot.engines.insert(main_broker(), Arc::new(state));
}

#[tokio::test]
async fn a_broker_whose_messages_go_with_it_asks_first() {
    let stage = Stage::start_with(volatile(), Fake::default(), patient(1));
    stage.until_synced(&[queue("invoices")]).await;
    hold_messages(&stage, 2);
    stage.delete(&main_broker(), now(), None);
    stage
        .until("it says how many", |stage| {
            stage
                .message(&main_broker())
                .contains("holds 2 messages, which go with it")
        })
        .await;
    assert_eq!(stage.reason(&main_broker()), Some(Reason::DeletionBlocked));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        is_there(&stage, &main_broker()),
        "longer than anything else is waited for"
    );
    stage.fake.with(URI, |broker| broker.messages.clear());
    until_gone(&stage, &main_broker()).await;
}

#[tokio::test]
async fn a_loss_can_be_confirmed() {
    let stage = Stage::start(volatile());
    stage.until_synced(&[queue("invoices")]).await;
    hold_messages(&stage, 2);
    stage.delete(&main_broker(), now(), None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_there(&stage, &main_broker()));
    stage.delete(&main_broker(), now(), Some(FORCE_DELETE));
    until_gone(&stage, &main_broker()).await;
}

#[tokio::test]
async fn nobody_waits_for_a_pod_that_went_with_its_namespace() {
    let stage = Stage::start(volatile());
    stage.until_synced(&[queue("invoices")]).await;
    hold_messages(&stage, 2);
    for key in [queue("invoices"), main_broker()] {
        stage.delete(&key, now(), None);
    }
    stage
        .until("blocked", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::DeletionBlocked)
        })
        .await;
    stage.fake.with(URI, |broker| {
        broker.state = State::Down;
        broker.disconnect();
    });
    stage.change(|snapshot| pod(snapshot, false));
    until_gone(&stage, &main_broker()).await;
    assert!(!is_there(&stage, &queue("invoices")));
}

#[tokio::test]
async fn a_finalizer_that_vanishes_comes_back() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    assert_eq!(stage.shelf.finalizers.load(Ordering::SeqCst), 0, "all have one");
    for round in 1..3 {
        stage.change(|snapshot| {
            for object in snapshot.objects_mut() {
                object.meta_mut().finalized = false;
            }
        });
        stage
            .until("all have it again", |stage| {
                let snapshot = stage.shelf.snapshot.lock();
                snapshot.objects().all(|object| object.meta().finalized)
            })
            .await;
        assert_eq!(
            stage.shelf.finalizers.load(Ordering::SeqCst),
            round * 4,
            "the Broker's too"
        );
    }
}

#[tokio::test]
async fn a_finalizer_comes_back_while_the_broker_is_away_or_refuses() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.fake.with(URI, |broker| {
        broker.state = State::Down;
        broker.disconnect();
    });
    stage
        .until("waiting", |stage| {
            stage.reason(&queue("invoices")) == Some(Reason::WaitingForBroker)
        })
        .await;
    stage.change(|snapshot| {
        let object = snapshot.any_mut(&queue("invoices")).expect("the queue");
        object.meta_mut().finalized = false;
    });
    stage
        .until("it is back", |stage| {
            let snapshot = stage.shelf.snapshot.lock();
            snapshot.meta(&queue("invoices")).is_some_and(|meta| meta.finalized)
        })
        .await;
}

#[tokio::test]
async fn what_is_paused_and_deleted_stays_and_is_told_of() {
    for away in [false, true] {
        let stage = Stage::start(orders());
        stage.until_synced(&all_orders()).await;
        stage.change(|snapshot| {
            let object = snapshot.any_mut(&queue("invoices")).expect("the queue");
            let annotations = &mut object.meta_mut().annotations;
            annotations.insert(PAUSED.to_owned(), "yes".to_owned());
        });
        stage
            .until("paused", |stage| {
                stage.reason(&queue("invoices")) == Some(Reason::Paused)
            })
            .await;
        if away {
            stage.fake.with(URI, |broker| {
                broker.state = State::Down;
                broker.disconnect();
            });
        }
        stage.delete(&queue("invoices"), now(), None);
        until_gone(&stage, &queue("invoices")).await;
        assert!(on_broker(&stage));
        stage
            .until("it is told", |stage| {
                let announced = stage.shelf.announced.lock();
                announced
                    .iter()
                    .any(|text| text.contains("queue 'invoices' stays on the broker"))
            })
            .await;
    }
}

/// In the cluster a deletion is another generation, and the Secret of a namespace may go first.
#[tokio::test]
async fn the_connection_is_kept_for_cleaning_up() {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage.shelf.absent.store(true, Ordering::SeqCst);
    stage.change(|snapshot| {
        for object in snapshot.objects_mut() {
            object.meta_mut().deleting = Some(now());
            object.meta_mut().generation += 1;
        }
    });
    until_gone(&stage, &main_broker()).await;
    assert!(!on_broker(&stage));
    let said = stage.shelf.announced.lock().clone();
    assert!(said.is_empty(), "{said:?}");
}
