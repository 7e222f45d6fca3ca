//! Messages that came back, across `kill -9`: how often, and whose fault it was; and what a quorum queue keeps.

use std::thread;
use std::time::{Duration, Instant};

use harness::requests::*;
use harness::scripted_client::{Content, table};
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldValue};

use crate::small;

/// Longer than anything stays unsynced that no client waits for.
const SYNCED: Duration = Duration::from_millis(400);

fn quorum(queue: &str, limit: i32) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-queue-type", "quorum".into()), ("x-delivery-limit", limit.into())]),
        ..durable(queue)
    }
}

fn counts(message: &Content<BasicGetOk>) -> (Option<i64>, Option<i64>) {
    let headers = BasicProperties::parse(&message.properties).expect("properties").headers;
    let count = |name| headers.as_ref()?.get(name).and_then(FieldValue::as_i64);
    (count("x-acquired-count"), count("x-delivery-count"))
}

fn reject(message: &Content<BasicGetOk>) -> BasicReject {
    BasicReject {
        delivery_tag: message.method.delivery_tag,
        requeue: true,
    }
}

#[test]
fn failures_are_counted_on_after_a_restart() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, quorum("q", 2) => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish_persistent(1, "", "q", b"poison");
    client.publish_persistent(1, "", "q", b"innocent");
    while expect!(client, 1, BasicAck).delivery_tag < 2 {}
    for _ in 0..2 {
        let message = client.get(1, "q", false).expect("a message");
        client.send(1, reject(&message));
    }
    let message = client.get(1, "q", false).expect("a message");
    client.send(1, requeue(message.method.delivery_tag));
    call!(client, 1, passive("q") => QueueDeclareOk);
    thread::sleep(SYNCED);
    broker.kill();
    let mut broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, quorum("q", 2) => QueueDeclareOk);
    let message = client.get(1, "q", false).expect("a message");
    assert_eq!(
        (&message.body[..], counts(&message)),
        (&b"poison"[..], (Some(3), Some(2)))
    );
    client.send(1, reject(&message));
    let next = client.get(1, "q", false).expect("a message");
    assert_eq!((&next.body[..], counts(&next)), (&b"innocent"[..], (None, None)));
    thread::sleep(SYNCED);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let next = client.get(1, "q", false).expect("a message");
    assert_eq!(next.body, "innocent", "the poison stays away");
    assert!(client.get(1, "q", false).is_none());
}

#[test]
fn a_pause_goes_on_across_an_end() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    let paused = QueueDeclare {
        arguments: table([
            ("x-queue-type", "quorum".into()),
            ("x-delayed-retry-type", "all".into()),
            ("x-delayed-retry-min", 2500.into()),
            ("x-message-ttl", 60_000.into()),
        ]),
        ..durable("q")
    };
    call!(client, 1, paused.clone() => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish_persistent(1, "", "q", b"failed");
    client.publish_persistent(1, "", "q", b"other");
    while expect!(client, 1, BasicAck).delivery_tag < 2 {}
    let message = client.get(1, "q", false).expect("a message");
    client.send(1, reject(&message));
    let begin = Instant::now();
    assert_eq!(call!(client, 1, passive("q") => QueueDeclareOk).message_count, 1);
    thread::sleep(SYNCED);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(call!(client, 1, paused => QueueDeclareOk).message_count, 1);
    call!(client, 1, consume("q", "c") => BasicConsumeOk);
    assert_eq!(client.delivery(1).body, "other");
    let again = client.delivery(1);
    let took = begin.elapsed();
    assert_eq!((&again.body[..], again.method.redelivered), (&b"failed"[..], true));
    assert!(
        took >= Duration::from_millis(2480) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[test]
fn a_quorum_queue_keeps_messages_that_are_not_persistent_and_others_do_not() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, quorum("q", 2) => QueueDeclareOk);
    call!(client, 1, durable("classic") => QueueDeclareOk);
    for queue in ["q", "classic"] {
        call!(client, 1, bind(queue, "amq.fanout", "") => QueueBindOk);
    }
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish(1, "amq.fanout", "", b"transient");
    client.publish_persistent(1, "amq.fanout", "", b"persistent");
    client.publish(1, "", "q", b"alone");
    while expect!(client, 1, BasicAck).delivery_tag < 3 {}
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    for (queue, bodies) in [
        ("q", &["transient", "persistent", "alone"][..]),
        ("classic", &["persistent"][..]),
    ] {
        for body in bodies {
            assert_eq!(client.get(1, queue, true).expect("a message").body, body, "{queue}");
        }
        assert!(client.get(1, queue, true).is_none(), "{queue}");
    }
}
