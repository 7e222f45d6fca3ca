//! Queues with arguments: there and back, put right, edited, refused.
//!
//! All of it holds on RabbitMQ 4.3, too (`LEVERET_TEST_AMQP=HOST:PORT`); where the two differ a test says so.

use std::process::Command;
use std::time::Duration;

use harness::api_server::documents;
use harness::requests::{delete, durable};
use harness::scripted_client::table;
use harness::wait::until;
use harness::{call, place};
use leveret_amqp::method::QueueDeclare;
use serde_json::{Value, json};

use crate::{SOON, Stage, stage, text};

/// The time until the operator has noticed a change on the broker: RabbitMQ tells of none without its plugin for
/// events, and the next list does.
const NOTICED: Duration = Duration::from_secs(50);

/// All shorthands of classic queues, and the arguments that they stand for.
fn classic() -> (Value, Value) {
    let spec = json!({
        "messageTtl": "1500ms", "expires": "7d", "maxLength": 2, "maxLengthBytes": 1000, "overflow": "reject-publish-dlx",
        "maxPriority": 5, "singleActiveConsumer": true,
        "deadLetter": {"exchange": "amq.fanout", "routingKey": "late"},
    });
    let arguments = json!({
        "x-message-ttl": 1500, "x-expires": 604_800_000, "x-max-length": 2, "x-max-length-bytes": 1000,
        "x-overflow": "reject-publish-dlx", "x-max-priority": 5, "x-single-active-consumer": true,
        "x-dead-letter-exchange": "amq.fanout", "x-dead-letter-routing-key": "late",
    });
    (spec, arguments)
}

/// As [`classic`], for quorum queues.
fn quorum() -> (Value, Value) {
    let spec = json!({
        "type": "quorum", "messageTtl": "1m", "expires": "1h", "maxLength": 2, "maxLengthBytes": 1000,
        "overflow": "reject-publish", "singleActiveConsumer": true, "deliveryLimit": -1, "consumerTimeout": "30m",
        "deadLetter": {"exchange": "", "routingKey": "failed", "strategy": "at-least-once"},
        "delayedRetry": {"type": "failed", "min": "200ms", "max": "1m"},
    });
    let arguments = json!({
        "x-queue-type": "quorum", "x-message-ttl": 60_000, "x-expires": 3_600_000, "x-max-length": 2,
        "x-max-length-bytes": 1000, "x-overflow": "reject-publish", "x-single-active-consumer": true,
        "x-delivery-limit": -1, "x-consumer-timeout": 1_800_000, "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "failed", "x-dead-letter-strategy": "at-least-once",
        "x-delayed-retry-type": "failed", "x-delayed-retry-min": 200, "x-delayed-retry-max": 60_000,
    });
    (spec, arguments)
}

impl Stage {
    fn queue_with(&self, spec: &Value) -> Value {
        let mut queue = self.queue("q");
        for (field, value) in spec.as_object().expect("a spec") {
            queue["spec"][field] = value.clone();
        }
        queue
    }

    /// The arguments of the queue on the broker; none while it isn't there. RabbitMQ adds the type to those of classic
    /// queues.
    fn arguments(&self) -> Option<Value> {
        let path = format!("/api/queues/%2F/{}", self.name("q"));
        let answer = self.http().request("GET", &path, None);
        let mut arguments = (answer.status == 200).then(|| answer.json()["arguments"].take())?;
        let map = arguments.as_object_mut().expect("arguments");
        map.retain(|name, value| name != "x-queue-type" || value != "classic");
        Some(arguments)
    }

    /// The spec that `leveret export` writes for the queue; the reference to the broker aside.
    fn exported(&self) -> Value {
        let output = Command::new(place::program("leveret", "LEVERET_BIN"))
            .args(["export", "--management", &format!("http://{}", self.broker.http())])
            .output()
            .expect("leveret runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let mut manifests = documents(&said).into_iter();
        let queue = manifests.find(|manifest| text(manifest, "/metadata/name") == self.name("q"));
        let mut spec = queue.unwrap_or_else(|| panic!("the queue is exported: {said}"))["spec"].take();
        spec.as_object_mut().expect("a spec").remove("brokerRef");
        spec
    }
}

async fn there_and_back(what: &str, (spec, arguments): (Value, Value)) {
    let Some(stage) = stage(what).await else { return };
    let queue = stage.queue_with(&spec);
    stage.synced(&queue).await;
    assert_eq!(stage.arguments(), Some(arguments.clone()));
    assert_eq!(stage.exported(), spec);
    let (code, said) = stage.plan(&[&queue]);
    assert!(code == Some(0) && said.contains("1 as declared"), "{said}");

    let mut client = stage.amqp();
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
    until("the queue is back", NOTICED, || {
        stage.arguments().as_ref() == Some(&arguments)
    });
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;

    let mut edited = queue.clone();
    edited["spec"]["messageTtl"] = json!("2m");
    edited["spec"].as_object_mut().expect("a spec").remove("maxLength");
    let (code, said) = stage.plan(&[&edited]);
    assert!(code == Some(2) && said.contains("Immutable"), "{said}");
    stage.apply(&edited).await;
    let message = stage.resources.becomes("Queue", "q", "False", "Immutable", SOON).await;
    let ttl = format!(
        "x-message-ttl is {} on the broker, wanted 120000",
        arguments["x-message-ttl"]
    );
    for part in [ttl.as_str(), "x-max-length is 2 on the broker, wanted not set"] {
        assert!(message.contains(part), "{message}");
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(stage.arguments().as_ref(), Some(&arguments), "the queue is as it was");
    stage.synced(&queue).await;
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    assert_eq!(stage.arguments(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_queue_with_all_shorthands_is_exported_restored_and_not_edited() {
    there_and_back("classic", classic()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_queue_with_all_shorthands_is_exported_restored_and_not_edited() {
    there_and_back("quorum", quorum()).await;
}

/// While nothing is done for the object, since it is paused.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_declared_by_hand_with_other_arguments_is_reported_until_it_goes() {
    let Some(stage) = stage("other").await else { return };
    let (spec, arguments) = classic();
    let queue = stage.queue_with(&spec);
    stage.synced(&queue).await;
    let mut paused = queue.clone();
    paused["metadata"]["annotations"] = json!({"leveret.dev/paused": "true"});
    stage.apply(&paused).await;
    stage.resources.says("Queue", "q", "paused", SOON).await;
    let mut client = stage.amqp();
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
    let declare = QueueDeclare {
        arguments: table([("x-max-length", 7.into())]),
        ..durable(&stage.name("q"))
    };
    call!(client, 1, declare => QueueDeclareOk);

    stage.apply(&queue).await;
    let ready = stage
        .resources
        .says("Queue", "q", "x-max-length is 7 on the broker, wanted 2", NOTICED)
        .await;
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Immutable"));
    assert!(
        ready.message.contains("x-overflow is not set on the broker"),
        "{}",
        ready.message
    );
    assert_eq!(
        stage.arguments(),
        Some(json!({"x-max-length": 7})),
        "the queue is left alone"
    );
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
    until("the queue is back", NOTICED, || {
        stage.arguments().as_ref() == Some(&arguments)
    });
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_classic_in_a_virtual_host_that_prefers_quorum() {
    let Some(stage) = stage("prefers").await else { return };
    let name = stage.name("shop");
    let vhost = json!({"name": name, "defaultQueueType": "quorum"});
    stage.synced(&stage.manifest("Vhost", "shop", vhost)).await;
    let queue = stage.manifest("Queue", "q", json!({"vhost": name}));
    stage.synced(&queue).await;
    let found = stage.http().get(&format!("/api/queues/{name}/q"));
    assert_eq!(found["type"], "classic");
    // Two more lists.
    tokio::time::sleep(Duration::from_secs(11)).await;
    stage.synced(&queue).await;
    for (kind, name) in [("Queue", "q"), ("Vhost", "shop")] {
        stage.resources.delete(kind, name).await;
        stage.resources.goes(kind, name, SOON).await;
    }
}

/// Leveret obeys some arguments in classic queues that RabbitMQ has in quorum queues alone. RabbitMQ takes those of a
/// plugin that isn't there, to no effect.
#[tokio::test(flavor = "multi_thread")]
async fn an_argument_that_the_broker_refuses_is_named() {
    let Some(stage) = stage("refused").await else { return };
    let rabbitmq = stage.broker.is_external();
    let dead = json!({"exchange": "", "strategy": "at-most-once"});
    let deduplication = json!({"cacheSize": 10, "cacheTtl": "1h", "header": "id"});
    for (spec, refused, argument) in [
        (json!({"type": "quorum", "maxPriority": 5}), true, "x-max-priority"),
        (json!({"expires": "0s"}), true, "x-expires"),
        (json!({"messageTtl": "400000d"}), true, "x-message-ttl"),
        (json!({"arguments": {"x-queue-version": 7}}), true, "x-queue-version"),
        (json!({"deliveryLimit": 3}), rabbitmq, "x-delivery-limit"),
        (json!({"consumerTimeout": "1m"}), rabbitmq, "x-consumer-timeout"),
        (
            json!({"delayedRetry": {"type": "all", "min": "1s"}}),
            rabbitmq,
            "x-delayed-retry-",
        ),
        (json!({"deadLetter": dead}), true, "x-dead-letter-strategy"),
        (
            json!({"deduplication": deduplication}),
            !rabbitmq,
            "x-message-deduplication",
        ),
        (json!({"type": "stream"}), !rabbitmq, "x-queue-type"),
    ] {
        let queue = stage.queue_with(&spec);
        if refused {
            stage.apply(&queue).await;
            let message = stage
                .resources
                .becomes("Queue", "q", "False", "InvalidArgument", SOON)
                .await;
            println!("{spec}: {message}");
            assert!(message.contains(&format!("invalid arg '{argument}")), "{message}");
            assert_eq!(stage.arguments(), None);
            stage.synced(&stage.queue("q")).await;
        } else {
            stage.synced(&queue).await;
            assert_eq!(stage.exported(), spec);
        }
        stage.resources.delete("Queue", "q").await;
        stage.resources.goes("Queue", "q", SOON).await;
    }
}
