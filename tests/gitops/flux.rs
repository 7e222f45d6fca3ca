//! Flux's kustomize-controller, with the Kustomizations of `examples/gitops/flux`.
//!
//! In: its program, the example, a test's repository. Out: what commits become, and what the Kustomization says of
//! them. What fetches from Git (source-controller) is played by `source`.

use std::fs;
use std::time::{Duration, Instant};

use harness::api_server::documents;
use harness::http::Http;
use harness::requests::*;
use harness::wait::{eventually, until};
use harness::{Client, call, place};
use serde_json::{Value, json};

use self::controller::Controller;
use self::source::Source;
use crate::repository::{File, TOPOLOGY, binding, object, queue};
use crate::way::{SOON, Way, built, way, way_without_operator};

/// Flux's kustomize-controller as a process.
mod controller;

/// The part of source-controller for a GitRepository: commits become archives, and its status says where.
mod source;

/// The names that the example gives them.
const TOPOLOGY_OF: &str = "shop-messaging";
const CONSUMERS_OF: &str = "shop-consumers";

/// The time that the Kustomizations wait for health: longer than anything here takes that goes well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(60);

/// Flux, and all that it stands between.
struct Stage {
    _controller: Controller,
    source: Source,
    way: Way,
}

/// The example in this test's namespace, about its folders, and every second.
fn example(namespace: &str) -> Vec<Value> {
    let path = place::repository().join("examples/gitops/flux/kustomization.yaml");
    let mut all = documents(&fs::read_to_string(path).expect("the example"));
    for manifest in &mut all {
        manifest["metadata"]["namespace"] = json!(namespace);
        if manifest["kind"] == "GitRepository" {
            continue;
        }
        let spec = &mut manifest["spec"];
        spec["interval"] = json!("1s");
        spec["timeout"] = json!(format!("{}s", HEALTH_TIMEOUT.as_secs()));
        for check in spec["healthChecks"].as_array_mut().into_iter().flatten() {
            check["namespace"] = json!(namespace);
        }
        if spec["path"] == "./examples/gitops/overlays/production" {
            spec["path"] = json!(TOPOLOGY);
        }
    }
    all
}

fn stage(complete: fn() -> Option<Way>) -> Option<Stage> {
    let folder = built("flux.sh", "REQUIRE_FLUX")?;
    let way = complete()?;
    let stage = Stage {
        _controller: Controller::start(&folder, &way.tools, &way.namespace),
        source: Source::start(),
        way,
    };
    let consumer = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "consumer"}});
    stage
        .way
        .repository
        .commit_in("consumers", &[("one.yaml", Some(consumer))]);
    stage
        .way
        .tools
        .apply(&stage.way.namespace, &example(&stage.way.namespace), &[]);
    Some(stage)
}

impl Stage {
    /// The newest commit is there to be fetched; its revision.
    fn publish(&self) -> String {
        self.source.publish(&self.way, TOPOLOGY_OF)
    }

    fn commit(&self, files: &[File<'_>]) -> String {
        self.way.repository.commit(files);
        self.publish()
    }

    fn kustomization(&self, name: &str) -> Value {
        let object = format!("kustomizations.kustomize.toolkit.fluxcd.io/{name}");
        let text = self.way.kubectl(&["get", &object, "-o", "json"]);
        serde_json::from_str(&text).expect("JSON")
    }

    /// Waits until Flux is content with a revision.
    fn becomes_ready(&self, name: &str, revision: &str) {
        eventually(&format!("{name} is ready"), SOON, || {
            let object = self.kustomization(name);
            let ready = condition(&object, "Ready");
            let there = object["status"]["lastAppliedRevision"] == revision;
            if there && ready["status"] == "True" {
                Ok(())
            } else {
                Err(ready)
            }
        });
    }

    /// Waits until Flux gives up waiting for a revision's health; what it says, and after which time.
    fn becomes_unhealthy(&self, revision: &str) -> (String, Duration) {
        let start = Instant::now();
        let (message, _) = eventually("it is not healthy", SOON + HEALTH_TIMEOUT, || {
            let object = self.kustomization(TOPOLOGY_OF);
            let (ready, healthy) = (condition(&object, "Ready"), condition(&object, "Healthy"));
            assert_ne!(object["status"]["lastAppliedRevision"], revision, "healthy: {ready}");
            let tried = object["status"]["lastAttemptedRevision"] == revision;
            if tried && healthy["reason"] == "HealthCheckFailed" {
                Ok(healthy["message"].as_str().unwrap_or_default().to_owned())
            } else {
                Err(ready)
            }
        });
        (message, start.elapsed())
    }

    /// Reconciliations of this revision's manifests.
    fn rounds(&self) -> i64 {
        let object = self.kustomization(TOPOLOGY_OF);
        object["status"]["history"][0]["totalReconciliations"]
            .as_i64()
            .unwrap_or_default()
    }

    /// Waits for some whole intervals.
    fn rounds_pass(&self, count: i64) {
        // The round that is under way may have begun before whatever the caller did.
        let before = self.rounds() + 1;
        until("rounds pass", SOON, || self.rounds() >= before + count);
    }

    /// Waits for health no longer than this.
    fn wait_at_most(&self, timeout: &str) {
        let patch = json!({"spec": {"timeout": timeout}}).to_string();
        let object = format!("kustomizations.kustomize.toolkit.fluxcd.io/{TOPOLOGY_OF}");
        self.way.kubectl(&["patch", &object, "--type=merge", "-p", &patch]);
    }

    fn has_consumer(&self) -> bool {
        let arguments = ["-n", &self.way.namespace, "get", "configmap", "consumer"];
        self.way.tools.kubectl(&arguments, "").well
    }

    fn name_of(&self, kind: &str, name: &str) -> String {
        format!("{kind}/{}/{name}", self.way.namespace)
    }
}

fn condition(object: &Value, kind: &str) -> Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == kind);
    found.cloned().unwrap_or_default()
}

#[test]
fn commits_become_topology_and_nothing_else_is_written() {
    let Some(stage) = stage(way) else { return };
    let way = &stage.way;
    let first = stage.publish();
    stage.becomes_ready(TOPOLOGY_OF, &first);
    // When Flux says so, it is so: nothing is waited for here.
    assert_eq!((way.unready(), way.keys()), (vec![], vec!["order.*".to_owned()]));

    // What the API server and the operator add (defaults, finalizers, status) is no difference.
    let before = way.versions();
    assert_eq!(before.len(), 4, "{before:?}");
    stage.rounds_pass(3);
    assert_eq!(way.versions(), before, "written although nothing has changed");

    let second = stage.commit(&[
        ("e-more.yaml", queue("shipments")),
        ("b-binding.yaml", binding("order.new")),
    ]);
    stage.becomes_ready(TOPOLOGY_OF, &second);
    assert_eq!((way.unready(), way.keys()), (vec![], vec!["order.new".to_owned()]));
    assert!(way.has_queue("shipments"));

    way.repository.git(&["revert", "--no-edit", "HEAD"]);
    let third = stage.publish();
    stage.becomes_ready(TOPOLOGY_OF, &third);
    assert_eq!(way.keys(), ["order.*"]);
    until("the queue is pruned", SOON, || way.versions().len() == 4);
    assert!(!way.has_queue("shipments"));

    // By hand in the cluster: put back in the next round, also what no manifest names.
    way.bind_by_hand();
    way.keys_become("order.*");
    let patch = r#"{"spec":{"deletionPolicy":"Retain"}}"#;
    way.kubectl(&["patch", "queues.leveret.dev", "invoices", "--type=merge", "-p", patch]);
    let put_back = "--for=jsonpath={.spec.deletionPolicy}=DeleteIfEmpty";
    way.kubectl(&["wait", "queues.leveret.dev/invoices", put_back, "--timeout=60s"]);

    // Without its Kustomization everything goes, on the broker too.
    let object = format!("kustomizations.kustomize.toolkit.fluxcd.io/{TOPOLOGY_OF}");
    way.kubectl(&["delete", &object, "--timeout=60s"]);
    until("all is gone", SOON, || way.versions().is_empty());
    assert!(!way.has_queue("invoices"));
    let exchange = Http::new(way.broker.http()).request("GET", "/api/exchanges/%2F/orders", None);
    assert_eq!(exchange.status, 404, "{}", exchange.body);
}

#[test]
fn what_cannot_be_is_named() {
    let Some(stage) = stage(way) else { return };
    let body = json!({"durable": true, "auto_delete": true});
    let there = Http::new(stage.way.broker.http()).request("PUT", "/api/queues/%2F/audit", Some(&body));
    assert_eq!(there.status, 201, "{}", there.body);
    let first = stage.publish();
    stage.becomes_ready(TOPOLOGY_OF, &first);

    // Stalled is Failed, and nobody waits for it.
    let refused = stage.commit(&[("e-audit.yaml", queue("audit"))]);
    let (message, after) = stage.becomes_unhealthy(&refused);
    let wanted = format!("{} status: 'Failed'", stage.name_of("Queue", "audit"));
    assert!(message.contains(&wanted), "{message}");
    assert!(after < HEALTH_TIMEOUT, "{after:?}: {message}");
    let mended = stage.commit(&[("e-audit.yaml", None)]);
    stage.becomes_ready(TOPOLOGY_OF, &mended);

    // Waiting for something is InProgress until the time is over.
    stage.wait_at_most("5s");
    let orphan = object("Queue", "orphan", json!({"brokerRef": {"name": "elsewhere"}}));
    let waiting = stage.commit(&[("e-orphan.yaml", orphan)]);
    let (message, _) = stage.becomes_unhealthy(&waiting);
    let wanted = format!("{} status: 'InProgress'", stage.name_of("Queue", "orphan"));
    assert!(message.contains(&wanted), "{message}");
    assert!(!message.contains("invoices"), "{message}");
}

#[test]
fn nothing_is_ready_that_no_operator_has_seen() {
    let Some(mut stage) = stage(way_without_operator) else {
        return;
    };
    stage.wait_at_most("5s");
    let first = stage.publish();
    let (message, _) = stage.becomes_unhealthy(&first);
    for (kind, name) in [
        ("Queue", "invoices"),
        ("Exchange", "orders"),
        ("Binding", "b"),
        ("Broker", "main"),
    ] {
        let wanted = format!("{} status: 'InProgress'", stage.name_of(kind, name));
        assert!(message.contains(&wanted), "{message}");
    }
    let waits = condition(&stage.kustomization(CONSUMERS_OF), "Ready");
    assert_eq!(waits["reason"], "DependencyNotReady", "{waits}");
    assert!(!stage.has_consumer());

    stage.way.start_operator();
    stage.becomes_ready(TOPOLOGY_OF, &first);
    stage.becomes_ready(CONSUMERS_OF, &first);
    assert!(stage.has_consumer());

    // The same for a change of something that was ready.
    stage.way.stop_operator();
    let second = stage.commit(&[("b-binding.yaml", binding("order.new"))]);
    let (message, _) = stage.becomes_unhealthy(&second);
    let wanted = format!("{} status: 'InProgress'", stage.name_of("Binding", "b"));
    assert!(message.contains(&wanted), "{message}");
    stage.way.start_operator();
    stage.becomes_ready(TOPOLOGY_OF, &second);
    assert_eq!(stage.way.keys(), ["order.new"]);
}

#[test]
fn a_queue_with_messages_is_not_pruned() {
    let Some(stage) = stage(way) else { return };
    let way = &stage.way;
    let first = stage.publish();
    stage.becomes_ready(TOPOLOGY_OF, &first);
    let mut client = Client::with_channel(way.broker.amqp());
    client.publish_persistent(1, "", "invoices", b"precious");
    let there = || call!(client, 1, passive("invoices") => QueueDeclareOk).message_count == 1;
    until("the message is there", SOON, there);

    // Flux asks for the deletion and is content: it neither waits for it nor speaks of it again.
    let without = stage.commit(&[("a-queue.yaml", None), ("b-binding.yaml", None)]);
    let message = way.deletion_is_blocked("invoices");
    assert!(message.contains('1'), "{message}");
    stage.becomes_ready(TOPOLOGY_OF, &without);
    let events = way.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
    assert!(
        events.contains(&format!("{} deleted", stage.name_of("Queue", "invoices"))),
        "{events}"
    );
    let more = stage.commit(&[("e-more.yaml", queue("shipments"))]);
    stage.becomes_ready(TOPOLOGY_OF, &more);
    assert!(way.has_queue("shipments") && way.has_queue("invoices"));

    // A manifest that comes back before the queue has gone waits for that, and is named.
    stage.wait_at_most("5s");
    let back = stage.commit(&[("a-queue.yaml", queue("invoices"))]);
    let (message, _) = stage.becomes_unhealthy(&back);
    let wanted = format!("{} status: 'Terminating'", stage.name_of("Queue", "invoices"));
    assert!(message.contains(&wanted), "{message}");
    assert_eq!(client.get(1, "invoices", true).expect("a message").body, "precious");
    stage.becomes_ready(TOPOLOGY_OF, &back);
    assert!(way.has_queue("invoices") && way.unready().is_empty());
}
