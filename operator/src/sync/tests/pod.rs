//! Brokers whose pods the operator runs: nothing is asked of one that is not up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::stage::Stage;
use super::{URI, all_orders, key, orders};
use crate::object::{AMQP_URI, EngineState, Kind, Reason, Snapshot};

fn pod(snapshot: &mut Snapshot, up: bool) {
    let state = EngineState {
        generation: 0,
        problem: None,
        pending: (!up).then(|| (Reason::Starting, "pod main-0: runs and is not ready yet".to_owned())),
        persistent: true,
        has_run: true,
        settings: None,
        credentials: None,
    };
    snapshot.engines.insert(key(Kind::Broker, "main"), Arc::new(state));
}

fn attempts(stage: &Stage) -> usize {
    stage.fake.with(URI, |broker| broker.attempts)
}

#[tokio::test]
async fn a_pod_that_is_not_up_is_not_asked_for_and_then_at_once() {
    let mut snapshot = orders();
    pod(&mut snapshot, false);
    let stage = Stage::start(snapshot);
    stage
        .until("the Broker says why", |stage| {
            stage.reason(&key(Kind::Broker, "main")) == Some(Reason::Starting)
        })
        .await;
    stage.change(|snapshot| pod(snapshot, false));
    stage
        .until("the others wait", |stage| {
            all_orders()
                .iter()
                .all(|key| stage.reason(key) == Some(Reason::WaitingForBroker))
        })
        .await;
    assert_eq!(attempts(&stage), 0);
    stage.change(|snapshot| pod(snapshot, true));
    stage.until_synced(&all_orders()).await;
    assert_eq!(attempts(&stage), 1);
    // Lost with its pod, and not asked for before there is another one.
    stage.change(|snapshot| pod(snapshot, false));
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.fake.with(URI, |broker| broker.restart_empty());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(attempts(&stage), 1);
    stage.change(|snapshot| pod(snapshot, true));
    stage
        .until("everything is declared again", |stage| {
            stage.fake.with(URI, |broker| broker.topology.queues.len()) == 1
        })
        .await;
    assert_eq!(attempts(&stage), 2);
}

#[tokio::test]
async fn a_broker_that_is_reached_in_another_way_is_asked_at_once() {
    let mut snapshot = orders();
    pod(&mut snapshot, false);
    let broker = snapshot.any_mut(&key(Kind::Broker, "main")).expect("the Broker");
    let annotations = &mut broker.meta_mut().annotations;
    annotations.insert(AMQP_URI.to_owned(), json!("amqp://elsewhere").to_string());
    let stage = Stage::start(snapshot);
    stage.until_synced(&all_orders()).await;
}
