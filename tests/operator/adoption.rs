//! Objects that are on the broker before their resource is.

use harness::call;
use harness::requests::*;
use leveret_amqp::method::*;
use serde_json::json;

use crate::{SOON, stage};

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_queue_is_adopted_with_its_messages() {
    let Some(stage) = stage("equal").await else { return };
    let mut client = stage.amqp();
    call!(client, 1, durable(&stage.name("q")) => QueueDeclareOk);
    client.publish_persistent(1, "", &stage.name("q"), b"old");
    stage.synced(&stage.queue("q")).await;
    assert_eq!(
        client.get(1, &stage.name("q"), true).expect("it is still there").body,
        "old"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_differs_is_named_with_the_difference() {
    let Some(stage) = stage("differs").await else { return };
    let mut client = stage.amqp();
    let other = QueueDeclare {
        auto_delete: true,
        ..durable(&stage.name("q"))
    };
    call!(client, 1, other => QueueDeclareOk);
    stage.apply(&stage.queue("q")).await;
    let message = stage.resources.becomes("Queue", "q", "False", "Mismatch", SOON).await;
    assert!(
        message.contains("autoDelete") || message.contains("auto_delete"),
        "the field is named: {message}"
    );
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_means_never() {
    let Some(stage) = stage("never").await else { return };
    let mut client = stage.amqp();
    call!(client, 1, durable(&stage.name("q")) => QueueDeclareOk);
    let mut queue = stage.queue("q");
    queue["spec"]["adoptionPolicy"] = json!("Never");
    stage.apply(&queue).await;
    stage.resources.becomes("Queue", "q", "False", "Mismatch", SOON).await;
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    assert!(stage.has_queue("q"), "what was never ours is not deleted");
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_resource_is_left_alone() {
    let Some(stage) = stage("paused").await else { return };
    let mut queue = stage.queue("q");
    queue["metadata"]["annotations"] = json!({"leveret.dev/paused": "true"});
    stage.apply(&queue).await;
    let ask = || async {
        let ready = stage.resources.ready("Queue", "q").await?;
        if ready.reason == "Paused" {
            Ok(())
        } else {
            Err(format!("{ready:?}"))
        }
    };
    harness::wait::eventually_async("it is paused", SOON, ask).await;
    assert!(!stage.has_queue("q"));
    stage.synced(&stage.queue("q")).await;
    assert!(stage.has_queue("q"));
}
