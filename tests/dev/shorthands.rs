//! Queues that obey arguments: the shorthands, there and back, and the example that lives by them.

use std::path::Path;
use std::time::Duration;

use harness::http::Http;
use harness::requests::{ack, delete, properties, publish};
use harness::scripted_client::{Content, short};
use harness::wait::until;
use harness::{Client, call, place};
use leveret_amqp::method::{BasicGetOk, BasicReject};
use leveret_amqp::{BasicProperties, FieldValue};
use serde_json::json;

use crate::plan::{command, utf8};
use crate::{Dev, SOON, folder, run, text};

/// A quorum queue with all shorthands that Leveret obeys; not with a single active consumer, since it refuses `get`.
const QUORUM: &str = "
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: jobs }
spec:
  brokerRef: { name: main }
  type: quorum
  messageTtl: 1h
  expires: 7d
  maxLength: 100
  maxLengthBytes: 1000000
  deliveryLimit: 1
  consumerTimeout: 30m
  overflow: reject-publish
  deadLetter: { exchange: \"\", routingKey: failed, strategy: at-least-once }
  delayedRetry: { type: failed, min: 200ms, max: 1m }
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: failed }
spec: { brokerRef: { name: main } }
";

/// A queue with the shorthands that Leveret obeys, and the place of its dead letters.
const SHORTHANDS: &str = "
apiVersion: leveret.dev/v1alpha1
kind: Exchange
metadata: { name: dead }
spec: { brokerRef: { name: main }, type: direct }
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: dead }
spec: { brokerRef: { name: main } }
---
apiVersion: leveret.dev/v1alpha1
kind: Binding
metadata: { name: dead }
spec: { brokerRef: { name: main }, source: dead, destination: { queue: dead }, routingKey: late }
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: work }
spec:
  brokerRef: { name: main }
  messageTtl: 1500ms
  expires: 7d
  maxPriority: 5
  maxLength: 2
  maxLengthBytes: 1000
  overflow: drop-head
  singleActiveConsumer: true
  deadLetter: { exchange: dead, routingKey: late }
---
apiVersion: leveret.dev/v1alpha1
kind: Queue
metadata: { name: full }
spec:
  brokerRef: { name: main }
  maxLength: 0
  overflow: reject-publish
  deadLetter: { exchange: dead, routingKey: late }
";

#[test]
fn shorthands_are_obeyed_and_are_no_change_afterwards() {
    let folder = folder(&[("all.yaml", SHORTHANDS)]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    plans_no_change(&dev, folder.path());

    let mut client = dev.amqp();
    for body in ["one", "two", "three"] {
        client.publish(1, "", "work", body.as_bytes());
    }
    let first = arrives(&mut client, "dead", true);
    assert_eq!((text(&first.body).as_str(), death(&first).as_str()), ("one", "maxlen"));
    for body in ["two", "three"] {
        let late = arrives(&mut client, "dead", true);
        assert_eq!((text(&late.body).as_str(), death(&late).as_str()), (body, "expired"));
    }
    client.publish(1, "", "full", b"refused");
    assert!(client.get(1, "full", true).is_none() && client.get(1, "dead", true).is_none());
    let metrics = Http::new(dev.http).request("GET", "/metrics", None).body;
    for (reason, count) in [("maxlen", 1), ("expired", 2), ("rejected", 0)] {
        let name = format!("rabbitmq_global_messages_dead_lettered_{reason}_total");
        let labels = "queue_type=\"rabbit_classic_queue\",dead_letter_strategy=\"at_most_once\"";
        let sample = format!("{name}{{{labels}}} {count}");
        assert!(metrics.lines().any(|line| line == sample), "{sample}: {metrics}");
    }

    call!(client, 1, delete("work") => QueueDeleteOk);
    until("the queue is back", SOON, || dev.has_queue("work"));
    let arguments = json!({"x-message-ttl": 1500, "x-expires": 604_800_000, "x-max-length": 2, "x-max-priority": 5,
        "x-max-length-bytes": 1000, "x-overflow": "drop-head",
        "x-single-active-consumer": true, "x-dead-letter-exchange": "dead",
        "x-dead-letter-routing-key": "late"});
    assert_eq!(dev.http().get("/api/queues/%2F/work")["arguments"], arguments);
}

#[test]
fn an_export_has_shorthands_and_makes_the_same_broker() {
    let original = folder(&[("all.yaml", SHORTHANDS)]);
    let dev = Dev::start(original.path(), &[]);
    dev.says("are Ready");
    let exported = export(&dev);
    for line in [
        "messageTtl: 1500ms",
        "expires: 7d",
        "maxPriority: 5",
        "maxLength: 2",
        "maxLengthBytes: 1000",
        "overflow: drop-head",
        "overflow: reject-publish",
        "singleActiveConsumer: true",
        "routingKey: late",
    ] {
        assert!(exported.contains(line), "{line}: {exported}");
    }
    assert!(!exported.contains("x-"), "no arguments beside them: {exported}");
    let written = folder(&[("all.yaml", &exported)]);
    plans_no_change(&dev, written.path());

    let other = Dev::start(written.path(), &[]);
    other.says("are Ready");
    plans_no_change(&other, original.path());
    assert_eq!(export(&other), exported);
}

/// A policy changes nothing of what was declared: it is exported for itself.
#[test]
fn policies_are_no_drift_and_are_exported_for_themselves() {
    let folder = folder(&[("all.yaml", SHORTHANDS)]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    let (exported, work) = (export(&dev), dev.http().get("/api/queues/%2F/work"));
    for (list, definition) in [
        (
            "policies",
            json!({"max-length": 1, "overflow": "reject-publish", "alternate-exchange": "amq.fanout"}),
        ),
        ("operator-policies", json!({"message-ttl": 1000})),
    ] {
        let policy = json!({"pattern": "", "definition": definition});
        let answer = dev
            .http()
            .request("PUT", &format!("/api/{list}/%2F/all"), Some(&policy));
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let governed = dev.http().get("/api/queues/%2F/work");
    assert_eq!(
        (&governed["policy"], &governed["operator_policy"]),
        (&json!("all"), &json!("all"))
    );
    assert_eq!(governed["arguments"], work["arguments"]);
    assert_eq!(dev.http().get("/api/exchanges/%2F/dead")["policy"], "all");
    plans_no_change(&dev, folder.path());
    let with_policies = export(&dev);
    assert!(with_policies.ends_with(&exported), "{with_policies}");
    let policies = &with_policies[..with_policies.len() - exported.len()];
    let kinds = policies.lines().filter(|line| line.starts_with("kind: "));
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["kind: OperatorPolicy", "kind: Policy"],
        "{policies}"
    );
}

#[test]
fn a_quorum_queue_is_obeyed_exported_and_no_change_afterwards() {
    let folder = folder(&[("all.yaml", QUORUM)]);
    let dev = Dev::start(folder.path(), &[]);
    dev.says("are Ready");
    plans(&dev, folder.path(), "0 refused, 2 as declared");
    let object = dev.http().get("/api/queues/%2F/jobs");
    assert_eq!(
        (&object["type"], &object["delivery_limit"]),
        (&json!("quorum"), &json!(1))
    );
    assert_eq!(object["delayed_retry"], "failed (min: 200ms, max: 60000ms)");

    let mut client = dev.amqp();
    client.publish(1, "", "jobs", b"poison");
    for _ in 0..2 {
        let job = arrives(&mut client, "jobs", false);
        let (delivery_tag, requeue) = (job.method.delivery_tag, true);
        client.send(1, BasicReject { delivery_tag, requeue });
    }
    assert_eq!(death(&arrives(&mut client, "failed", true)), "delivery_limit");
    let metrics = Http::new(dev.http).request("GET", "/metrics", None).body;
    let labels = "queue_type=\"rabbit_quorum_queue\",dead_letter_strategy=\"at_most_once\"";
    let sample = format!("rabbitmq_global_messages_dead_lettered_delivery_limit_total{{{labels}}} 1");
    assert!(metrics.lines().any(|line| line == sample), "{sample}: {metrics}");

    let exported = export(&dev);
    for line in [
        "type: quorum",
        "messageTtl: 1h",
        "expires: 7d",
        "maxLength: 100",
        "maxLengthBytes: 1000000",
        "overflow: reject-publish",
        "deliveryLimit: 1",
        "consumerTimeout: 30m",
        "strategy: at-least-once",
        "type: failed",
        "min: 200ms",
    ] {
        assert!(exported.contains(line), "{line}: {exported}");
    }
    assert!(!exported.contains("x-"), "no arguments beside them: {exported}");
    let written = crate::folder(&[("all.yaml", &exported)]);
    plans(&dev, written.path(), "0 refused, 2 as declared");

    call!(client, 1, delete("jobs") => QueueDeleteOk);
    until("the queue is back", SOON, || dev.has_queue("jobs"));
    let back = dev.http().get("/api/queues/%2F/jobs");
    assert_eq!(back["arguments"], object["arguments"]);
}

#[test]
fn the_retry_example_is_sound_and_becomes_ready() {
    let example = place::repository().join("examples/retry");
    let lint = command(None, &["lint", utf8(&example)]);
    assert!(lint.status.success(), "{}", text(&lint.stderr));
    let output = run(&example, &["--once"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said} {}", text(&output.stderr));
    assert!(said.contains("parking-lot") && said.contains("are Ready"), "{said}");
}

/// As its README has a worker do it, with shorter pauses by expiration.
#[test]
fn a_job_of_the_retry_example_comes_back_and_is_parked() {
    let dev = Dev::start(&place::repository().join("examples/retry"), &[]);
    dev.says("are Ready");
    let mut client = dev.amqp();
    client.publish_persistent(1, "jobs", "fax.welcome", b"leads nowhere");
    assert_eq!(arrives(&mut client, "unrouted", true).body, "leads nowhere");

    let mut job = BasicProperties::default();
    for pause in ["retry-10s", "retry-1m", "retry-10m"] {
        client.publish(1, pause, "mail.other", b"waits for the whole pause");
        job.expiration = Some(short("50"));
        client.publish_with(1, publish(pause, "mail.welcome"), &properties(&job), b"a job");
        let back = arrives(&mut client, "mail", false);
        assert_eq!(back.body, "a job", "{pause}");
        assert_eq!(back.method.routing_key.as_bytes(), b"mail.welcome");
        assert_eq!(header(&back, "x-last-death-queue"), pause);
        assert_eq!(arrives(&mut client, "recent", true).body, "a job");
        job = BasicProperties::parse(&back.properties).expect("properties");
        settle(&mut client, &back, pause == "retry-10m");
    }
    let parked = arrives(&mut client, "parking-lot", true);
    assert_eq!(
        (text(&parked.body).as_str(), death(&parked).as_str()),
        ("a job", "rejected")
    );
}

/// The order of its work, and the queue that keeps failed jobs itself.
#[test]
fn urgent_jobs_of_the_retry_example_go_first_and_failed_reports_wait() {
    let dev = Dev::start(&place::repository().join("examples/retry"), &[]);
    dev.says("are Ready");
    let mut client = dev.amqp();
    for (body, priority) in [("later", None), ("urgent", Some(3)), ("soon", Some(1))] {
        let job = BasicProperties {
            priority,
            ..BasicProperties::default()
        };
        client.publish_with(1, publish("jobs", "mail.welcome"), &properties(&job), body.as_bytes());
    }
    for body in ["urgent", "soon", "later"] {
        assert_eq!(arrives(&mut client, "mail", true).body, body);
    }
    client.publish(1, "jobs", "report.daily", b"a report");
    let report = arrives(&mut client, "reports", false);
    let (delivery_tag, requeue) = (report.method.delivery_tag, true);
    client.send(1, BasicReject { delivery_tag, requeue });
    std::thread::sleep(Duration::from_millis(500));
    assert!(client.get(1, "reports", true).is_none(), "it waits ten seconds");
    assert_eq!(dev.http().get("/api/queues/%2F/reports")["type"], "quorum");
}

/// Ten seconds are the shortest pause of the example: the whole of it, once, and as its README has it.
#[test]
fn the_first_pause_of_the_retry_example_is_ten_seconds() {
    let dev = Dev::start(&place::repository().join("examples/retry"), &[]);
    dev.says("are Ready");
    let job =
        json!({"properties": {}, "routing_key": "mail.welcome", "payload": "hello", "payload_encoding": "string"});
    let path = "/api/exchanges/%2F/retry-10s/publish";
    let answer = dev.http().request("POST", path, Some(&job));
    assert_eq!(answer.json(), json!({"routed": true}));
    let mut client = dev.amqp();
    let mut job = None;
    let took = until("the job is back", SOON, || {
        job = client.get(1, "mail", true);
        job.is_some()
    });
    assert!(took > Duration::from_millis(9_000), "after {took:?}");
    assert_eq!(
        job.map(|job| header(&job, "x-last-death-queue")),
        Some("retry-10s".to_owned())
    );
}

fn plans_no_change(dev: &Dev, folder: &Path) {
    plans(dev, folder, "0 refused, 5 as declared");
}

fn plans(dev: &Dev, folder: &Path, wanted: &str) {
    let plan = command(Some(dev.http), &["plan", utf8(folder)]);
    let said = text(&plan.stdout);
    assert_eq!(plan.status.code(), Some(0), "{said} {}", text(&plan.stderr));
    assert!(said.contains(wanted), "{said}");
}

fn export(dev: &Dev) -> String {
    let output = command(Some(dev.http), &["export"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The next message of a queue, once there is one.
fn arrives(client: &mut Client, queue: &str, no_ack: bool) -> Content<BasicGetOk> {
    let mut message = None;
    until(&format!("a message in {queue}"), SOON, || {
        message = client.get(1, queue, no_ack);
        message.is_some()
    });
    message.expect("a message")
}

fn settle(client: &mut Client, message: &Content<BasicGetOk>, reject: bool) {
    let delivery_tag = message.method.delivery_tag;
    if reject {
        let requeue = false;
        client.send(1, BasicReject { delivery_tag, requeue });
    } else {
        client.send(1, ack(delivery_tag));
    }
}

/// The reason of a dead letter's last death.
fn death(message: &Content<BasicGetOk>) -> String {
    header(message, "x-last-death-reason")
}

fn header(message: &Content<BasicGetOk>, name: &str) -> String {
    let content = BasicProperties::parse(&message.properties).expect("properties");
    let headers = content.headers.expect("headers");
    let value = headers.get(name).and_then(FieldValue::as_str).expect("the header");
    value.to_owned()
}
