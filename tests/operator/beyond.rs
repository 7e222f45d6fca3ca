//! A resource whose Broker is in a namespace that an operator does not watch: it is left to the operator that sees
//! both, and where there is none it is told so and let go.

use std::time::Duration;

use harness::api_server::{Resources, api_server};
use harness::operator_process::Operator;
use harness::requests::*;
use harness::wait::{eventually_async, until};
use harness::{Broker, Client, call};
use kube::api::DynamicObject;
use serde_json::json;

use crate::{SOON, broker_manifests, manifest, text};

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_see_a_broker_leaves_its_objects_to_who_does() {
    let Some(cluster) = api_server() else { return };
    let client = cluster.client().await;
    let here = cluster.namespace(&client, "beyond").await;
    let there = cluster.namespace(&client, "beyond-broker").await;
    let (resources, at_broker) = (Resources::new(&client, &here), Resources::new(&client, &there));
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    let [credentials, mut main] = broker_manifests("main", &broker);
    main["spec"]["allowedNamespaces"] = json!({"from": "All"});
    for manifest in [credentials, main] {
        at_broker.apply(&manifest).await.expect("a Broker");
    }
    let operator = |lease: &str, more: &[&str]| {
        let lease = format!("{here}-{lease}");
        let flags = [
            "--lease-name",
            &lease,
            "--lease-namespace",
            "default",
            "--deletion-timeout",
            "5s",
        ];
        Operator::start(&cluster, &here, &[&flags, more].concat())
    };
    let queue = |name: &str| {
        let reference = json!({"name": "main", "namespace": there});
        manifest(
            "Queue",
            name,
            json!({"brokerRef": reference, "name": format!("{here}-{name}")}),
        )
    };

    // It alone: that nobody keeps the queue is told.
    let _near = operator("near", &[]);
    resources.apply(&queue("q")).await.expect("a Queue");
    let words = format!("Broker {there}/main is in a namespace that operator default/{here}-near does not watch");
    let said = resources.says("Queue", "q", &words, SOON * 2).await;
    assert_eq!(said.reason, "WaitingForBroker");

    // With one that sees both, it says nothing, and takes nothing away.
    let mut far = operator("far", &["--watch-namespace", &there]);
    resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    let name = format!("{here}-q");
    let mut amqp = Client::with_channel(broker.amqp());
    amqp.publish_persistent(1, "", &name, b"precious");
    let has_one = || call!(amqp, 1, passive(&name) => QueueDeclareOk).message_count == 1;
    until("it is there", SOON, has_one);
    resources.delete("Queue", "q").await;
    resources.becomes("Queue", "q", "False", "DeletionBlocked", SOON).await;
    // Longer than it waits for somebody to look.
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(
        resources.ready("Queue", "q").await.expect("it stays").reason,
        "DeletionBlocked"
    );
    assert_eq!(amqp.get(1, &name, true).expect("the message").body, "precious");
    resources.goes("Queue", "q", SOON * 2).await;

    // The other has gone: what is deleted doesn't hang, and what stays is told.
    resources.apply(&queue("left")).await.expect("a Queue");
    resources.becomes("Queue", "left", "True", "Synced", SOON).await;
    assert!(far.terminate(SOON).success());
    resources.delete("Queue", "left").await;
    resources.goes("Queue", "left", SOON * 2).await;
    let told = || async {
        let events = resources.api("Event").list(&Default::default()).await.expect("events");
        let left = |event: &DynamicObject| {
            text(&event.data, "/reason") == "LeftBehind" && text(&event.data, "/message").contains("does not watch")
        };
        if events.items.iter().any(left) {
            Ok(())
        } else {
            Err("no such event")
        }
    };
    eventually_async("what stays is told", SOON, told).await;
}
