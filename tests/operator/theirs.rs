//! Resources of RabbitMQ's topology operator (`rabbitmq.com/v1beta1`), reconciled in its place.

use std::time::Duration;

use harness::api_server::{OwnApiServer, api_server};
use harness::rabbitmq_resources::{API_VERSION, definitions, manifest};
use harness::wait::eventually_async;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{SOON, Stage, broker_manifests, stage_by, stage_with};

/// Users and their rights.
mod rights;

const FLAG: &str = "--rabbitmq-resources";
const DONE: &str = "SuccessfulCreateOrUpdate";
const NOT_DONE: &str = "FailedCreateOrUpdate";

/// A stage on a cluster that has the definitions.
async fn their_stage(what: &str) -> Option<Stage> {
    let cluster = api_server()?;
    cluster.install(&cluster.client().await, &definitions()).await;
    stage_with(what, &[FLAG]).await
}

fn api(client: &kube::Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = API_VERSION.split_once('/').expect("group and version");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

impl Stage {
    fn theirs(&self, kind: &str) -> Api<DynamicObject> {
        api(&self.client, &self.namespace, kind)
    }

    /// Applies a manifest of theirs, as `kubectl` does it.
    async fn apply_theirs(&self, kind: &str, name: &str, spec: Value) {
        let parameters = PatchParams::apply("kubectl").force();
        let patch = Patch::Apply(manifest(kind, name, spec));
        let applied = self.theirs(kind).patch(name, &parameters, &patch).await;
        applied.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    /// Waits for a condition Ready with this reason; for the newest generation if it is one of success.
    async fn theirs_become(&self, kind: &str, name: &str, reason: &str) -> DynamicObject {
        let ask = || async {
            let object = self.theirs(kind).get(name).await.map_err(|error| error.to_string())?;
            let status = object.data.get("status").cloned().unwrap_or_default();
            let is_new = reason != DONE || status["observedGeneration"].as_i64() == object.metadata.generation;
            match status["conditions"][0]["reason"] == reason && is_new {
                true => Ok(object),
                false => Err(status.to_string()),
            }
        };
        eventually_async(&format!("{kind} {name} says {reason}"), SOON, ask)
            .await
            .0
    }

    async fn theirs_go(&self, kind: &str, name: &str) {
        let asked = self.theirs(kind).delete(name, &DeleteParams::default()).await;
        asked.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        let ask = || async {
            match self.theirs(kind).get_opt(name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        eventually_async(&format!("{kind} {name} is gone"), SOON, ask).await;
    }

    /// Waits until the API answers something with this status.
    async fn answers(&self, path: &str, status: u16) {
        let ask = || async {
            let answer = self.http().request("GET", path, None);
            match answer.status == status {
                true => Ok(()),
                false => Err(format!("{}: {}", answer.status, answer.body)),
            }
        };
        eventually_async(&format!("{path} answers {status}"), SOON, ask).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_are_kept_from_the_first_apply_to_the_deletion() {
    let Some(stage) = their_stage("theirs").await else {
        return;
    };
    let vhost = stage.name("vhost");
    let within = |mut spec: Value| {
        spec["vhost"] = json!(vhost);
        spec
    };
    // In the order that needs the most waiting.
    let binding = json!({"source": "x", "destination": "q", "destinationType": "queue", "routingKey": "k",
        "arguments": {"n": 1}});
    let policy = json!({"name": "p", "pattern": "^q$", "definition": {"max-length": 5}});
    let all = [
        ("Binding", within(binding)),
        (
            "Queue",
            within(json!({"name": "q", "type": "quorum", "durable": true, "autoDelete": false})),
        ),
        (
            "Exchange",
            within(json!({"name": "x", "type": "topic", "durable": true})),
        ),
        ("Policy", within(policy)),
        (
            "OperatorPolicy",
            within(json!({"name": "o", "pattern": ".*", "definition": {"max-length": 9}})),
        ),
        ("Vhost", json!({"name": vhost, "tags": ["a"]})),
    ];
    for (kind, spec) in &all {
        stage.apply_theirs(kind, "it", spec.clone()).await;
    }
    for (kind, _) in &all {
        let object = stage.theirs_become(kind, "it", DONE).await;
        let status = &object.data["status"];
        assert_eq!(status["conditions"][0]["status"], "True");
        assert_eq!(status.as_object().map(|fields| fields.len()), Some(2), "{status}");
        let plural = match *kind {
            "Policy" => "policies".to_owned(),
            "OperatorPolicy" => "operatorpolicies".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let finalizers = object.metadata.finalizers.unwrap_or_default();
        assert_eq!(finalizers, [format!("deletion.finalizers.{plural}.rabbitmq.com")]);
    }
    let queue = stage.http().get(&format!("/api/queues/{vhost}/q"));
    assert_eq!((&queue["type"], &queue["policy"]), (&json!("quorum"), &json!("p")));
    let bindings = stage.http().get(&format!("/api/bindings/{vhost}/e/x/q/q"));
    assert_eq!(
        (&bindings[0]["routing_key"], &bindings[0]["arguments"]),
        (&json!("k"), &json!({"n": 1}))
    );
    // Edited.
    let edited = json!({"name": "p", "vhost": vhost, "pattern": "^q$", "definition": {"max-length": 6}});
    stage.apply_theirs("Policy", "it", edited).await;
    let ask = || async {
        let policy = stage.http().get(&format!("/api/policies/{vhost}/p"));
        match policy["definition"]["max-length"] == 6 {
            true => Ok(()),
            false => Err(policy.to_string()),
        }
    };
    eventually_async("the policy is edited", SOON, ask).await;
    stage.theirs_become("Policy", "it", DONE).await;
    // Changed by hand.
    let path = format!("/api/queues/{vhost}/q");
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
    stage.answers(&path, 200).await;
    stage.answers(&format!("/api/bindings/{vhost}/e/x/q/q"), 200).await;
    // Deleted.
    stage.theirs_go("Queue", "it").await;
    stage.answers(&path, 404).await;
    stage.theirs_go("Vhost", "it").await;
    stage.answers(&format!("/api/vhosts/{vhost}"), 404).await;
    for kind in ["Binding", "Exchange", "Policy", "OperatorPolicy"] {
        stage.theirs_go(kind, "it").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_operator_has_made_is_taken_over_untouched() {
    let Some(cluster) = api_server() else { return };
    cluster.install(&cluster.client().await, &definitions()).await;
    let start = |cluster: &harness::api_server::ApiServer, namespace: &str, arguments: &[&str]| {
        harness::operator_process::Operator::start(cluster, namespace, arguments)
    };
    let Some(mut stage) = stage_by("switch", &[], start).await else {
        return;
    };
    // As that operator has left it: finalizer, status, and the queue on the broker with a message.
    stage.operator.terminate(SOON);
    let name = stage.name("q");
    let path = format!("/api/queues/%2F/{name}");
    let made = stage.http().request("PUT", &path, Some(&json!({"durable": true})));
    assert_eq!(made.status, 201, "{}", made.body);
    stage.amqp().publish_persistent(1, "", &name, b"precious");
    for (object, policy) in [("kept", "retain"), ("gone", "delete")] {
        let spec = json!({"name": if object == "kept" { &name } else { "unheard" }, "durable": true,
            "deletionPolicy": policy});
        let mut theirs = manifest("Queue", object, spec);
        theirs["metadata"]["finalizers"] = json!(["deletion.finalizers.queues.rabbitmq.com"]);
        let parameters = PatchParams::apply("messaging-topology-operator").force();
        let queues = stage.theirs("Queue");
        queues
            .patch(object, &parameters, &Patch::Apply(theirs))
            .await
            .expect("it is applied");
        let status = json!({"apiVersion": API_VERSION, "kind": "Queue", "metadata": {"name": object}, "status": {
            "observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "reason": DONE,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let written = queues.patch_status(object, &parameters, &Patch::Apply(status)).await;
        written.expect("a status");
    }
    let before = stage.theirs("Queue").get("kept").await.expect("it is there");
    let arguments = ["--leader-election", "false", FLAG];
    stage.operator = start(&cluster, &stage.namespace, &arguments);
    stage.answers("/api/queues/%2F/unheard", 200).await;
    let after = stage.theirs_become("Queue", "kept", DONE).await;
    let time = |object: &DynamicObject| object.data["status"]["conditions"][0]["lastTransitionTime"].clone();
    assert_eq!(time(&after), time(&before), "it was Ready, and is");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = stage.theirs("Queue").get("kept").await.expect("it is there");
    assert_eq!(
        later.metadata.resource_version, before.metadata.resource_version,
        "nothing is written that stands there already"
    );
    stage.theirs_go("Queue", "gone").await;
    stage.answers("/api/queues/%2F/unheard", 404).await;
    stage.theirs_go("Queue", "kept").await;
    let queue = stage.http().get(&path);
    assert_eq!(queue["messages"], 1, "deletionPolicy: retain");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_in_that_operators_form() {
    let Some(stage) = their_stage("theirs-wrong").await else {
        return;
    };
    stage
        .apply_theirs("Queue", "reserved", json!({"name": "amq.mine"}))
        .await;
    stage
        .apply_theirs("Queue", "lost", json!({"name": stage.name("lost"), "vhost": "nowhere"}))
        .await;
    for (name, words) in [("reserved", "reserved by the broker"), ("lost", "WaitingForVhost: ")] {
        let object = stage.theirs_become("Queue", name, NOT_DONE).await;
        let ready = &object.data["status"]["conditions"][0];
        assert!(
            ready["message"].as_str().is_some_and(|text| text.contains(words)),
            "{ready}"
        );
        assert_eq!(object.data["status"].get("observedGeneration"), None);
        stage.theirs_go("Queue", name).await;
    }
    let limited = json!({"name": stage.name("vhost"), "limits": {"queues": 5}, "tracing": true});
    stage.apply_theirs("Vhost", "limited", limited).await;
    let object = stage.theirs_become("Vhost", "limited", DONE).await;
    let message = &object.data["status"]["conditions"][0]["message"];
    assert!(
        message
            .as_str()
            .is_some_and(|text| text.contains("left out: tracing: ")),
        "{message}"
    );
    let limits = stage.http().get(&format!("/api/vhost-limits/{}", stage.name("vhost")));
    assert_eq!(limits[0]["value"], json!({"max-queues": 5}));
    stage.theirs_go("Vhost", "limited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_decides_whose_objects_it_takes() {
    let Some(cluster) = api_server() else { return };
    let client = cluster.client().await;
    cluster.install(&client, &definitions()).await;
    let tenant = cluster.namespace(&client, "theirs-tenant").await;
    let Some(stage) = stage_with("theirs-owner", &[FLAG, "--watch-namespace", &tenant]).await else {
        return;
    };
    let name = stage.name("q");
    let mut queue = manifest("Queue", "q", json!({"name": name, "durable": true}));
    queue["spec"]["rabbitmqClusterReference"] = json!({"name": "main", "namespace": stage.namespace});
    let queues = api(&client, &tenant, "Queue");
    let parameters = PatchParams::apply("kubectl").force();
    queues
        .patch("q", &parameters, &Patch::Apply(queue))
        .await
        .expect("it is applied");
    let ask = || async {
        let object = queues.get("q").await.map_err(|error| error.to_string())?;
        let ready = object.data.pointer("/status/conditions/0").cloned().unwrap_or_default();
        let is_refused = ready["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("NotAllowed: "));
        if is_refused { Ok(()) } else { Err(ready.to_string()) }
    };
    eventually_async("it is refused", SOON, ask).await;
    assert!(!stage.has_queue("q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_goes_over_to_a_resource_of_ones_own_with_all_messages() {
    let Some(stage) = their_stage("theirs-heir").await else {
        return;
    };
    let name = stage.name("q");
    stage
        .apply_theirs("Queue", "q", json!({"name": name, "durable": true}))
        .await;
    stage.theirs_become("Queue", "q", DONE).await;
    stage.amqp().publish_persistent(1, "", &name, b"precious");
    tokio::time::sleep(Duration::from_millis(1100)).await; // creation times have a resolution of one second
    stage.apply(&stage.queue("q")).await;
    let message = stage.resources.becomes("Queue", "q", "False", "Conflict", SOON).await;
    assert!(message.contains("Queue.rabbitmq.com"), "{message}");
    stage.theirs_go("Queue", "q").await;
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    assert_eq!(stage.http().get(&format!("/api/queues/%2F/{name}"))["messages"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_are_not_there_are_waited_for() {
    let Some(own) = OwnApiServer::start("theirs") else {
        return;
    };
    let client = own.cluster.client().await;
    let namespace = own.cluster.namespace(&client, "late").await;
    let broker = harness::Broker::start();
    let resources = harness::api_server::Resources::new(&client, &namespace);
    for manifest in broker_manifests("main", &broker) {
        resources.apply(&manifest).await.expect("it is applied");
    }
    let arguments = ["--leader-election", "false", FLAG];
    let operator = harness::operator_process::Operator::start(&own.cluster, &namespace, &arguments);
    let queue = |name: &str| crate::manifest("Queue", name, json!({"brokerRef": {"name": "main"}}));
    resources.apply(&queue("ours")).await.expect("it is applied");
    resources.becomes("Queue", "ours", "True", "Synced", 3 * SOON).await;
    assert!(
        operator.log().contains("is not installed, and waited for"),
        "{}",
        operator.log()
    );
    own.cluster.install(&client, &definitions()).await;
    let parameters = PatchParams::apply("kubectl").force();
    let theirs = manifest("Queue", "theirs", json!({"name": "theirs", "durable": true}));
    let queues = api(&client, &namespace, "Queue");
    queues
        .patch("theirs", &parameters, &Patch::Apply(theirs))
        .await
        .expect("it is applied");
    let ask = || async {
        let object = queues.get("theirs").await.map_err(|error| error.to_string())?;
        match object.data.pointer("/status/conditions/0/reason") {
            Some(reason) if reason == DONE => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually_async("theirs is made", 3 * SOON, ask).await;
}
