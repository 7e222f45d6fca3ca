//! Messages that fail: what counts as a failure, what consumers are told of it, and the end at the delivery limit.

use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldValue, RawTable};
use serde_json::json;

use crate::quorum::{quorum, quorum_with};
use crate::{client, is_rabbitmq, next};

const SOON: Duration = Duration::from_secs(10);

/// Its counts of returns and of failures; `None` where it doesn't say.
fn counts(properties: &[u8]) -> (Option<i64>, Option<i64>) {
    let headers = BasicProperties::parse(properties).expect("properties").headers;
    let count = |name| headers.as_ref()?.get(name).and_then(FieldValue::as_i64);
    (count("x-acquired-count"), count("x-delivery-count"))
}

fn reject(delivery_tag: u64) -> BasicReject {
    BasicReject {
        delivery_tag,
        requeue: true,
    }
}

/// A quorum queue with a delivery limit, its dead letters in a second queue.
fn limited(client: &mut Client, limit: impl Into<FieldValue>) -> (String, String) {
    let (queue, dead) = (unique("limited"), unique("dead"));
    call!(client, 1, exclusive(&dead) => QueueDeclareOk);
    let mut declare = quorum_with(&queue, "x-delivery-limit", limit);
    dead_letters_to(&mut declare.arguments, &dead);
    call!(client, 1, declare => QueueDeclareOk);
    (queue, dead)
}

fn dead_letters_to(arguments: &mut RawTable, queue: &str) {
    let mut both = arguments.to_table();
    both.push(short("x-dead-letter-exchange"), "".into());
    both.push(short("x-dead-letter-routing-key"), queue.into());
    *arguments = both.into();
}

/// Rejects the message of a queue until it is gone; the number of times.
fn rejections(client: &mut Client, queue: &str, dead: &str) -> usize {
    for rejected in 0..40 {
        let mut message = None;
        let mut letter = None;
        until("it is here or there", SOON, || {
            message = client.get(1, queue, false);
            letter = client.get(1, dead, true);
            message.is_some() || letter.is_some()
        });
        let Some(message) = message else { return rejected };
        client.send(1, reject(message.method.delivery_tag));
    }
    40
}

#[test]
fn rejections_and_lost_channels_are_failures_and_other_returns_are_not() {
    let mut client = client();
    let queue = unique("counted");
    call!(client, 1, quorum(&queue) => QueueDeclareOk);
    client.publish_with(
        1,
        publish("", &queue),
        &headers(table([("mine", 1.into())])),
        b"message",
    );
    let first = next(&mut client, &queue);
    assert_eq!(
        (first.method.redelivered, counts(&first.properties)),
        (false, (None, None))
    );
    client.send(1, requeue(first.method.delivery_tag));
    let second = next(&mut client, &queue);
    assert_eq!(
        (second.method.redelivered, counts(&second.properties)),
        (true, (Some(1), None))
    );
    client.send(1, reject(second.method.delivery_tag));
    assert_eq!(counts(&next(&mut client, &queue).properties), (Some(2), Some(1)));
    call!(client, 1, BasicRecover { requeue: true } => BasicRecoverOk);
    assert_eq!(counts(&next(&mut client, &queue).properties), (Some(3), Some(1)));
    let close = ChannelClose {
        reply_code: 200,
        ..ChannelClose::default()
    };
    call!(client, 1, close => ChannelCloseOk);
    client.open_channel(1);
    let after_get = next(&mut client, &queue);
    assert_eq!(
        counts(&after_get.properties),
        (Some(4), Some(2)),
        "a channel with a basic.get"
    );
    client.send(1, requeue(after_get.method.delivery_tag));

    let mut other = Client::with_channel(Broker::shared().amqp());
    call!(other, 1, consume(&queue, "c") => BasicConsumeOk);
    let delivery = other.delivery(1);
    assert_eq!(counts(&delivery.properties), (Some(5), Some(2)));
    drop(other);
    let last = next(&mut client, &queue);
    assert_eq!(
        counts(&last.properties),
        (Some(6), Some(3)),
        "a connection with a consumer"
    );
    let headers = BasicProperties::parse(&last.properties).expect("properties").headers;
    assert_eq!(
        headers.and_then(|headers| headers.get("mine").cloned()),
        Some(FieldValue::Int(1))
    );
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn the_counts_replace_headers_of_the_publisher() {
    let mut client = client();
    let queue = unique("own");
    call!(client, 1, quorum(&queue) => QueueDeclareOk);
    let own = table([("x-delivery-count", 7.into()), ("x-acquired-count", 9.into())]);
    client.publish_with(1, publish("", &queue), &headers(own), b"message");
    let first = next(&mut client, &queue);
    assert_eq!(counts(&first.properties), (Some(9), Some(7)));
    client.send(1, reject(first.method.delivery_tag));
    assert_eq!(counts(&next(&mut client, &queue).properties), (Some(1), Some(1)));
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn classic_queues_do_not_tell_counts() {
    let mut client = client();
    let queue = unique("classic");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, b"message");
    let first = next(&mut client, &queue);
    client.send(1, reject(first.method.delivery_tag));
    let second = next(&mut client, &queue);
    assert_eq!(
        (second.method.redelivered, counts(&second.properties)),
        (true, (None, None))
    );
}

#[test]
fn beyond_its_limit_a_message_is_a_dead_letter() {
    let mut client = client();
    let (queue, dead) = limited(&mut client, 2);
    client.publish(1, "", &queue, b"poison");
    for failures in [None, Some(1), Some(2)] {
        let message = next(&mut client, &queue);
        assert_eq!(counts(&message.properties).1, failures);
        client.send(1, reject(message.method.delivery_tag));
    }
    let letter = next(&mut client, &dead);
    assert_eq!(counts(&letter.properties), (None, None), "they are the queue's");
    let headers = BasicProperties::parse(&letter.properties)
        .expect("properties")
        .headers
        .expect("headers");
    let said = |name| headers.get(name).and_then(FieldValue::as_str).map(str::to_owned);
    assert_eq!(said("x-first-death-reason").as_deref(), Some("delivery_limit"));
    assert_eq!(said("x-last-death-queue"), Some(queue.clone()));
    assert!(client.get(1, &queue, true).is_none());
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn returns_that_are_no_failures_have_no_limit() {
    let mut client = client();
    let (queue, _) = limited(&mut client, 2);
    client.publish(1, "", &queue, b"message");
    for _ in 0..10 {
        let message = next(&mut client, &queue);
        client.send(1, requeue(message.method.delivery_tag));
    }
    assert_eq!(counts(&next(&mut client, &queue).properties), (Some(10), None));
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn limits_are_numbers_and_twenty_without() {
    let mut client = client();
    for (limit, failures) in [
        (FieldValue::Int(0), 1),
        (FieldValue::Int(3), 4),
        // No number, so it is of no account.
        ("three".into(), 21),
        // None.
        (FieldValue::Int(-1), 40),
    ] {
        let (queue, dead) = limited(&mut client, limit.clone());
        client.publish(1, "", &queue, b"poison");
        assert_eq!(rejections(&mut client, &queue, &dead), failures, "{limit:?}");
        call!(client, 1, delete(&queue) => QueueDeleteOk);
    }
    let (queue, dead) = (unique("usual"), unique("dead"));
    call!(client, 1, exclusive(&dead) => QueueDeclareOk);
    let mut declare = quorum(&queue);
    dead_letters_to(&mut declare.arguments, &dead);
    call!(client, 1, declare => QueueDeclareOk);
    client.publish(1, "", &queue, b"poison");
    assert_eq!(rejections(&mut client, &queue, &dead), 21);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn without_dead_letters_it_is_dropped() {
    let mut client = client();
    let queue = unique("dropped");
    call!(client, 1, quorum_with(&queue, "x-delivery-limit", 0) => QueueDeclareOk);
    client.publish(1, "", &queue, b"poison");
    let message = next(&mut client, &queue);
    client.send(1, reject(message.method.delivery_tag));
    client.publish(1, "", &queue, b"next");
    assert_eq!(next(&mut client, &queue).body, "next");
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

/// RabbitMQ counts all of them: after a poison message has broken its consumer often enough, whatever was prefetched
/// with it is gone, too.
#[test]
fn of_prefetched_messages_the_first_has_failed() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let queue = unique("prefetched");
    call!(client, 1, quorum(&queue) => QueueDeclareOk);
    for body in ["poison", "innocent", "bystander"] {
        client.publish(1, "", &queue, body.as_bytes());
    }
    let mut other = Client::with_channel(Broker::shared().amqp());
    call!(other, 1, consume(&queue, "c") => BasicConsumeOk);
    for _ in 0..3 {
        other.delivery(1);
    }
    drop(other);
    for (body, expected) in [
        ("poison", (Some(1), Some(1))),
        ("innocent", (Some(1), None)),
        ("bystander", (Some(1), None)),
    ] {
        let message = next(&mut client, &queue);
        assert_eq!(
            (&message.body[..], counts(&message.properties)),
            (body.as_bytes(), expected)
        );
    }
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

/// RabbitMQ has delivery limits on quorum queues alone.
#[test]
fn any_queue_type_takes_a_limit() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let queue = unique("classic");
    let arguments = table([("x-delivery-limit", 1.into())]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    client.publish(1, "", &queue, b"poison");
    for failures in [None, Some(1)] {
        let message = next(&mut client, &queue);
        assert_eq!(counts(&message.properties).1, failures);
        client.send(1, reject(message.method.delivery_tag));
    }
    client.publish(1, "", &queue, b"next");
    assert_eq!(next(&mut client, &queue).body, "next");
    let object = Http::new(Broker::shared().http()).get(&format!("/api/queues/%2F/{queue}"));
    assert_eq!(object["delivery_limit"], 1);
    client.send(1, durable(&queue));
    expect!(client, 1, ChannelClose);
}

#[test]
fn the_api_tells_the_limit() {
    let mut client = client();
    let http = Http::new(Broker::shared().http());
    for (limit, shown) in [(Some(5), json!(5)), (Some(-1), json!("unlimited")), (None, json!(20))] {
        let queue = unique("shown");
        let declare = match limit {
            Some(limit) => quorum_with(&queue, "x-delivery-limit", limit),
            None => quorum(&queue),
        };
        call!(client, 1, declare => QueueDeclareOk);
        let path = format!("/api/queues/%2F/{queue}");
        until("the limit is there", SOON, || {
            http.get(&path)["delivery_limit"] == shown
        });
        call!(client, 1, delete(&queue) => QueueDeleteOk);
    }
}
