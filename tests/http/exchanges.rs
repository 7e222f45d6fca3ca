//! Exchanges over HTTP.

use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, http, refused, send, status};

#[test]
fn an_exchange_is_declared_shown_and_deleted() {
    let name = unique("http-exchange");
    let path = format!("/api/exchanges/%2F/{name}");
    let body =
        json!({"type": "topic", "durable": true, "internal": true, "arguments": {"alternate-exchange": "amq.fanout"}});
    assert_eq!(send("PUT", &path, body.clone()).status, 201);
    assert_eq!(send("PUT", &path, body).status, 204);
    let exchange = http().get(&path);
    assert_eq!((&exchange["name"], &exchange["type"]), (&json!(name), &json!("topic")));
    assert_eq!(
        (&exchange["durable"], &exchange["auto_delete"], &exchange["internal"]),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!(exchange["arguments"], json!({"alternate-exchange": "amq.fanout"}));
    let text =
        format!("inequivalent arg 'type' for exchange '{name}' in vhost '/': received 'direct' but current is 'topic'");
    refused("PUT", &path, json!({"type": "direct"}), (400, "bad_request", &text));
    assert_eq!(status("DELETE", &path), 204);
    refused("DELETE", &path, Value::Null, NOT_FOUND);
    refused("GET", &path, Value::Null, NOT_FOUND);
}

#[test]
fn an_exchange_in_use_stays_if_asked_to() {
    let name = unique("http-exchange");
    let path = format!("/api/exchanges/%2F/{name}");
    assert_eq!(send("PUT", &path, json!({"type": "fanout"})).status, 201);
    assert_eq!(
        send("POST", &format!("/api/bindings/%2F/e/{name}/e/amq.fanout"), json!({})).status,
        201
    );
    let text = format!("exchange '{name}' in vhost '/' in use");
    refused(
        "DELETE",
        &format!("{path}?if-unused=true"),
        Value::Null,
        (400, "bad_request", &text),
    );
    let from = http().get(&format!("{path}/bindings/source"));
    assert_eq!(from[0]["destination"], "amq.fanout");
    let to = http().get("/api/exchanges/%2F/amq.fanout/bindings/destination");
    let sources: Vec<&Value> = to
        .as_array()
        .expect("bindings")
        .iter()
        .map(|binding| &binding["source"])
        .collect();
    assert!(sources.contains(&&json!(name)), "{sources:?}");
    assert_eq!(status("DELETE", &path), 204);
    for end in ["source", "destination"] {
        assert_eq!(http().get(&format!("{path}/bindings/{end}")), json!([]));
    }
}

#[test]
fn what_belongs_to_the_broker_stays() {
    assert_eq!(status("DELETE", "/api/exchanges/%2F/amq.topic"), 401);
    assert_eq!(status("DELETE", "/api/exchanges/%2F/amq.default"), 401);
    assert_eq!(send("PUT", "/api/exchanges/%2F/amq.mine", json!({})).status, 401);
    assert_eq!(send("PUT", "/api/exchanges/%2F/x", json!({"type": "odd"})).status, 400);
    let default = http().get("/api/exchanges/%2F/amq.default");
    assert_eq!((&default["name"], &default["type"]), (&json!(""), &json!("direct")));
}
