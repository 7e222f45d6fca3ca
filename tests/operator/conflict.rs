//! Two resources for one queue: the older one has it, and hands it over when it goes.

use std::time::Duration;

use harness::call;
use harness::requests::passive;
use serde_json::{Value, json};

use crate::{SOON, Stage, stage};

fn claim(stage: &Stage, name: &str) -> Value {
    stage.manifest("Queue", name, json!({"name": stage.name("shared")}))
}

/// Creation times have a resolution of one second.
async fn later() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_one_wins_and_the_other_says_so() {
    let Some(stage) = stage("conflict").await else { return };
    stage.synced(&claim(&stage, "older")).await;
    later().await;
    stage.apply(&claim(&stage, "younger")).await;
    let message = stage
        .resources
        .becomes("Queue", "younger", "False", "Conflict", SOON)
        .await;
    assert!(message.contains("older"), "the winner is named: {message}");
    stage.resources.becomes("Queue", "older", "True", "Synced", SOON).await;
    stage.resources.delete("Queue", "younger").await;
    stage.resources.goes("Queue", "younger", SOON).await;
    assert!(stage.has_queue("shared"), "the loser's deletion touches nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_takes_over_with_all_messages() {
    let Some(stage) = stage("heir").await else { return };
    stage.synced(&claim(&stage, "older")).await;
    later().await;
    stage.apply(&claim(&stage, "younger")).await;
    stage
        .resources
        .becomes("Queue", "younger", "False", "Conflict", SOON)
        .await;
    let mut client = stage.amqp();
    client.publish_persistent(1, "", &stage.name("shared"), b"precious");
    call!(client, 1, passive(&stage.name("shared")) => QueueDeclareOk);
    stage.resources.delete("Queue", "older").await;
    stage.resources.goes("Queue", "older", SOON).await;
    stage
        .resources
        .becomes("Queue", "younger", "True", "Synced", SOON)
        .await;
    assert_eq!(
        client
            .get(1, &stage.name("shared"), true)
            .expect("it is still there")
            .body,
        "precious"
    );
}
