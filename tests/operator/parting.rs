//! A Broker goes last, nothing hangs, and what stays on a broker is told where it can still be found.

use std::time::{Duration, Instant};

use harness::api_server::{Resources, api_server};
use harness::call;
use harness::operator_process::Operator;
use harness::requests::*;
use harness::wait::{eventually_async, until};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Patch};
use serde_json::{Value, json};

use crate::{SOON, Stage, manifest, stage, stage_with, text};

const WHOLE: usize = 10;

impl Stage {
    /// Queues, exchanges and bindings, Synced.
    async fn populate(&self) {
        for number in 0..WHOLE {
            self.apply(&self.exchange(&format!("x-{number}"), "topic")).await;
            self.apply(&self.queue(&format!("q-{number}"))).await;
            let (exchange, queue) = (format!("x-{number}"), format!("q-{number}"));
            self.apply(&self.binding(&format!("b-{number}"), &exchange, &queue, "k.#"))
                .await;
        }
        for kind in ["Exchange", "Queue", "Binding"] {
            for number in 0..WHOLE {
                let name = format!("{}-{number}", initial(kind));
                self.resources.becomes(kind, &name, "True", "Synced", SOON).await;
            }
        }
    }

    /// Everything of this test that the broker still has.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for kind in ["queues", "exchanges"] {
            let listed = self.http().get(&format!("/api/{kind}"));
            let names = listed.as_array().expect("a list").iter().map(|row| text(row, "/name"));
            left.extend(names.filter(|name| name.starts_with(&self.namespace)));
        }
        left
    }

    async fn delete_namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let parameters = DeleteParams::default();
        namespaces
            .delete(&self.namespace, &parameters)
            .await
            .expect("it can be deleted");
    }

    async fn namespace_goes(&self, within: Duration) -> Duration {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let gone = || async {
            let found = namespaces.get_opt(&self.namespace).await;
            match found.expect("the API server answers") {
                None => Ok(()),
                Some(namespace) => Err(namespace.status),
            }
        };
        eventually_async("the namespace is gone", within, gone).await.1
    }

    /// Waits for an event beside the operator's Lease that has these words.
    async fn is_announced(&self, words: &str) {
        let beside = Resources::new(&self.client, "default");
        let told = || async {
            let events = beside.api("Event").list(&Default::default()).await.expect("events");
            let mine = |event: &&kube::api::DynamicObject| text(&event.data, "/reason") == "LeftBehind";
            let notes: Vec<String> = events
                .items
                .iter()
                .filter(mine)
                .map(|event| text(&event.data, "/message"))
                .collect();
            match notes
                .iter()
                .any(|note| note.contains(&self.namespace) && note.contains(words))
            {
                true => Ok(()),
                false => Err(notes),
            }
        };
        eventually_async(&format!("it is announced: {words}"), SOON, told).await;
    }

    async fn events(&self, reason: &str) -> Vec<String> {
        let events = self
            .resources
            .api("Event")
            .list(&Default::default())
            .await
            .expect("events");
        let about = |event: &&kube::api::DynamicObject| text(&event.data, "/reason") == reason;
        let told = |event: &kube::api::DynamicObject| {
            format!(
                "{} {}",
                text(&event.data, "/involvedObject/kind"),
                text(&event.data, "/message")
            )
        };
        events.items.iter().filter(about).map(told).collect()
    }
}

fn initial(kind: &str) -> &'static str {
    match kind {
        "Exchange" => "x",
        "Queue" => "q",
        _ => "b",
    }
}

/// Somebody was faster, while no operator looked: that is as gone as it should be.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_already_goes() {
    let Some(mut stage) = stage("already").await else {
        return;
    };
    let Some(cluster) = api_server() else { return };
    for manifest in [
        stage.exchange("x", "topic"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "k"),
    ] {
        stage.synced(&manifest).await;
    }
    assert!(stage.operator.terminate(SOON).success());
    for (kind, name) in [("queues", "q"), ("exchanges", "x")] {
        let path = format!("/api/{kind}/%2F/{}", stage.name(name));
        assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
    }
    for (kind, name) in [("Binding", "b"), ("Queue", "q"), ("Exchange", "x")] {
        stage.resources.delete(kind, name).await;
    }
    stage.operator = Operator::start(&cluster, &stage.namespace, &["--leader-election", "false"]);
    for (kind, name) in [("Binding", "b"), ("Queue", "q"), ("Exchange", "x")] {
        stage.resources.goes(kind, name, SOON).await;
    }
    assert_eq!(stage.events("LeftBehind").await, [""; 0]);
}

/// Kubernetes may delete the Broker a moment before the rest, or a user may.
#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_a_broker_is_cleaned_up_before_it_goes() {
    let Some(stage) = stage("last").await else { return };
    stage.populate().await;
    stage.resources.delete("Broker", "main").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let message = stage
        .resources
        .becomes("Broker", "main", "False", "DeletionBlocked", SOON)
        .await;
    assert!(
        message.contains("30 resources refer to it (0 being deleted)"),
        "{message}"
    );
    for kind in ["Queue", "Exchange", "Binding"] {
        let all = stage.resources.api(kind);
        all.delete_collection(&DeleteParams::default(), &Default::default())
            .await
            .expect("they can be deleted");
    }
    stage.resources.goes("Broker", "main", SOON).await;
    assert_eq!(stage.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_deleted_leaves_nothing_on_a_healthy_broker() {
    for round in 0..2 {
        let Some(stage) = stage(&format!("whole-{round}")).await else {
            return;
        };
        stage.populate().await;
        stage.delete_namespace().await;
        let took = stage.namespace_goes(SOON).await;
        println!("the namespace was gone after {took:?}");
        assert_eq!(stage.left(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_messages_goes_and_says_what_stays() {
    let Some(stage) = stage_with("loaded", &["--deletion-timeout", "4s"]).await else {
        return;
    };
    stage.synced(&stage.queue("q")).await;
    let mut client = stage.amqp();
    client.publish_persistent(1, "", &stage.name("q"), b"precious");
    let there = || call!(client, 1, passive(&stage.name("q")) => QueueDeclareOk).message_count == 1;
    until("it is there", SOON, there);
    stage.delete_namespace().await;
    let took = stage.namespace_goes(Duration::from_secs(40)).await;
    println!("the namespace was gone after {took:?}");
    assert!(stage.has_queue("q"), "its message is not lost");
    stage.is_announced("holds 1 message").await;
    let metrics = stage.operator.serve().request("GET", "/metrics", None).body;
    assert!(
        metrics.contains("leveret_operator_left_behind_total{kind=\"Queue\"} 1"),
        "{metrics}"
    );
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_queue_and_its_broker_go_in_bounded_time() {
    let Some(stage) = stage_with("blocked", &["--deletion-timeout", "4s"]).await else {
        return;
    };
    stage.synced(&stage.queue("q")).await;
    let mut client = stage.amqp();
    client.publish_persistent(1, "", &stage.name("q"), b"precious");
    call!(client, 1, passive(&stage.name("q")) => QueueDeclareOk);
    stage.resources.delete("Queue", "q").await;
    stage.resources.delete("Broker", "main").await;
    stage
        .resources
        .becomes("Queue", "q", "False", "DeletionBlocked", SOON)
        .await;
    stage.resources.goes("Broker", "main", SOON).await;
    assert!(stage.resources.is_gone("Queue", "q").await, "it went before");
    assert!(stage.has_queue("q"));
    stage.is_announced("holds 1 message").await;
    let told = stage.events("LeftBehind").await;
    assert!(
        told.iter().any(|event| event.starts_with("Broker on Broker ")),
        "{told:?}"
    );
    assert!(told.iter().any(|event| event.starts_with("Queue queue ")), "{told:?}");
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_that_is_away_keeps_is_told_on_the_broker() {
    let Some(mut stage) = stage_with("kept", &["--deletion-timeout", "3s"]).await else {
        return;
    };
    if stage.broker.is_external() {
        return eprintln!("skipped: the broker is not this test's to stop");
    }
    stage.synced(&stage.queue("q")).await;
    stage.broker.kill();
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    let told = || async {
        let events = stage.events("LeftBehind").await;
        let on_broker = |event: &String| event.starts_with("Broker ") && event.contains("for 3 s since the deletion");
        if events.iter().any(on_broker) {
            Ok(())
        } else {
            Err(events)
        }
    };
    eventually_async("the Broker has an event", SOON, told).await;
    stage.broker = stage.broker.restart();
    assert!(stage.has_queue("q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_that_somebody_removes_is_put_back() {
    let Some(stage) = stage("bared").await else { return };
    stage.synced(&stage.exchange("x", "topic")).await;
    for kind in [("Exchange", "x"), ("Broker", "main")] {
        let api = stage.resources.api(kind.0);
        let none = json!({"metadata": {"finalizers": []}});
        api.patch(kind.1, &Default::default(), &Patch::Merge(&none))
            .await
            .expect("it can be changed");
        let started = Instant::now();
        let back = || async {
            let object = api.get(kind.1).await.map_err(|error| error.to_string())?;
            match object.metadata.finalizers.unwrap_or_default().as_slice() {
                [one] if one == "leveret.dev/finalizer" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        eventually_async("the finalizer is back", SOON, back).await;
        println!("{kind:?}: back after {:?}", started.elapsed());
    }
    stage.resources.delete("Exchange", "x").await;
    stage.resources.goes("Exchange", "x", SOON).await;
    assert!(!stage.has_exchange("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_in_any_spelling_and_deleted_is_told_of() {
    let Some(stage) = stage("paused").await else { return };
    stage.synced(&stage.queue("q")).await;
    let annotated = json!({"metadata": {"annotations": {"leveret.dev/paused": "yes"}}});
    let api = stage.resources.api("Queue");
    api.patch("q", &Default::default(), &Patch::Merge(&annotated))
        .await
        .expect("an annotation");
    stage.resources.becomes("Queue", "q", "Unknown", "Paused", SOON).await;
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    assert!(stage.has_queue("q"));
    stage
        .is_announced("stays on the broker: nothing is done for what is paused")
        .await;
}

/// No pod runs here, so the test plays the kubelet: it says that one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_a_volume_asks_before_its_messages_go() {
    let Some(stage) = stage_with("asks", &["--deletion-timeout", "3s", "--allow-port-forwards", "true"]).await else {
        return;
    };
    let mut volatile: Value = manifest("Broker", "own", json!({}));
    volatile["metadata"]["annotations"] = json!({
        "leveret.dev/amqp-uri": format!("amqp://{}", stage.broker.amqp()),
        "leveret.dev/management-uri": format!("http://{}", stage.broker.http()),
    });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own-admin"},
        "stringData": {"username": "guest", "password": "guest"}});
    stage.apply(&volatile).await;
    eventually_async("its Secret is there", SOON, || async {
        match stage.resources.is_gone("Secret", "own-admin").await {
            false => Ok(()),
            true => Err("not yet"),
        }
    })
    .await;
    stage.apply(&secret).await;
    let mut queue = stage.queue("q");
    queue["spec"]["brokerRef"]["name"] = json!("own");
    stage.synced(&queue).await;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let runs = json!({"status": {"phase": "Running"}});
    let says = || async {
        let answer = pods
            .patch_status("own-0", &Default::default(), &Patch::Merge(&runs))
            .await;
        answer.map(drop).map_err(|error| error.to_string())
    };
    eventually_async("its pod is said to run", SOON, says).await;
    let mut client = stage.amqp();
    client.publish_persistent(1, "", &stage.name("q"), b"precious");
    call!(client, 1, passive(&stage.name("q")) => QueueDeclareOk);
    stage.resources.delete("Broker", "own").await;
    let holds = stage
        .resources
        .says("Broker", "own", "holds 1 message, which goes with it", SOON);
    assert_eq!(holds.await.reason, "DeletionBlocked");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(
        !stage.resources.is_gone("Broker", "own").await,
        "it asks for longer than it waits"
    );
    call!(client, 1, purge(&stage.name("q")) => QueuePurgeOk);
    stage.resources.goes("Broker", "own", SOON).await;
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
}
