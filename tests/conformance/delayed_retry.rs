//! Pauses before a message that has come back is delivered again: after which returns, how long, and what counts
//! meanwhile.

use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Content, table};
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue};

use crate::{client, is_rabbitmq, next};

const SOON: Duration = Duration::from_secs(10);

/// The arguments of a quorum queue with pauses.
fn pauses(after: &str, min: i32, max: Option<i32>) -> FieldTable {
    let mut arguments: FieldTable = table([
        ("x-queue-type", "quorum".into()),
        ("x-delayed-retry-type", after.into()),
        ("x-delayed-retry-min", min.into()),
    ]);
    arguments
        .0
        .extend(max.map(|max| ("x-delayed-retry-max".try_into().expect("a name"), max.into())));
    arguments
}

fn with(client: &mut Client, arguments: FieldTable) -> String {
    let queue = unique("paused");
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..durable(&queue) } => QueueDeclareOk);
    queue
}

fn reject(client: &mut Client, message: &Content<BasicGetOk>) {
    let delivery_tag = message.method.delivery_tag;
    let requeue = true;
    client.send(1, BasicReject { delivery_tag, requeue });
}

fn nack(client: &mut Client, message: &Content<BasicGetOk>) {
    client.send(1, requeue(message.method.delivery_tag));
}

/// The times until the message is there again after each return.
fn waits(
    client: &mut Client,
    queue: &str,
    give_back: fn(&mut Client, &Content<BasicGetOk>),
    times: usize,
) -> Vec<u128> {
    client.publish(1, "", queue, b"message");
    let mut message = next(client, queue);
    let mut waits = Vec::new();
    for _ in 0..times {
        give_back(client, &message);
        let begin = Instant::now();
        message = next(client, queue);
        waits.push(begin.elapsed().as_millis());
    }
    call!(client, 1, delete(queue) => QueueDeleteOk);
    waits
}

/// Compares pauses, with the time that the next look and a busy machine take; none may be too short.
fn assert_waits(found: &[u128], expected: &[u128], what: &str) {
    let right = |(found, expected): (&u128, &u128)| found + 20 >= *expected && *found < expected + 350;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(right),
        "{what}: {found:?}"
    );
}

#[test]
fn pauses_grow_with_failures_up_to_the_longest() {
    let mut client = client();
    let queue = with(&mut client, pauses("all", 300, Some(500)));
    let found = waits(&mut client, &queue, reject, 3);
    assert_waits(&found, &[300, 500, 500], "rejected");
    let queue = with(&mut client, pauses("all", 400, Some(900)));
    assert_waits(
        &waits(&mut client, &queue, reject, 2),
        &[400, 800],
        "rejected, below the longest",
    );
    let queue = with(&mut client, pauses("all", 300, Some(700)));
    assert_waits(&waits(&mut client, &queue, nack, 2), &[300, 300], "never failed");
    let queue = with(&mut client, pauses("all", 300, None));
    assert_waits(
        &waits(&mut client, &queue, reject, 2),
        &[300, 300],
        "without a longest one",
    );
    let queue = with(&mut client, pauses("all", 600, Some(300)));
    assert_waits(
        &waits(&mut client, &queue, reject, 2),
        &[300, 300],
        "the longest is shorter",
    );
}

#[test]
fn the_type_says_after_which_returns() {
    let mut client = client();
    for (after, rejected, returned) in [
        ("failed", 300, 0),
        ("returned", 0, 300),
        ("disabled", 0, 0),
        // Of no account, as there is no such type.
        ("odd", 0, 0),
    ] {
        let queue = with(&mut client, pauses(after, 300, None));
        assert_waits(&waits(&mut client, &queue, reject, 1), &[rejected], after);
        let queue = with(&mut client, pauses(after, 300, None));
        assert_waits(&waits(&mut client, &queue, nack, 1), &[returned], after);
    }
}

#[test]
fn values_that_are_no_pauses_are_of_no_account() {
    let mut client = client();
    let without_min = table([
        ("x-queue-type", "quorum".into()),
        ("x-delayed-retry-type", "all".into()),
    ]);
    for arguments in [without_min, pauses("all", 0, None), pauses("all", -1, None)] {
        let queue = with(&mut client, arguments);
        assert_waits(&waits(&mut client, &queue, reject, 1), &[0], "no first pause");
    }
    let queue = with(&mut client, pauses("all", 300, Some(-1)));
    assert_waits(&waits(&mut client, &queue, reject, 1), &[300], "no longest pause");
}

#[test]
fn others_are_delivered_meanwhile_and_it_counts_for_limits_alone() {
    let mut client = client();
    let dead = unique("dead");
    call!(client, 1, exclusive(&dead) => QueueDeclareOk);
    let mut arguments = pauses("all", 60_000, None);
    arguments.0.extend(
        table::<_, FieldTable>([
            ("x-max-length", 3.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", dead.as_str().into()),
        ])
        .0,
    );
    let queue = with(&mut client, arguments);
    for body in ["a", "b", "c"] {
        client.publish(1, "", &queue, body.as_bytes());
    }
    for body in ["a", "b"] {
        let message = next(&mut client, &queue);
        assert_eq!(message.body, body);
        reject(&mut client, &message);
    }
    let count = |client: &mut Client| call!(client, 1, passive(&queue) => QueueDeclareOk).message_count;
    until("one is ready", SOON, || count(&mut client) == 1);
    client.publish(1, "", &queue, b"d");
    let letter = next(&mut client, &dead);
    assert_eq!(
        letter.body, "c",
        "of three that are kept and one more, the first that is ready goes"
    );
    assert_eq!(next(&mut client, &queue).body, "d");
    assert_eq!(
        call!(client, 1, purge(&queue) => QueuePurgeOk).message_count,
        2,
        "those that wait"
    );
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn time_goes_on_during_a_pause() {
    let mut client = client();
    let dead = unique("dead");
    call!(client, 1, exclusive(&dead) => QueueDeclareOk);
    for (ttl, pause) in [(500, 200), (300, 800)] {
        let mut arguments = pauses("all", pause, None);
        arguments.0.extend(
            table::<_, FieldTable>([
                ("x-message-ttl", ttl.into()),
                ("x-dead-letter-exchange", "".into()),
                ("x-dead-letter-routing-key", dead.as_str().into()),
            ])
            .0,
        );
        let queue = with(&mut client, arguments);
        client.publish(1, "", &queue, b"late");
        let begin = Instant::now();
        let message = next(&mut client, &queue);
        reject(&mut client, &message);
        let letter = next(&mut client, &dead);
        let took = begin.elapsed().as_millis();
        let headers = BasicProperties::parse(&letter.properties)
            .expect("properties")
            .headers
            .expect("headers");
        let reason = headers.get("x-first-death-reason").and_then(FieldValue::as_str);
        assert_eq!(reason, Some("expired"));
        // A RabbitMQ looks when the pause is over.
        let expected = if is_rabbitmq() { ttl.max(pause) } else { ttl };
        assert_waits(&[took], &[expected as u128], "expired");
        call!(client, 1, delete(&queue) => QueueDeleteOk);
    }
}

#[test]
fn the_delivery_limit_ends_it() {
    let mut client = client();
    let mut arguments = pauses("all", 50, None);
    arguments
        .0
        .extend(table::<_, FieldTable>([("x-delivery-limit", 2.into())]).0);
    let queue = with(&mut client, arguments);
    client.publish(1, "", &queue, b"poison");
    for _ in 0..3 {
        let message = next(&mut client, &queue);
        reject(&mut client, &message);
    }
    std::thread::sleep(Duration::from_millis(200));
    client.publish(1, "", &queue, b"next");
    assert_eq!(next(&mut client, &queue).body, "next");
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn a_consumer_gets_it_when_the_pause_is_over() {
    let mut client = client();
    let queue = with(&mut client, pauses("all", 300, None));
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    client.publish(1, "", &queue, b"message");
    let first = client.delivery(1);
    let delivery_tag = first.method.delivery_tag;
    client.send(
        1,
        BasicReject {
            delivery_tag,
            requeue: true,
        },
    );
    let begin = Instant::now();
    let second = client.delivery(1);
    let took = begin.elapsed();
    assert!(second.method.redelivered);
    assert!(
        took >= Duration::from_millis(290) && took < Duration::from_millis(550),
        "{took:?}"
    );
    client.send(1, ack(second.method.delivery_tag));
    call!(client, 1, cancel("c") => BasicCancelOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn the_api_tells_it() {
    let mut client = client();
    let queue = with(&mut client, pauses("failed", 60_000, Some(90_000)));
    let http = Http::new(Broker::shared().http());
    let path = format!("/api/queues/%2F/{queue}");
    client.publish(1, "", &queue, b"message");
    let message = next(&mut client, &queue);
    reject(&mut client, &message);
    // A RabbitMQ takes some of the figures later than others.
    until("it waits", 2 * SOON, || {
        let object = http.get(&path);
        let figures = ["messages_delayed", "messages", "messages_ready"].map(|name| object[name].as_u64());
        figures == [Some(1), Some(1), Some(0)]
    });
    assert_eq!(http.get(&path)["delayed_retry"], "failed (min: 60000ms, max: 90000ms)");
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

/// RabbitMQ has it for quorum queues alone.
#[test]
fn any_queue_type_takes_the_arguments() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let mut arguments = pauses("all", 200, None);
    arguments.remove("x-queue-type");
    let queue = with(&mut client, arguments);
    assert_waits(&waits(&mut client, &queue, reject, 2), &[200, 200], "a classic queue");
}
