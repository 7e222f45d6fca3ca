//! Policies across `kill -9` at the moment they were answered for, and what they do to queues that come back.

use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use serde_json::{Value, json};

use crate::check::check;
use crate::small;

fn put(broker: &Broker, list: &str, name: &str, definition: Value) {
    let body = json!({"pattern": "^q", "definition": definition, "apply-to": "classic_queues", "priority": -2});
    let answer = Http::new(broker.http()).request("PUT", &format!("/api/{list}/%2F/{name}"), Some(&body));
    assert!(matches!(answer.status, 201 | 204), "{}", answer.body);
}

fn delete(broker: &Broker, list: &str, name: &str) {
    let answer = Http::new(broker.http()).request("DELETE", &format!("/api/{list}/%2F/{name}"), None);
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn publish(client: &mut Client, bodies: &[&str]) {
    for body in bodies {
        client.publish_persistent(1, "", "q", body.as_bytes());
    }
}

#[test]
fn a_policy_that_was_answered_for_is_there_and_applies() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish(&mut client, &["a", "b", "c", "d"]);
    while expect!(client, 1, BasicAck).delivery_tag < 4 {}
    put(&broker, "policies", "p", json!({"max-length": 3}));
    put(
        &broker,
        "operator-policies",
        "o",
        json!({"max-length": 2, "message-ttl": 60_000}),
    );
    let lists = ["policies", "operator-policies"].map(|list| format!("/api/{list}"));
    let before = lists.each_ref().map(|list| Http::new(broker.http()).get(list));
    broker.kill();
    let mut broker = broker.restart();
    let http = Http::new(broker.http());
    assert_eq!(lists.each_ref().map(|list| http.get(list)), before);
    let queue = http.get("/api/queues/%2F/q");
    assert_eq!(
        (&queue["policy"], &queue["operator_policy"]),
        (&json!("p"), &json!("o"))
    );
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(call!(client, 1, durable("q") => QueueDeclareOk).message_count, 2);
    publish(&mut client, &["e"]);
    for expected in ["d", "e"] {
        assert_eq!(client.get(1, "q", true).expect("a message").body, expected);
    }
    call!(client, 1, durable("q-later") => QueueDeclareOk);
    assert_eq!(Http::new(broker.http()).get("/api/queues/%2F/q-later")["policy"], "p");
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(
        call!(client, 1, durable("q") => QueueDeclareOk).message_count,
        0,
        "what was dropped stays dropped"
    );
}

#[test]
fn a_policy_that_was_removed_stays_removed() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    for name in ["p", "kept"] {
        put(&broker, "policies", name, json!({"max-length": 1}));
    }
    put(&broker, "operator-policies", "p", json!({"max-length": 5}));
    delete(&broker, "policies", "p");
    broker.kill();
    let mut broker = broker.restart();
    let queue = Http::new(broker.http()).get("/api/queues/%2F/q");
    assert_eq!(
        (&queue["policy"], &queue["operator_policy"]),
        (&json!("kept"), &json!("p"))
    );
    delete(&broker, "operator-policies", "p");
    delete(&broker, "policies", "kept");
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    publish(&mut client, &["a", "b"]);
    assert_eq!(call!(client, 1, durable("q") => QueueDeclareOk).message_count, 2);
}

#[test]
fn a_checkpoint_and_a_check_know_policies() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    for queue in ["q", "bulk"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
    }
    put(&broker, "policies", "p", json!({"message-ttl": 1000}));
    until("a checkpoint", Duration::from_secs(30), || {
        client.publish_persistent(1, "", "bulk", &[b'.'; 60_000]);
        broker.data().join("checkpoint").exists()
    });
    broker.kill();
    let output = check(&[&broker.data().display().to_string(), "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&report["policies"], &report["unknown_entries"]),
        (&json!(1), &json!(0))
    );
    let broker = broker.restart();
    assert!(broker.stderr().contains("from_checkpoint=true"), "{}", broker.stderr());
    assert_eq!(Http::new(broker.http()).get("/api/queues/%2F/q")["policy"], "p");
}
