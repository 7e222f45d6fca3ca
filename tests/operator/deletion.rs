//! Deleted: what goes from the broker, what stays, what holds it up.

use std::time::Duration;

use harness::requests::*;
use harness::wait::until;
use harness::{Broker, call};
use serde_json::{Value, json};

use crate::{SOON, stage, text};

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_with_its_resource() {
    let Some(stage) = stage("delete").await else { return };
    for manifest in [
        stage.exchange("x", "direct"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "k"),
    ] {
        stage.synced(&manifest).await;
    }
    for (kind, name) in [("Queue", "q"), ("Exchange", "x"), ("Binding", "b")] {
        stage.resources.delete(kind, name).await;
    }
    for (kind, name) in [("Queue", "q"), ("Exchange", "x"), ("Binding", "b")] {
        stage.resources.goes(kind, name, SOON).await;
    }
    assert!(!stage.has_queue("q") && !stage.has_exchange("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_messages_is_not_deleted_until_it_is_empty() {
    let Some(stage) = stage("full").await else { return };
    stage.synced(&stage.queue("q")).await;
    let mut client = stage.amqp();
    for _ in 0..3 {
        client.publish_persistent(1, "", &stage.name("q"), b"precious");
    }
    let all = || call!(client, 1, passive(&stage.name("q")) => QueueDeclareOk).message_count == 3;
    until("all three are there", SOON, all);
    stage.resources.delete("Queue", "q").await;
    let message = stage
        .resources
        .becomes("Queue", "q", "False", "DeletionBlocked", SOON)
        .await;
    assert!(message.contains('3'), "it says how many messages hold it: {message}");
    assert!(stage.has_queue("q"));
    for _ in 0..3 {
        assert_eq!(
            client.get(1, &stage.name("q"), true).expect("a message").body,
            "precious"
        );
    }
    stage.resources.goes("Queue", "q", SOON * 3).await;
    assert!(!stage.has_queue("q"));
}

/// For `if-empty` of AMQP such a queue is empty; its messages would go with it, and with them what the worker does.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_whose_messages_are_all_in_hand_is_not_deleted() {
    let Some(stage) = stage("in-hand").await else { return };
    for (name, type_) in [("c", "classic"), ("q", "quorum")] {
        let mut queue = stage.queue(name);
        queue["spec"]["type"] = json!(type_);
        stage.synced(&queue).await;
        let mut client = stage.amqp();
        client.publish_persistent(1, "", &stage.name(name), b"precious");
        let there = || call!(client, 1, passive(&stage.name(name)) => QueueDeclareOk).message_count == 1;
        until("it is there", SOON, there);
        client.get(1, &stage.name(name), false).expect("a message");
        if Broker::external().is_some() {
            // RabbitMQ's management API counts what is in hand some seconds late.
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        stage.resources.delete("Queue", name).await;
        let message = stage
            .resources
            .becomes("Queue", name, "False", "DeletionBlocked", SOON)
            .await;
        assert!(message.contains("holds 1 message"), "{message}");
        // The worker dies, and the message is there for the next one.
        drop(client);
        let mut client = stage.amqp();
        let again = || {
            client
                .get(1, &stage.name(name), true)
                .is_some_and(|got| got.body == "precious")
        };
        until("it is given back", SOON, again);
        stage.resources.goes("Queue", name, SOON * 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_say_otherwise() {
    let Some(stage) = stage("policies").await else { return };
    let policy = |mut manifest: Value, policy: &str| {
        manifest["spec"]["deletionPolicy"] = json!(policy);
        manifest
    };
    for manifest in [
        policy(stage.queue("retained"), "Retain"),
        policy(stage.queue("forced"), "Delete"),
        policy(stage.exchange("retained-x", "direct"), "Retain"),
        policy(stage.exchange("unused-x", "direct"), "DeleteIfUnused"),
        policy(stage.binding("retained-b", "retained-x", "retained", "k"), "Retain"),
    ] {
        stage.synced(&manifest).await;
    }
    let mut client = stage.amqp();
    for queue in ["retained", "forced"] {
        client.publish_persistent(1, "", &stage.name(queue), b"x");
        call!(client, 1, passive(&stage.name(queue)) => QueueDeclareOk);
    }
    let all = [
        ("Binding", "retained-b"),
        ("Queue", "retained"),
        ("Queue", "forced"),
        ("Exchange", "retained-x"),
        ("Exchange", "unused-x"),
    ];
    for (kind, name) in all {
        stage.resources.delete(kind, name).await;
    }
    for (kind, name) in all {
        stage.resources.goes(kind, name, SOON).await;
    }
    assert!(stage.has_queue("retained") && stage.has_exchange("retained-x"));
    assert_eq!(stage.keys("retained-x", "retained"), ["k"]);
    assert!(!stage.has_queue("forced") && !stage.has_exchange("unused-x"));
    call!(client, 1, delete(&stage.name("retained")) => QueueDeleteOk);
    call!(client, 1, delete_exchange(&stage.name("retained-x")) => ExchangeDeleteOk);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_in_use_waits_if_it_was_told_to() {
    let Some(stage) = stage("used").await else { return };
    let mut exchange = stage.exchange("x", "direct");
    exchange["spec"]["deletionPolicy"] = json!("DeleteIfUnused");
    stage.synced(&exchange).await;
    let mut client = stage.amqp();
    let queue = stage.name("by-hand");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, &stage.name("x"), "k") => QueueBindOk);
    stage.resources.delete("Exchange", "x").await;
    stage
        .resources
        .becomes("Exchange", "x", "False", "DeletionBlocked", SOON)
        .await;
    call!(client, 1, unbind(&queue, &stage.name("x"), "k") => QueueUnbindOk);
    stage.resources.goes("Exchange", "x", SOON * 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_tells_of_the_refusal_once() {
    let Some(stage) = stage("event").await else { return };
    stage.synced(&stage.queue("q")).await;
    let mut client = stage.amqp();
    client.publish_persistent(1, "", &stage.name("q"), b"x");
    call!(client, 1, passive(&stage.name("q")) => QueueDeclareOk);
    stage.resources.delete("Queue", "q").await;
    stage
        .resources
        .becomes("Queue", "q", "False", "DeletionBlocked", SOON)
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let events = stage
        .resources
        .api("Event")
        .list(&Default::default())
        .await
        .expect("events");
    let about = |event: &&kube::api::DynamicObject| text(&event.data, "/reason") == "DeletionBlocked";
    let blocked: Vec<_> = events.items.iter().filter(about).collect();
    assert_eq!(blocked.len(), 1, "one event for one transition");
    call!(client, 1, purge(&stage.name("q")) => QueuePurgeOk);
    stage.resources.goes("Queue", "q", SOON * 3).await;
}
