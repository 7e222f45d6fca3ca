//! Counters of messages, on whatever they are shown.

use std::time::Duration;

use harness::requests::{
    bind, bind_exchange, consume, durable, exchange, exclusive, mandatory, persistent, prefetch, properties, unique,
};
use harness::wait::eventually;
use leveret_amqp::BasicProperties;
use leveret_amqp::method::ConfirmSelect;
use leveret_amqp::{Method, ShortString};
use serde_json::{Value, json};

use crate::{FIGURES, client, http, is_rabbitmq, send, status};

/// Waits until some fields of an object are as expected.
fn shows(path: &str, expected: &[(&str, Value)]) -> Value {
    let found = eventually(path, FIGURES, || {
        let object = http().get(path);
        let at = |name: &str| name.split('.').try_fold(&object, |value, name| value.get(name));
        match expected.iter().all(|(name, value)| at(name) == Some(value)) {
            true => Ok(object),
            false => Err(object),
        }
    });
    found.0
}

fn escaped(name: &str) -> String {
    name.replace(' ', "%20").replace('>', "%3E")
}

/// The connection of a client, by a queue that belongs to it alone.
fn connection(client: &mut harness::Client) -> String {
    let queue = unique("http-owner");
    client.send(1, exclusive(&queue));
    assert!(matches!(client.method(1), Method::QueueDeclareOk(_)));
    let path = format!("/api/queues/%2F/{queue}");
    let (name, _) = eventually("the owner is shown", FIGURES, || {
        let queue = http().get(&path);
        let name = queue["owner_pid_details"]["name"].as_str().map(str::to_owned);
        name.ok_or(queue)
    });
    name
}

#[test]
fn messages_are_counted_where_they_come_in_and_where_they_lead() {
    let (first, second, queue) = (unique("http-first"), unique("http-second"), unique("http-figures"));
    let mut client = client();
    for request in [
        exchange(&first, "topic").into(),
        exchange(&second, "fanout").into(),
        durable(&queue).into(),
        bind(&queue, &first, "a.#").into(),
        bind_exchange(&second, &first, "a.*").into(),
        bind(&queue, &second, "").into(),
    ] {
        let request: Method = request;
        client.send(1, request);
        client.method(1);
    }
    let name = connection(&mut client);
    client.publish(1, &first, "b", b"dropped");
    client.publish_with(1, mandatory(&first, "c"), &persistent(), b"returned");
    client.returned(1);
    client.send(1, ConfirmSelect::default());
    assert!(matches!(client.method(1), Method::ConfirmSelectOk(_)));
    for _ in 0..3 {
        client.publish(1, &first, "a.b", b"routed");
    }

    let path = format!("/api/exchanges/%2F/{first}");
    let shown = shows(
        &path,
        &[
            ("message_stats.publish_in", json!(5)),
            ("message_stats.publish_out", json!(3)),
        ],
    );
    assert_eq!((&shown["incoming"], &shown["outgoing"]), (&json!([]), &json!([])));
    for rate in ["publish_in_details", "publish_out_details"] {
        assert!(shown["message_stats"][rate]["rate"].is_number(), "{shown}");
    }
    let other = http().get(&format!("/api/exchanges/%2F/{second}"));
    assert_eq!(other.get("message_stats"), None, "nobody has published to it: {other}");
    let listed = http().get("/api/exchanges/%2F?disable_stats=true");
    assert!(
        listed
            .as_array()
            .expect("rows")
            .iter()
            .all(|row| row.get("message_stats").is_none())
    );

    let path = format!("/api/channels/{}", escaped(&format!("{name} (1)")));
    let shown = shows(
        &path,
        &[
            ("message_stats.publish", json!(5)),
            ("message_stats.confirm", json!(3)),
            ("message_stats.return_unroutable", json!(1)),
            ("message_stats.drop_unroutable", json!(1)),
        ],
    );
    assert!(shown["message_stats"]["confirm_details"]["rate"].is_number(), "{shown}");
    assert_eq!(
        shown["message_stats"].get("deliver"),
        None,
        "it has got nothing: {shown}"
    );
    assert_eq!((&shown["publishes"], &shown["deliveries"]), (&json!([]), &json!([])));

    let vhost = http().get("/api/vhosts/%2F");
    for name in [
        "publish",
        "confirm",
        "return_unroutable",
        "drop_unroutable",
        "deliver_get",
        "ack",
    ] {
        assert!(vhost["message_stats"][name].is_u64(), "{name} in {vhost}");
        assert!(
            vhost["message_stats"][format!("{name}_details")]["rate"].is_number(),
            "{name} in {vhost}"
        );
    }
    assert!(vhost["message_stats"]["publish"].as_u64() >= Some(5));
    for octets in ["recv_oct", "send_oct"] {
        assert!(vhost[octets].as_u64() > Some(0) && vhost[format!("{octets}_details")]["rate"].is_number());
    }
    client.close();
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
    for exchange in [first, second] {
        assert_eq!(status("DELETE", &format!("/api/exchanges/%2F/{exchange}")), 204);
    }
}

#[test]
fn a_channel_counts_what_it_gets_by_kind() {
    let queue = unique("http-kinds");
    let mut client = client();
    client.send(1, durable(&queue));
    client.method(1);
    let name = connection(&mut client);
    assert!(client.get(1, &queue, false).is_none());
    for _ in 0..4 {
        client.publish(1, "", &queue, b"x");
    }
    assert!(client.get(1, &queue, true).is_some());
    let got = client.get(1, &queue, false).expect("a message");
    client.send(1, harness::requests::requeue(got.method.delivery_tag));
    client.send(1, prefetch(2));
    assert!(matches!(client.method(1), Method::BasicQosOk(_)));
    client.send(1, consume(&queue, "tag"));
    client.method(1);
    client.delivery(1);
    let second = client.delivery(1);
    client.send(1, harness::requests::ack(second.method.delivery_tag));
    client.delivery(1);
    let path = format!("/api/channels/{}", escaped(&format!("{name} (1)")));
    let expected = [
        ("message_stats.get_empty", json!(1)),
        ("message_stats.get_no_ack", json!(1)),
        ("message_stats.get", json!(1)),
        ("message_stats.deliver", json!(3)),
        ("message_stats.deliver_no_ack", json!(0)),
        ("message_stats.redeliver", json!(1)),
        ("message_stats.deliver_get", json!(5)),
    ];
    shows(&path, &expected);
    eventually("its prefetch is used up", FIGURES, || {
        let rows = http().get("/api/consumers");
        let mine = |row: &&Value| row["queue"]["name"] == json!(queue);
        let row = rows.as_array().and_then(|rows| rows.iter().find(mine).cloned());
        let blocked = |row: &Value| row["activity_status"] == "blocked" && row["active"] == true;
        row.filter(blocked).ok_or(rows)
    });
    let idle = shows(&path, &[("consumer_count", json!(1))]);
    assert!(idle["connection_details"]["name"].is_string());
    client.close();
    assert_eq!(status("DELETE", &format!("/api/queues/%2F/{queue}")), 204);
}

#[test]
fn a_queue_tells_how_much_its_consumers_could_take_and_how_old_its_first_message_is() {
    let queue = unique("http-capacity");
    let path = format!("/api/queues/%2F/{queue}");
    assert_eq!(send("PUT", &path, json!({"durable": true})).status, 201);
    let timestamped = BasicProperties {
        timestamp: Some(1_700_000_000),
        content_type: Some(ShortString::from_static("text/plain")),
        ..BasicProperties::default()
    };
    let mut client = client();
    client.publish_with(
        1,
        harness::requests::publish("", &queue),
        &properties(&timestamped),
        b"x",
    );
    let expected = [
        ("head_message_timestamp", json!(1_700_000_000)),
        ("consumer_utilisation", json!(0)),
        ("consumer_capacity", json!(0)),
        ("incoming", json!([])),
        ("deliveries", json!([])),
    ];
    shows(&path, &expected);
    if is_rabbitmq() {
        // It averages over another time, and keeps the timestamp of a message that has left.
        client.close();
        assert_eq!(status("DELETE", &path), 204);
        return;
    }
    client.send(1, consume(&queue, "tag"));
    client.method(1);
    client.delivery(1);
    shows(
        &path,
        &[
            ("head_message_timestamp", Value::Null),
            ("consumer_capacity", json!(1.0)),
        ],
    );
    client.send(1, harness::requests::cancel("tag"));
    client.method(1);
    client.send(1, prefetch(1));
    client.method(1);
    client.send(1, consume(&queue, "slow"));
    client.method(1);
    for _ in 0..3 {
        client.publish(1, "", &queue, b"x");
    }
    client.delivery(1);
    let (_, _) = eventually(
        "the consumer is at its limit",
        FIGURES + Duration::from_secs(15),
        || {
            let shown = http().get(&path);
            let capacity = shown["consumer_capacity"].as_f64();
            (capacity.is_some_and(|part| part < 0.3) && capacity == shown["consumer_utilisation"].as_f64())
                .then_some(())
                .ok_or(shown)
        },
    );
    client.close();
    assert_eq!(status("DELETE", &path), 204);
}

/// A queue that was declared with arguments that mean nothing to its type is declared again with others.
#[test]
fn arguments_of_other_types_are_no_difference() {
    let path = format!("/api/queues/%2F/{}", unique("http-again"));
    assert_eq!(send("PUT", &path, json!({"durable": true})).status, 201);
    assert_eq!(
        send("PUT", &path, json!({"durable": true, "arguments": {"x-max-age": "1D"}})).status,
        204
    );
    let stream = send(
        "PUT",
        &path,
        json!({"durable": true, "arguments": {"x-queue-type": "stream"}}),
    );
    assert_eq!(stream.status, 400);
    let reason = stream.json()["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("inequivalent arg 'x-queue-type' for queue") && reason.contains("received 'stream'"));
    assert_eq!(status("DELETE", &path), 204);
}
