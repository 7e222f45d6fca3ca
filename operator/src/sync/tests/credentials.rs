//! Credentials that change while the broker is connected, and brokers that say more than is read.

use std::time::{Duration, Instant};

use super::stage::Stage;
use super::*;

fn main() -> ObjectKey {
    key(Kind::Broker, "main")
}

fn attempts(stage: &Stage) -> usize {
    stage.fake.with(URI, |broker| broker.attempts)
}

async fn connected() -> Stage {
    let stage = Stage::start(orders());
    stage.until_synced(&all_orders()).await;
    stage
        .until("the broker is Ready", |stage| {
            stage.reason(&main()) == Some(Reason::Synced)
        })
        .await;
    stage
}

#[tokio::test]
async fn a_wrong_password_is_noticed_at_once_and_the_connection_stays() {
    let stage = connected().await;
    let started = Instant::now();
    *stage.shelf.password.lock() = "wrong".to_owned();
    stage.change(|_| {});
    stage
        .until("it says so", |stage| stage.reason(&main()) == Some(Reason::NotAllowed))
        .await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let message = stage.message(&main());
    assert!(
        message.contains("ACCESS_REFUSED") && message.contains("made before stands"),
        "{message}"
    );
    // The old connection goes on working.
    let spec = to_main(json!({}));
    stage.change(|snapshot| *snapshot = with_queue(snapshot, "late", spec));
    stage.until_synced(&[queue("late")]).await;
    // And nothing is left of it when the password is right again.
    *stage.shelf.password.lock() = String::new();
    stage.change(|_| {});
    stage
        .until("it is Ready again", |stage| {
            stage.reason(&main()) == Some(Reason::Synced)
        })
        .await;
}

#[tokio::test]
async fn a_new_password_is_taken_without_a_gap() {
    let stage = connected().await;
    let before = attempts(&stage);
    stage.fake.with(URI, |broker| broker.password = "new".to_owned());
    *stage.shelf.password.lock() = "new".to_owned();
    stage.change(|_| {});
    stage
        .until("another connection", |stage| attempts(stage) > before)
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.reason(&main()), Some(Reason::Synced));
    assert_eq!(attempts(&stage), before + 1);
    // What others change is heard of by the new one.
    stage
        .fake
        .with(URI, |broker| broker.by_hand(&delete_invoices()))
        .expect("done");
    stage
        .until("it is back", |stage| {
            let invoices = Name::new("/", "invoices");
            stage
                .fake
                .with(URI, |broker| broker.topology.queues.contains_key(&invoices))
        })
        .await;
    // Changes of the source that are none of the credentials make no attempt.
    for _ in 0..5 {
        stage.change(|_| {});
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(attempts(&stage), before + 1);
}

#[tokio::test]
async fn a_broker_that_says_too_much_is_left_alone_for_long() {
    let fake = Fake::default();
    fake.with(URI, |broker| broker.too_much = true);
    let mut snapshot = orders();
    add_broker(&mut snapshot, "other", "amqp://two");
    let stage = Stage::start_with(snapshot, fake, Settings::default());
    stage
        .until("it says so", |stage| stage.reason(&main()) == Some(Reason::BrokerError))
        .await;
    assert_eq!(stage.message(&main()), "its answer has more than 16 MiB");
    stage
        .until("the other one is Ready", |stage| {
            stage.reason(&key(Kind::Broker, "other")) == Some(Reason::Synced)
        })
        .await;
    // No change of anything else is a reason to read it again.
    for _ in 0..20 {
        stage.change(|_| {});
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(stage.fake.with(URI, |broker| broker.lists), 1);
}

fn with_queue(snapshot: &Snapshot, name: &str, spec: Value) -> Snapshot {
    let mut snapshot = snapshot.clone();
    add(&mut snapshot, meta(Kind::Queue, name), spec);
    snapshot
}

fn add_broker(snapshot: &mut Snapshot, name: &str, uri: &str) {
    add(snapshot, meta(Kind::Broker, name), broker(uri));
}

fn meta(kind: Kind, name: &str) -> Meta {
    Meta {
        key: key(kind, name),
        uid: name.to_owned(),
        generation: 1,
        created: 0,
        deleting: None,
        annotations: BTreeMap::new(),
        touched: 0,
        finalized: true,
        status: LastStatus::default(),
    }
}
