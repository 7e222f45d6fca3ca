//! What users are told: events that say what is so now, refusals that are tried again, drift, and Brokers that share a
//! broker.

use std::time::Duration;

use harness::call;
use harness::requests::{delete, durable};
use harness::wait::{eventually_async, until};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch};
use leveret_amqp::method::*;
use serde_json::{Value, json};

use crate::{SOON, Stage, broker_manifests, stage, stage_with};

impl Stage {
    /// Events about an object, the newest last: whether it is a warning, reason, text.
    async fn events_of(&self, kind: &str, name: &str) -> Vec<(bool, String, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = api.list(&ListParams::default()).await.expect("events").items;
        events.retain(|event| {
            let about = event.regarding.clone().unwrap_or_default();
            (about.kind.as_deref(), about.name.as_deref()) == (Some(kind), Some(name))
        });
        events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        let told = events.into_iter().map(|event| {
            let (reason, note) = (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
            (event.type_.as_deref() == Some("Warning"), reason, note)
        });
        told.collect()
    }

    /// Waits for an event with these words; the answer is whether it is a warning.
    pub(crate) async fn tells(&self, kind: &str, name: &str, reason: &str, words: &str) -> bool {
        let ask = || async {
            let events = self.events_of(kind, name).await;
            let found = events
                .iter()
                .find(|(_, said, text)| said == reason && text.contains(words));
            found.map(|(warning, ..)| *warning).ok_or(events.clone())
        };
        eventually_async(&format!("{kind} {name}: event {reason}: {words}"), SOON, ask)
            .await
            .0
    }

    async fn annotate(&self, kind: &str, name: &str, key: &str, value: &str) {
        let body = json!({"metadata": {"annotations": {key: value}}});
        let api = self.resources.api(kind);
        api.patch(name, &Default::default(), &Patch::Merge(&body))
            .await
            .expect("an annotation");
    }

    /// The sum of the operator's counters whose name and labels begin and go on like this.
    fn counted(&self, name: &str, label: &str) -> u64 {
        let text = self.operator.serve().request("GET", "/metrics", None).body;
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

fn with(mut manifest: Value, field: &str, value: Value) -> Value {
    manifest["spec"][field] = value;
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn another_text_is_another_event() {
    let Some(stage) = stage("events").await else { return };
    stage.synced(&stage.queue("q")).await;
    stage.apply(&with(stage.queue("q"), "messageTtl", json!("2m"))).await;
    stage.resources.becomes("Queue", "q", "False", "Immutable", SOON).await;
    stage.synced(&stage.queue("q")).await;
    stage.apply(&with(stage.queue("q"), "maxLength", json!(5))).await;
    assert!(
        stage.tells("Queue", "q", "Immutable", "x-max-length is not set").await,
        "a warning"
    );
    let events = stage.events_of("Queue", "q").await;
    let (_, reason, text) = events.last().expect("events");
    assert_eq!(reason, "Immutable", "{events:?}");
    assert!(
        text.contains("x-max-length") && !text.contains("x-message-ttl"),
        "{events:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_shows_no_warning() {
    let Some(stage) = stage("calm").await else { return };
    let [secret, mut broker] = broker_manifests("late", &stage.broker);
    broker["spec"]["external"]["credentialsSecretRef"]["name"] = json!("late-admin");
    stage.apply(&broker).await;
    stage.apply(&stage.binding("b", "x", "q", "k")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for manifest in [secret, stage.exchange("x", "topic"), stage.queue("q")] {
        stage.apply(&manifest).await;
    }
    stage.resources.becomes("Binding", "b", "True", "Synced", SOON).await;
    stage.resources.becomes("Broker", "late", "True", "Synced", SOON).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (kind, name) in [("Broker", "late"), ("Binding", "b"), ("Queue", "q")] {
        let events = stage.events_of(kind, name).await;
        assert!(events.iter().all(|(warning, ..)| !warning), "{kind} {name}: {events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_queue_is_tried_again_soon_then_seldom_and_when_it_is_touched() {
    let Some(stage) = stage("again").await else { return };
    let refusals = |stage: &Stage| stage.counted("leveret_operator_broker_calls_total", "outcome=\"refused\"");
    stage.apply(&with(stage.queue("q"), "expires", json!("0s"))).await;
    stage
        .resources
        .becomes("Queue", "q", "False", "InvalidArgument", SOON)
        .await;
    until("three attempts", SOON, || refusals(&stage) >= 3);
    let said = stage.resources.says("Queue", "q", "; tried again at ", SOON * 2).await;
    assert!(said.message.contains(", or when this object is touched"), "{said:?}");
    let before = refusals(&stage);
    stage.annotate("Queue", "q", "example.com/checked", "today").await;
    until("another attempt", Duration::from_secs(3), || refusals(&stage) > before);
    let events = stage.events_of("Queue", "q").await;
    let told = events
        .iter()
        .filter(|(_, reason, _)| reason == "InvalidArgument")
        .count();
    assert_eq!(told, 1, "attempts are no events: {events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_an_event_and_a_count_but_not_of_queues_that_go_by_themselves() {
    let Some(stage) = stage("drifted").await else { return };
    stage.synced(&stage.queue("q")).await;
    let expiring = with(stage.queue("expiring"), "expires", json!("1s"));
    stage.synced(&expiring).await;
    let mut client = stage.amqp();
    for _ in 0..2 {
        client.publish_persistent(1, "", &stage.name("q"), b"precious");
    }
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
    let text = format!("queue '{}' was gone from the broker and was put back", stage.name("q"));
    assert!(stage.tells("Queue", "q", "DriftRepaired", &text).await, "a warning");
    let repairs = |stage: &Stage, label: &str| stage.counted("leveret_operator_drift_repairs_total", label);
    let broker = format!("broker_namespace=\"{}\",broker=\"main\"", stage.namespace);
    assert_eq!(repairs(&stage, &broker), 1);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(
        stage.has_queue("expiring") || !stage.broker.is_external(),
        "it came back, again and again"
    );
    assert_eq!(repairs(&stage, "kind=\"Queue\""), 1);
    let events = stage.events_of("Queue", "expiring").await;
    assert!(events.iter().all(|(warning, ..)| !warning), "{events:?}");
    stage
        .resources
        .becomes("Queue", "expiring", "True", "Synced", SOON)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_for_one_broker_know_of_each_other() {
    let Some(stage) = stage("twins").await else { return };
    for manifest in broker_manifests("twin", &stage.broker) {
        stage.apply(&manifest).await;
    }
    stage
        .resources
        .says("Broker", "main", "/twin leads to the same broker", SOON)
        .await;
    stage
        .resources
        .says("Broker", "twin", "/main leads to the same broker", SOON)
        .await;
    let claim = |name: &str, broker: &str| {
        let mut queue = stage.manifest("Queue", name, json!({"name": stage.name("same")}));
        queue["spec"]["brokerRef"]["name"] = json!(broker);
        queue
    };
    stage.synced(&claim("first", "main")).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.apply(&claim("second", "twin")).await;
    let message = stage
        .resources
        .becomes("Queue", "second", "False", "Conflict", SOON)
        .await;
    assert!(message.contains("/first, which is older"), "{message}");
    stage.resources.delete("Queue", "second").await;
    stage.resources.goes("Queue", "second", SOON).await;
    assert!(stage.has_queue("same"), "it was never the second one's");
    stage.apply(&claim("third", "twin")).await;
    stage
        .resources
        .becomes("Queue", "third", "False", "Conflict", SOON)
        .await;
    let mut client = stage.amqp();
    client.publish_persistent(1, "", &stage.name("same"), b"precious");
    stage.resources.delete("Queue", "first").await;
    stage.resources.goes("Queue", "first", SOON).await;
    stage.resources.becomes("Queue", "third", "True", "Synced", SOON).await;
    assert_eq!(
        client
            .get(1, &stage.name("same"), true)
            .expect("it is still there")
            .body,
        "precious"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn always_takes_over_and_says_what_stays() {
    let Some(stage) = stage("always").await else { return };
    let mut client = stage.amqp();
    let other = QueueDeclare {
        auto_delete: true,
        ..durable(&stage.name("q"))
    };
    call!(client, 1, other => QueueDeclareOk);
    stage
        .apply(&with(stage.queue("q"), "adoptionPolicy", json!("Always")))
        .await;
    let message = stage.resources.becomes("Queue", "q", "False", "Immutable", SOON).await;
    assert!(
        message.contains("autoDelete is true on the broker, wanted false"),
        "{message}"
    );
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    assert!(!stage.has_queue("q"), "it was taken over, and went with its resource");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_observed_is_left_alone() {
    let Some(stage) = stage("observe").await else { return };
    let mut queue = stage.queue("q");
    queue["metadata"]["annotations"] = json!({"leveret.dev/observe": "true"});
    stage.apply(&queue).await;
    let message = stage.resources.becomes("Queue", "q", "False", "Mismatch", SOON).await;
    assert!(message.contains("does not stand on the broker"), "{message}");
    let mut client = stage.amqp();
    call!(client, 1, durable(&stage.name("q")) => QueueDeclareOk);
    stage.resources.becomes("Queue", "q", "True", "Observed", SOON).await;
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    assert!(stage.has_queue("q"));
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_writes_of_busy_queues_are_few_and_can_be_none() {
    for (extra, most) in [
        (&["--resync", "1s", "--queue-numbers", "5s"][..], 60),
        (&["--resync", "1s", "--queue-numbers", "0s"][..], 0),
    ] {
        let Some(stage) = stage_with("busy", extra).await else {
            return;
        };
        for number in 0..20 {
            stage.apply(&stage.queue(&format!("q-{number}"))).await;
        }
        for number in 0..20 {
            stage
                .resources
                .becomes("Queue", &format!("q-{number}"), "True", "Synced", SOON)
                .await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let writes = |stage: &Stage| stage.counted("leveret_operator_api_writes_total", "what=\"status\"");
        let before = writes(&stage);
        let mut client = stage.amqp();
        for _ in 0..10 {
            for number in 0..20 {
                client.publish_persistent(1, "", &stage.name(&format!("q-{number}")), b"x");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let written = writes(&stage) - before;
        println!("{extra:?}: {written} writes in 10 s for 20 busy queues");
        assert!(written <= most, "{extra:?}: {written}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_selected_by_their_broker() {
    let Some(stage) = stage("select").await else { return };
    stage.synced(&stage.queue("q")).await;
    for (selector, found) in [("spec.brokerRef.name=main", 1), ("spec.brokerRef.name=other", 0)] {
        let parameters = ListParams::default().fields(selector);
        let listed = stage.resources.api("Queue").list(&parameters).await.expect("a list");
        assert_eq!(listed.items.len(), found, "{selector}");
    }
}
