//! The first moments of an operator, and of many resources: what is said, what is not, and what comes first.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::Stage;
use super::{URI, all_orders, key, orders, queue, to_main};
use crate::broker::fake::{Fake, State};
use crate::object::{AnyObject, Kind, Meta, Reason};
use crate::sync::Settings;
use crate::sync::desired::tests::add;
use crate::sync::tell::FIRST_ATTEMPT;

/// The operator before has told all there is to tell, and nothing is known to be otherwise.
#[tokio::test]
async fn a_new_operator_says_nothing_while_it_has_not_found_out_anything() {
    for told in [true, false] {
        let mut snapshot = orders();
        for key in all_orders() {
            let meta = snapshot.any_mut(&key).expect("the resource").meta_mut();
            meta.status.looked_at = told.then_some(meta.generation);
        }
        let fake = Fake::default();
        fake.with(URI, |broker| broker.state = State::BlackHole);
        let stage = Stage::start_with(snapshot, fake, Settings::default());
        tokio::time::sleep(FIRST_ATTEMPT + Duration::from_millis(500)).await;
        let said = |stage: &Stage, reason| all_orders().iter().all(|key| stage.reason(key) == reason);
        match told {
            true => assert!(said(&stage, None), "{:?}", stage.shelf.statuses.lock()),
            false => {
                let waits = |stage: &Stage| said(stage, Some(Reason::WaitingForBroker));
                stage.until("all wait", waits).await;
            }
        }
    }
}

#[tokio::test]
async fn what_comes_in_this_moment_is_not_told_to_be_missing() {
    let mut snapshot = orders();
    let queues: Vec<AnyObject> = snapshot.of(Kind::Queue).cloned().collect();
    snapshot.clear(Kind::Queue);
    let start = Instant::now();
    let stage = Stage::start(snapshot);
    stage.until_synced(&[key(Kind::Exchange, "orders")]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let said = stage.reason(&key(Kind::Binding, "b"));
    assert!(said.is_none() || start.elapsed() > Duration::from_secs(2), "{said:?}");
    stage.change(|snapshot| queues.into_iter().for_each(|object| snapshot.insert(object)));
    stage.until_synced(&all_orders()).await;
}

/// The first of many are declared before the last have their finalizers.
#[tokio::test]
async fn many_come_in_rounds() {
    const MANY: usize = 400;
    let mut snapshot = orders();
    for number in 0..MANY {
        let mut meta = Meta::fresh(queue(&format!("q{number}")));
        meta.uid = format!("uid-{number}");
        add(&mut snapshot, meta, to_main(json!({})));
    }
    let takes = Duration::from_millis(200);
    let stage = Stage::start_slow(snapshot, Fake::default(), Settings::default(), takes);
    let synced = |stage: &Stage| {
        let statuses = stage.shelf.statuses.lock();
        let queues = statuses.values().filter(|report| report.key.name.starts_with('q'));
        queues.filter(|report| report.reason == Reason::Synced).count()
    };
    stage.until("the first are Synced", |stage| synced(stage) > 0).await;
    let finalized = stage.shelf.finalizers.load(Ordering::SeqCst);
    assert!(finalized < MANY, "{finalized} before the first was declared");
    stage.until("all are Synced", |stage| synced(stage) == MANY).await;
    assert_eq!(stage.shelf.finalizers.load(Ordering::SeqCst), MANY, "one each");
}
