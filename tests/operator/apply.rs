//! Applied, in any order, and edited.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{SOON, stage, text};

#[tokio::test(flavor = "multi_thread")]
async fn everything_applied_in_reverse_order_becomes_ready() {
    let Some(stage) = stage("reverse").await else { return };
    let start = Instant::now();
    stage
        .apply(&stage.binding("orders-to-invoices", "orders", "invoices", "order.#"))
        .await;
    let message = stage
        .resources
        .becomes("Binding", "orders-to-invoices", "Unknown", "WaitingForSource", SOON);
    let message = message.await;
    assert!(message.contains(&stage.name("orders")), "{message}");
    stage.apply(&stage.exchange("orders", "topic")).await;
    stage
        .resources
        .becomes(
            "Binding",
            "orders-to-invoices",
            "Unknown",
            "WaitingForDestination",
            SOON,
        )
        .await;
    stage.apply(&stage.queue("invoices")).await;
    for (kind, name) in [
        ("Queue", "invoices"),
        ("Exchange", "orders"),
        ("Binding", "orders-to-invoices"),
    ] {
        stage.resources.becomes(kind, name, "True", "Synced", SOON).await;
    }
    println!("all ready after {:?}", start.elapsed());
    assert_eq!(stage.keys("orders", "invoices"), ["order.#"]);
    let queue = stage.http().get(&format!("/api/queues/%2F/{}", stage.name("invoices")));
    assert_eq!(
        (&queue["durable"], &queue["auto_delete"]),
        (&json!(true), &json!(false))
    );
    let exchange = stage
        .http()
        .get(&format!("/api/exchanges/%2F/{}", stage.name("orders")));
    assert_eq!(
        (&exchange["type"], &exchange["durable"]),
        (&json!("topic"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_tells_what_it_is() {
    let Some(stage) = stage("broker").await else { return };
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_from_the_metadata() {
    let Some(stage) = stage("default").await else { return };
    let name = stage.name("by-metadata");
    stage.synced(&stage.manifest("Queue", &name, json!({}))).await;
    assert!(stage.has_queue("by-metadata"));
    let queue = stage.resources.api("Queue").get(&name).await.expect("the queue");
    assert_eq!(
        queue.data.pointer("/status/name").and_then(Value::as_str),
        Some(name.as_str())
    );
    assert_eq!(queue.data.pointer("/spec/name"), None, "the spec is the user's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_as_kstatus_wants_them() {
    let Some(stage) = stage("kstatus").await else { return };
    stage.synced(&stage.queue("q")).await;
    let queue = stage.resources.api("Queue").get("q").await.expect("the queue");
    let generation = queue.metadata.generation;
    assert_eq!(
        queue.data.pointer("/status/observedGeneration").and_then(Value::as_i64),
        generation
    );
    let conditions = queue
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .expect("conditions");
    for (kind, status) in [("Ready", "True"), ("Reconciling", "False"), ("Stalled", "False")] {
        let condition = conditions
            .iter()
            .find(|condition| condition["type"] == kind)
            .expect(kind);
        assert_eq!(
            (text(condition, "/status"), text(condition, "/reason")),
            (status.into(), "Synced".into()),
            "{kind}"
        );
        assert_eq!(condition["observedGeneration"].as_i64(), generation, "{kind}");
        assert!(!text(condition, "/lastTransitionTime").is_empty(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_on_the_broker_is_refused() {
    let Some(stage) = stage("immutable").await else { return };
    stage.synced(&stage.queue("q")).await;
    let mut edited = stage.queue("q");
    edited["spec"]["autoDelete"] = json!(true);
    stage.apply(&edited).await;
    let message = stage.resources.becomes("Queue", "q", "False", "Immutable", SOON).await;
    assert!(message.contains("auto"), "the field is named: {message}");
    let queue = stage.http().get(&format!("/api/queues/%2F/{}", stage.name("q")));
    assert_eq!(queue["auto_delete"], json!(false), "the queue is as it was");
    stage.synced(&stage.queue("q")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_changes_its_type_is_refused() {
    let Some(stage) = stage("type").await else { return };
    stage.synced(&stage.exchange("x", "topic")).await;
    stage.apply(&stage.exchange("x", "fanout")).await;
    let message = stage
        .resources
        .becomes("Exchange", "x", "False", "Immutable", SOON)
        .await;
    assert!(message.contains("topic") && message.contains("fanout"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_is_quoted() {
    let Some(stage) = stage("refused").await else { return };
    let spec = json!({"name": stage.name("x"), "type": "x-unheard-of"});
    stage.apply(&stage.manifest("Exchange", "x", spec)).await;
    let message = stage
        .resources
        .becomes("Exchange", "x", "False", "InvalidArgument", SOON)
        .await;
    assert!(message.contains("unknown exchange type 'x-unheard-of'"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named() {
    let Some(stage) = stage("secret").await else { return };
    let external = json!({
        "uri": format!("amqp://{}", stage.broker.amqp()),
        "managementUri": format!("http://{}", stage.broker.http()),
        "credentialsSecretRef": {"name": "absent"},
    });
    stage
        .apply(&crate::manifest(
            "Broker",
            "other",
            json!({"engine": "External", "external": external}),
        ))
        .await;
    let mut queue = stage.queue("q");
    queue["spec"]["brokerRef"]["name"] = json!("other");
    stage.apply(&queue).await;
    // The first report may be that it is connecting.
    let ready = stage.resources.says("Queue", "q", "absent", SOON).await;
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("Unknown", "WaitingForBroker")
    );
    stage
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "absent", "annotations": {"leveret.dev/broker": "other"}},
            "stringData": {"username": "guest", "password": "guest"},
        }))
        .await;
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
}
