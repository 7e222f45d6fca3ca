//! Queues over HTTP.

use harness::requests::{consume, exclusive, get, unique};
use harness::wait::until;
use leveret_amqp::Method;
use serde_json::{Value, json};

use crate::{FIGURES, NOT_FOUND, client, has, http, is_rabbitmq, refused, send, status};

#[test]
fn a_queue_is_declared_shown_and_deleted() {
    let name = unique("http-queue");
    let path = format!("/api/queues/%2F/{name}");
    let body =
        json!({"durable": true, "auto_delete": false, "arguments": {"x-note": 7, "x-more": [1, "a", {"b": true}]}});
    assert_eq!(send("PUT", &path, body.clone()).status, 201);
    assert_eq!(send("PUT", &path, body).status, 204);
    let queue = http().get(&path);
    assert_eq!(
        (&queue["name"], &queue["vhost"], &queue["type"]),
        (&json!(name), &json!("/"), &json!("classic"))
    );
    assert_eq!(
        (&queue["durable"], &queue["auto_delete"], &queue["exclusive"]),
        (&json!(true), &json!(false), &json!(false))
    );
    assert_eq!(queue["arguments"]["x-note"], 7);
    assert_eq!(queue["arguments"]["x-more"], json!([1, "a", {"b": true}]));
    has(&queue, &["node", "state"]);
    let differing = json!({"durable": true, "auto_delete": true});
    let text = format!(
        "inequivalent arg 'auto_delete' for queue '{name}' in vhost '/': received 'true' but current is 'false'"
    );
    refused("PUT", &path, differing, (400, "bad_request", &text));
    assert_eq!(status("DELETE", &path), 204);
    refused("DELETE", &path, Value::Null, NOT_FOUND);
    refused("GET", &path, Value::Null, NOT_FOUND);
}

#[test]
fn a_queue_that_is_not_empty_or_used_stays_if_asked_to() {
    let name = unique("http-queue");
    let path = format!("/api/queues/%2F/{name}");
    assert_eq!(send("PUT", &path, json!({})).status, 201);
    let mut client = client();
    client.publish(1, "", &name, b"one");
    client.publish(1, "", &name, b"two");
    until("the messages are there", FIGURES, || {
        http().get(&path)["messages_ready"] == 2
    });
    let text = format!("queue '{name}' in vhost '/' not empty");
    let if_empty = format!("{path}?if-empty=true");
    refused("DELETE", &if_empty, Value::Null, (400, "bad_request", &text));
    assert_eq!(status("DELETE", &format!("{path}/contents")), 204);
    client.send(1, consume(&name, "c"));
    assert!(matches!(client.method(1), Method::BasicConsumeOk(_)));
    let text = format!("queue '{name}' in vhost '/' in use");
    let if_unused = format!("{path}?if-unused=true");
    refused("DELETE", &if_unused, Value::Null, (400, "bad_request", &text));
    assert_eq!(status("DELETE", &if_empty), 204);
    refused("DELETE", &format!("{path}/contents"), Value::Null, NOT_FOUND);
}

#[test]
fn figures_of_a_queue_in_use_are_there() {
    let name = unique("http-queue");
    let path = format!("/api/queues/%2F/{name}");
    assert_eq!(send("PUT", &path, json!({})).status, 201);
    let mut client = client();
    client.publish(1, "", &name, b"12345");
    client.publish(1, "", &name, b"67890");
    client.send(1, get(&name));
    client.frame();
    let settled = |queue: &Value| queue["messages_unacknowledged"] == 1 && queue["message_stats"]["publish"] == 2;
    until("the figures are there", FIGURES, || settled(&http().get(&path)));
    let queue = http().get(&path);
    assert_eq!((&queue["messages"], &queue["messages_ready"]), (&json!(2), &json!(1)));
    assert_eq!(queue["message_bytes"], 10);
    assert_eq!(queue["message_stats"]["deliver_get"], 1);
    has(
        &queue,
        &[
            "consumers",
            "memory",
            "messages_details.rate",
            "messages_ready_details.rate",
            "messages_unacknowledged_details.rate",
            "message_bytes_ready",
            "message_bytes_unacknowledged",
            "message_bytes_persistent",
            "message_stats.publish_details.rate",
            "message_stats.deliver_get_details.rate",
            "message_stats.ack_details.rate",
            "consumer_details",
        ],
    );
    if !is_rabbitmq() {
        has(
            &queue,
            &["backlog.publish_rate", "backlog.ack_rate", "backlog.drain_seconds"],
        );
    }
    assert_eq!(status("DELETE", &path), 204);
}

#[test]
fn another_connections_queue_is_locked() {
    let name = unique("http-queue");
    let path = format!("/api/queues/%2F/{name}");
    let mut client = client();
    client.send(1, exclusive(&name));
    assert!(matches!(client.method(1), Method::QueueDeclareOk(_)));
    let text = format!(
        "cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be originally declared on another \
         connection or the exclusive property value does not match that of the original declaration."
    );
    let locked = (400, "bad_request", text.as_str());
    refused("PUT", &path, json!({}), locked);
    refused("DELETE", &path, Value::Null, locked);
    refused("DELETE", &format!("{path}/contents"), Value::Null, locked);
    refused(
        "POST",
        &format!("/api/bindings/%2F/e/amq.topic/q/{name}"),
        json!({}),
        locked,
    );
    assert_eq!(http().get(&path)["exclusive"], true);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let path = format!("/api/queues/%2F/{}", unique("http-queue"));
    assert_eq!(send("PUT", &path, json!("text")).status, 400);
    assert_eq!(send("PUT", &path, json!({"durable": "yes"})).status, 400);
    assert_eq!(
        send("PUT", &path, json!({"arguments": {"x-max-length": -1}})).status,
        400
    );
    assert_eq!(send("PUT", "/api/queues/%2F/amq.mine", json!({})).status, 401);
    assert_eq!(
        send("PUT", &format!("/api/queues/%2F/{}", "x".repeat(256)), json!({})).status,
        400
    );
    refused(
        "PUT",
        "/api/queues/nowhere/q",
        json!({}),
        (404, "not_found", "vhost_not_found"),
    );
    refused("GET", "/api/queues/nowhere", Value::Null, NOT_FOUND);
    assert_eq!(status("PATCH", &path), 405);
    assert_eq!(status("POST", "/api/queues"), 405);
}

#[test]
fn the_single_active_consumer_is_shown() {
    let name = unique("http-single");
    let path = format!("/api/queues/%2F/{name}");
    let body = json!({"durable": true, "arguments": {"x-single-active-consumer": true}});
    assert_eq!(send("PUT", &path, body).status, 201);
    let mut client = client();
    for tag in ["first", "second"] {
        client.send(1, consume(&name, tag));
        assert!(matches!(client.method(1), Method::BasicConsumeOk(_)));
    }
    let standing = |row: &Value| {
        let field = |name: &str| row[name].clone();
        (field("consumer_tag"), field("active"), field("activity_status"))
    };
    let expected = [
        (json!("first"), json!(true), json!("single_active")),
        (json!("second"), json!(false), json!("waiting")),
    ];
    until("both are shown", FIGURES, || {
        let queue = http().get(&path);
        let rows = queue["consumer_details"].as_array().cloned().unwrap_or_default();
        let mut standings: Vec<_> = rows.iter().map(standing).collect();
        standings.sort_by_key(|(tag, ..)| tag.to_string());
        queue["single_active_consumer_tag"] == "first" && standings == expected
    });
    assert_eq!(status("DELETE", &path), 204);
}
