//! Changes of the source that come while the loop looks elsewhere: each is noticed, and soon.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::stage::Stage;
use super::{URI, all_orders, delete_invoices, orders, queue, to_main};
use crate::broker::Operation;
use crate::broker::fake::Fake;
use crate::object::Kind;
use crate::sync::Settings;
use crate::sync::desired::tests::snapshot;
use crate::topology::{Identity, Name};

/// Long enough that a test meets it for certain.
const PAUSE: Duration = Duration::from_millis(400);

fn slow() -> Stage {
    let settings = Settings {
        debounce: PAUSE,
        ..Settings::default()
    };
    Stage::start_with(orders(), Fake::default(), settings)
}

/// The attempt ends with what it read before: that must not be the last word for a minute.
#[tokio::test]
async fn a_secret_that_appears_while_it_is_looked_for_is_not_overlooked() {
    let stage = Stage::start(orders());
    stage.shelf.absent.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    stage.shelf.absent.store(false, Ordering::SeqCst);
    stage.change(|_| {});
    stage.until_synced(&all_orders()).await;
}

#[tokio::test]
async fn a_secret_that_appears_between_an_attempt_and_the_pass_after_it_is_not_overlooked() {
    let stage = slow();
    stage.shelf.absent.store(true, Ordering::SeqCst);
    stage
        .until("it was looked for in vain", |stage| {
            stage.shelf.missed.load(Ordering::SeqCst) == 1
        })
        .await;
    // The loop has been told, and pauses.
    tokio::time::sleep(PAUSE / 4).await;
    stage.shelf.absent.store(false, Ordering::SeqCst);
    stage.change(|_| {});
    stage.until_synced(&all_orders()).await;
}

#[tokio::test]
async fn a_queue_declared_between_an_event_and_the_pass_after_it_is_kept_from_then_on() {
    let stage = slow();
    stage.until_synced(&all_orders()).await;
    let by_hand = |operation: &Operation| {
        stage
            .fake
            .with(URI, |broker| broker.by_hand(operation))
            .expect("deleted");
    };
    by_hand(&delete_invoices());
    // The loop has heard of it, and pauses.
    tokio::time::sleep(PAUSE / 4).await;
    stage.change(|there| {
        let late = snapshot(&[(Kind::Queue, "shop", "late", 0, to_main(json!({})))]);
        late.objects().for_each(|object| there.insert(object.clone()));
    });
    stage.until_synced(&[queue("late"), queue("invoices")]).await;
    by_hand(&Operation::Remove {
        identity: Identity::Queue(Name::new("/", "late")),
        if_free: false,
    });
    stage
        .until("it is back", |stage| {
            let is_there =
                |broker: &mut crate::broker::fake::Broker| broker.topology.queues.contains_key(&Name::new("/", "late"));
            stage.fake.with(URI, is_there)
        })
        .await;
}
