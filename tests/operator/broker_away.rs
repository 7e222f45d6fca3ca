//! The broker goes, comes back, or comes back with nothing.

use std::time::Duration;

use harness::wait::{eventually_async, until};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::{SOON, stage, stage_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_an_empty_disk_gets_everything_again() {
    let Some(mut stage) = stage("empty").await else { return };
    if stage.broker.is_external() {
        return eprintln!("skipped: the broker is not this test's to restart");
    }
    for manifest in [
        stage.exchange("x", "topic"),
        stage.binding("b", "x", "q", "k.#"),
        stage.queue("q"),
    ] {
        stage.apply(&manifest).await;
    }
    stage.resources.becomes("Binding", "b", "True", "Synced", SOON).await;
    stage.broker.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.broker = stage.broker.restart_empty();
    let took = until("everything is back", SOON, || {
        stage.has_queue("q") && stage.keys("x", "q") == ["k.#"]
    });
    println!("everything was declared again {took:?} after the broker was back");
    for (kind, name) in [("Queue", "q"), ("Exchange", "x"), ("Binding", "b"), ("Broker", "main")] {
        stage.resources.becomes(kind, name, "True", "Synced", SOON).await;
    }
    let text = "nothing stood on the broker any more of what had been declared there";
    assert!(stage.tells("Broker", "main", "BrokerEmptied", text).await, "a warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_meanwhile_waits() {
    let Some(mut stage) = stage("away").await else { return };
    if stage.broker.is_external() {
        return eprintln!("skipped: the broker is not this test's to stop");
    }
    stage.resources.becomes("Broker", "main", "True", "Synced", SOON).await;
    stage.broker.kill();
    stage.apply(&stage.queue("q")).await;
    stage
        .resources
        .becomes("Queue", "q", "Unknown", "WaitingForBroker", SOON)
        .await;
    stage.broker = stage.broker.restart();
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    assert!(stage.has_queue("q"));
}

/// A broker that takes connections and never answers must not delay another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_delays_no_other() {
    let Some(stage) = stage("silent").await else { return };
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = deaf.local_addr().expect("it is bound");
    let external = json!({
        "uri": format!("amqp://{address}"), "managementUri": format!("http://{address}"),
        "credentialsSecretRef": {"name": "deaf-admin"},
    });
    stage
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "deaf-admin", "annotations": {"leveret.dev/broker": "deaf"}},
            "stringData": {"username": "guest", "password": "guest"},
        }))
        .await;
    stage
        .apply(&crate::manifest(
            "Broker",
            "deaf",
            json!({"engine": "External", "external": external}),
        ))
        .await;
    for number in 0..20 {
        let mut queue = stage.queue(&format!("lost-{number}"));
        queue["spec"]["brokerRef"]["name"] = json!("deaf");
        stage.apply(&queue).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = std::time::Instant::now();
    stage.synced(&stage.queue("quick")).await;
    println!("the other broker's queue was ready after {:?}", start.elapsed());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_although_the_broker_is_away() {
    let Some(mut stage) = stage_with("gone", &["--deletion-timeout", "3s"]).await else {
        return;
    };
    if stage.broker.is_external() {
        return eprintln!("skipped: the broker is not this test's to stop");
    }
    for number in 0..20 {
        stage.apply(&stage.queue(&format!("q-{number}"))).await;
    }
    for manifest in [stage.exchange("x", "topic"), stage.binding("b", "x", "q-0", "k.#")] {
        stage.apply(&manifest).await;
    }
    stage.resources.becomes("Binding", "b", "True", "Synced", SOON).await;
    stage.resources.becomes("Queue", "q-19", "True", "Synced", SOON).await;
    stage.broker.kill();
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces
        .delete(&stage.namespace, &DeleteParams::default())
        .await
        .expect("it can be deleted");
    let gone = || async {
        match namespaces
            .get_opt(&stage.namespace)
            .await
            .expect("the API server answers")
        {
            None => Ok(()),
            Some(namespace) => Err(namespace.status),
        }
    };
    let (_, took) = eventually_async("the namespace is gone", Duration::from_secs(60), gone).await;
    println!("the namespace was gone after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_deletion_does_not_wait() {
    let Some(mut stage) = stage_with("forced", &["--deletion-timeout", "1h"]).await else {
        return;
    };
    if stage.broker.is_external() {
        return eprintln!("skipped: the broker is not this test's to stop");
    }
    stage.synced(&stage.queue("q")).await;
    stage.broker.kill();
    stage.resources.delete("Queue", "q").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!stage.resources.is_gone("Queue", "q").await, "it waits for the broker");
    let annotated = json!({"metadata": {"annotations": {"leveret.dev/force-delete": "true"}}});
    let patch = kube::api::Patch::Merge(&annotated);
    stage
        .resources
        .api("Queue")
        .patch("q", &Default::default(), &patch)
        .await
        .expect("an annotation");
    stage.resources.goes("Queue", "q", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_ends_leaves_everything_as_it_is() {
    let Some(mut stage) = stage("stop").await else { return };
    stage.synced(&stage.queue("q")).await;
    let status = stage.operator.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(stage.has_queue("q"));
    assert!(!stage.operator.log().contains("panicked"));
}
