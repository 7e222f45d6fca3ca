//! Bindings over HTTP.

use harness::requests::unique;
use serde_json::{Value, json};

use crate::{NOT_FOUND, http, refused, send, status};

/// A queue of the test's own, and the URL of its bindings from amq.topic.
fn queue() -> (String, String) {
    let name = unique("http-binding");
    assert_eq!(send("PUT", &format!("/api/queues/%2F/{name}"), json!({})).status, 201);
    let path = format!("/api/bindings/%2F/e/amq.topic/q/{name}");
    (name, path)
}

/// The last part of the URL that a new binding was given.
fn bind(path: &str, body: Value) -> String {
    let answer = send("POST", path, body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let location = answer.header("location").expect("a location");
    location.rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn a_binding_is_named_by_its_properties_key() {
    let (name, path) = queue();
    for (body, key) in [
        (json!({"routing_key": "a.#"}), "a.%2523"),
        (json!({"routing_key": "a b/c~d"}), "a%2Bb%252Fc%257Ed"),
        (json!({}), "~"),
    ] {
        assert_eq!(bind(&path, body.clone()), key);
        assert_eq!(bind(&path, body.clone()), key, "binding twice is no error");
        let one = http().get(&format!("{path}/{key}"));
        assert_eq!(
            one["routing_key"],
            body.get("routing_key").cloned().unwrap_or(json!(""))
        );
        assert_eq!(one["destination"], json!(name));
    }
    let with_arguments = bind(&path, json!({"routing_key": "k", "arguments": {"n": 1, "s": "t"}}));
    assert!(with_arguments.starts_with("k~"), "{with_arguments}");
    assert_eq!(http().get(&path).as_array().map(Vec::len), Some(4));
    for key in ["a.%2523", "~", &with_arguments] {
        assert_eq!(status("DELETE", &format!("{path}/{key}")), 204, "{key}");
        refused("DELETE", &format!("{path}/{key}"), Value::Null, NOT_FOUND);
    }
    let left = http().get(&path);
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    assert_eq!(left[0]["properties_key"], "a+b%2Fc%7Ed");
    // Some clients quote the key once only.
    assert_eq!(status("DELETE", &format!("{path}/a%20b%2Fc%257Ed")), 204);
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
}

#[test]
fn a_queues_bindings_begin_with_that_of_the_default_exchange() {
    let (name, path) = queue();
    bind(&path, json!({"routing_key": "k"}));
    let bindings = http().get(&format!("/api/queues/%2F/{name}/bindings"));
    let expected = json!([
        {"source": "", "vhost": "/", "destination": name, "destination_type": "queue", "routing_key": name, "arguments": {},
         "properties_key": name},
        {"source": "amq.topic", "vhost": "/", "destination": name, "destination_type": "queue", "routing_key": "k",
         "arguments": {}, "properties_key": "k"},
    ]);
    assert_eq!(bindings, expected);
    for list in ["/api/bindings", "/api/bindings/%2F"] {
        let all = http().get(list);
        let mine = |row: &&Value| row["destination"] == json!(name);
        assert_eq!(all.as_array().expect("rows").iter().filter(mine).count(), 2);
    }
    let default = http().get(&format!("/api/bindings/%2F/e/amq.default/q/{name}"));
    assert_eq!(default.as_array().map(Vec::len), Some(1));
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
}

#[test]
fn exchanges_are_bound_to_exchanges() {
    let path = "/api/bindings/%2F/e/amq.direct/e/amq.fanout";
    let key = unique("key");
    assert_eq!(bind(path, json!({"routing_key": key})), key);
    assert_eq!(http().get(&format!("{path}/{key}"))["destination_type"], "exchange");
    assert_eq!(status("DELETE", &format!("{path}/{key}")), 204);
}

#[test]
fn missing_ends_are_named() {
    let (name, path) = queue();
    let missing = "/api/bindings/%2F/e/amq.topic/q/nowhere";
    refused(
        "POST",
        missing,
        json!({}),
        (404, "not_found", "no queue 'nowhere' in vhost '/'"),
    );
    let missing = format!("/api/bindings/%2F/e/nowhere/q/{name}");
    refused(
        "POST",
        &missing,
        json!({}),
        (404, "not_found", "no exchange 'nowhere' in vhost '/'"),
    );
    // Ends that don't exist have no bindings: tools ask after an object has been deleted.
    assert_eq!(http().get(&missing), json!([]));
    assert_eq!(http().get("/api/bindings/%2F/e/amq.topic/q/nowhere"), json!([]));
    refused("GET", &format!("{path}/nothing"), Value::Null, NOT_FOUND);
    assert_eq!(
        send("POST", &format!("/api/bindings/%2F/e/amq.default/q/{name}"), json!({})).status,
        401
    );
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{name}")), 204);
}
