//! Messages over HTTP.

use harness::requests::unique;
use serde_json::{Value, json};

use crate::{http, refused, send, status};

fn queue() -> (String, String) {
    let name = unique("http-message");
    let path = format!("/api/queues/%2F/{name}");
    assert_eq!(send("PUT", &path, json!({"durable": true})).status, 201);
    (name, path)
}

fn publish(key: &str, payload: &str, encoding: &str, properties: Value) -> Value {
    let body = json!({"properties": properties, "routing_key": key, "payload": payload, "payload_encoding": encoding});
    let answer = send("POST", "/api/exchanges/%2F/amq.default/publish", body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["routed"].clone()
}

fn get(path: &str, body: Value) -> Value {
    let answer = send("POST", &format!("{path}/get"), body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn a_message_is_published_looked_at_and_taken() {
    let (name, path) = queue();
    let properties = json!({
        "delivery_mode": 2, "content_type": "text/plain", "timestamp": 5, "type": "note",
        "headers": {"a": 1, "t": {"b": "c"}, "l": [true, 2.5]}
    });
    assert_eq!(publish(&name, "hällo", "string", properties.clone()), true);
    assert_eq!(publish(&name, "/////w==", "base64", json!({})), true);
    assert_eq!(publish(&unique("nowhere"), "x", "string", json!({})), false);
    let all = get(
        &path,
        json!({"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"}),
    );
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    let (first, second) = (&all[0], &all[1]);
    assert_eq!(
        (&first["payload"], &first["payload_encoding"]),
        (&json!("hällo"), &json!("string"))
    );
    assert_eq!(
        (&first["payload_bytes"], &first["redelivered"]),
        (&json!(6), &json!(false))
    );
    assert_eq!((&first["exchange"], &first["routing_key"]), (&json!(""), &json!(name)));
    assert_eq!(
        (&first["message_count"], &first["properties"]),
        (&json!(1), &properties)
    );
    assert_eq!(
        (&second["payload"], &second["payload_encoding"]),
        (&json!("/////w=="), &json!("base64"))
    );
    let one = get(
        &path,
        json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "base64", "truncate": 2}),
    );
    assert_eq!(
        (&one[0]["payload"], &one[0]["redelivered"]),
        (&json!("aMM="), &json!(true))
    );
    assert_eq!(one[0]["payload_bytes"], 6);
    let last = get(
        &path,
        json!({"count": 9, "ackmode": "reject_requeue_false", "encoding": "auto"}),
    );
    assert_eq!(last.as_array().map(Vec::len), Some(1));
    let none = get(
        &path,
        json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}),
    );
    assert_eq!(none, json!([]));
    assert_eq!(status("DELETE", &format!("{path}?if-empty=true")), 204);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (name, path) = queue();
    let get = format!("{path}/get");
    let body = json!({"count": 1, "encoding": "auto"});
    refused("POST", &get, body, (400, "bad_request", "[{key_missing,ackmode}]"));
    let body = json!({"count": 1, "encoding": "auto", "ackmode": "odd"});
    let text = "Invalid ackmode value: odd. Valid values are: ack_requeue_true, ack_requeue_false, reject_requeue_true, \
                reject_requeue_false";
    refused("POST", &get, body, (400, "bad_request", text));
    let missing = (404, "not_found", "queue_not_found");
    refused("POST", "/api/queues/%2F/nowhere/get", json!({}), missing);
    let publish = "/api/exchanges/%2F/amq.default/publish";
    let text = "[{key_missing,routing_key},{key_missing,payload_encoding}]";
    let body = json!({"properties": {}, "payload": "x"});
    refused("POST", publish, body, (400, "bad_request", text));
    let body = json!({"properties": {}, "routing_key": name, "payload": "x", "payload_encoding": "string"});
    let missing = (404, "not_found", "exchange_not_found");
    refused("POST", "/api/exchanges/%2F/nowhere/publish", body, missing);
    let body = json!({"properties": {}, "routing_key": name, "payload": "!", "payload_encoding": "base64"});
    assert_eq!(send("POST", publish, body).status, 400);
    assert_eq!(http().get(&path)["name"], json!(name));
    assert_eq!(status("DELETE", &path), 204);
}

/// RabbitMQ answers as its own client is told.
#[test]
fn an_error_of_a_message_has_its_code() {
    let queue = unique("http-locked");
    let mut client = crate::client();
    client.send(1, harness::requests::exclusive(&queue));
    client.method(1);
    let get = json!({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"});
    let text = format!(
        "405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. It could be \
         originally declared on another connection or the exclusive property value does not match that of the original \
         declaration."
    );
    refused(
        "POST",
        &format!("/api/queues/%2F/{queue}/get"),
        get,
        (400, "bad_request", &text),
    );
    for (properties, text) in [
        (
            json!({"user_id": "somebody"}),
            "406 PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'",
        ),
        (
            json!({"expiration": "soon"}),
            "406 PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
        ),
    ] {
        let body = json!({"routing_key": "k", "payload": "x", "payload_encoding": "string", "properties": properties});
        refused(
            "POST",
            "/api/exchanges/%2F/amq.direct/publish",
            body,
            (400, "bad_request", text),
        );
    }
    client.close();
}
