//! Tracing of a vhost: copies of what is published and delivered, on `amq.rabbitmq.trace`.

use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
use serde_json::{Value, json};

use crate::broker;

const SOON: Duration = Duration::from_secs(15);

fn http(method: &str, path: &str, body: &Value) -> u16 {
    let body = Some(body).filter(|body| !body.is_null());
    Http::new(Broker::shared().http()).request(method, path, body).status
}

/// A vhost with a queue `traces` for all copies.
struct Traced(String);

impl Traced {
    fn new() -> (Traced, Client) {
        let traced = Traced(unique("traced"));
        assert_eq!(http("PUT", &traced.path(), &json!({})), 201);
        let mut client = Client::connect_to(broker(), &traced.0);
        client.open_channel(1);
        call!(client, 1, durable("traces") => QueueDeclareOk);
        call!(client, 1, bind("traces", "amq.rabbitmq.trace", "#") => QueueBindOk);
        (traced, client)
    }

    fn path(&self) -> String {
        format!("/api/vhosts/{}", self.0)
    }

    fn set(&self, tracing: bool) {
        assert_eq!(http("PUT", &self.path(), &json!({"tracing": tracing})), 204);
    }

    /// The next copy: its key, its headers, its body.
    fn next(client: &mut Client) -> (String, FieldTable, Vec<u8>) {
        let mut got = None;
        until("a copy", SOON, || {
            got = client.get(1, "traces", true);
            got.is_some()
        });
        let got = got.expect("a copy");
        let properties = BasicProperties::parse(&got.properties).expect("properties");
        let key = got.method.routing_key.to_str_lossy().into_owned();
        (key, properties.headers.expect("headers"), got.body.to_vec())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = http("DELETE", &self.path(), &Value::Null);
    }
}

fn text(value: &str) -> Option<FieldValue> {
    Some(value.into())
}

fn texts(values: &[&str]) -> Option<FieldValue> {
    Some(FieldValue::Array(values.iter().map(|text| (*text).into()).collect()))
}

fn name(text: &'static str) -> ShortString {
    ShortString::from_static(text)
}

#[test]
fn what_is_published_and_delivered_is_copied() {
    let (traced, mut client) = Traced::new();
    for queue in ["q", "copied"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
    }
    traced.set(true);
    let headers = FieldTable(vec![
        (name("CC"), texts(&["copied"]).expect("texts")),
        (name("n"), 1.into()),
    ]);
    let sent = BasicProperties {
        content_type: Some(name("text/plain")),
        delivery_mode: Some(2),
        timestamp: Some(12_345),
        headers: Some(headers.clone()),
        ..BasicProperties::default()
    };
    client.publish_with(1, publish("", "q"), &properties(&sent), b"hello");
    let (key, copy, body) = Traced::next(&mut client);
    assert_eq!((key.as_str(), body.as_slice()), ("publish.", &b"hello"[..]));
    assert_eq!(copy.get("exchange_name"), text("").as_ref());
    assert_eq!(copy.get("routing_keys"), texts(&["q", "copied"]).as_ref());
    let routed = copy
        .get("routed_queues")
        .and_then(FieldValue::as_array)
        .expect("queues");
    let mut routed: Vec<_> = routed.iter().filter_map(FieldValue::as_bytes).collect();
    routed.sort();
    assert_eq!(routed, ["copied", "q"]);
    assert_eq!(copy.get("vhost"), text(&traced.0).as_ref());
    assert_eq!(copy.get("user"), text("guest").as_ref());
    assert_eq!(copy.get("channel"), Some(&FieldValue::Int(1)));
    let connection = copy.get("connection").and_then(FieldValue::as_bytes).cloned();
    assert!(connection.is_some_and(|name| name.windows(4).any(|part| part == b" -> ")));
    let Some(FieldValue::Table(copied)) = copy.get("properties") else {
        panic!("{copy:?}");
    };
    assert_eq!(copied.get("content_type"), text("text/plain").as_ref());
    assert_eq!(copied.get("delivery_mode"), Some(&FieldValue::Int(2)));
    assert_eq!(copied.get("timestamp"), Some(&FieldValue::Int(12_345)));
    assert_eq!(copied.get("headers"), Some(&FieldValue::Table(headers)));
    assert_eq!(copied.get("priority"), None);

    let got = client.get(1, "q", false).expect("the message");
    client.send(1, requeue(got.method.delivery_tag));
    client.get(1, "q", true).expect("the message again");
    for redelivered in [0, 1] {
        let (key, copy, body) = Traced::next(&mut client);
        assert_eq!((key.as_str(), body.as_slice()), ("deliver.q", &b"hello"[..]));
        assert_eq!(copy.get("redelivered"), Some(&FieldValue::Int(redelivered)));
        assert_eq!(copy.get("routing_keys"), texts(&["q", "copied"]).as_ref());
        assert_eq!(copy.get("routed_queues"), None);
    }
    call!(client, 1, consume_no_ack("copied", "c") => BasicConsumeOk);
    let _ = client.delivery(1);
    assert_eq!(Traced::next(&mut client).0, "deliver.copied");

    // What leads nowhere is copied, too; copies are not, nor is anything once tracing is off.
    client.publish(1, "amq.topic", "nowhere", b"lost");
    let (key, copy, _) = Traced::next(&mut client);
    assert_eq!(key, "publish.amq.topic");
    assert_eq!(copy.get("routed_queues"), texts(&[]).as_ref());
    traced.set(false);
    client.publish(1, "", "q", b"unseen");
    client.get(1, "q", true);
    traced.set(true);
    client.publish(1, "", "q", b"seen");
    assert_eq!(Traced::next(&mut client).2, b"seen");
}

#[test]
fn a_publish_in_a_transaction_is_copied_before_the_commit() {
    let (traced, mut client) = Traced::new();
    call!(client, 1, durable("q") => QueueDeclareOk);
    traced.set(true);
    client.open_channel(2);
    call!(client, 2, TxSelect::default() => TxSelectOk);
    client.publish(2, "", "q", b"taken back");
    let (key, copy, body) = Traced::next(&mut client);
    assert_eq!((key.as_str(), body.as_slice()), ("publish.", &b"taken back"[..]));
    assert_eq!(copy.get("channel"), Some(&FieldValue::Int(2)));
    call!(client, 2, TxRollback::default() => TxRollbackOk);
    assert!(client.get(1, "q", true).is_none());
}
