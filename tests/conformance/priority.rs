//! Queues with priorities: which message comes next, and which one goes when there are too many.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable};

use crate::client;

/// A queue with these arguments beside `x-max-priority`.
fn queue_with(client: &mut Client, most: i32, more: FieldTable) -> String {
    let queue = unique("priority");
    let mut arguments: FieldTable = table([("x-max-priority", most.into())]);
    arguments.0.extend(more.0);
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(&queue) } => QueueDeclareOk);
    queue
}

fn five(client: &mut Client) -> String {
    queue_with(client, 5, FieldTable::default())
}

fn of_priority(priority: impl Into<Option<u8>>) -> BasicProperties {
    BasicProperties {
        priority: priority.into(),
        ..BasicProperties::default()
    }
}

/// Publishes messages with these priorities; their bodies are their numbers, from 0 on.
fn publish_all<P: Into<Option<u8>> + Copy>(client: &mut Client, queue: &str, priorities: &[P]) {
    for (number, priority) in priorities.iter().enumerate() {
        let properties = properties(&of_priority(*priority));
        client.publish_with(1, publish("", queue), &properties, number.to_string().as_bytes());
    }
}

/// The bodies that are ready, taken out.
fn numbers(client: &mut Client, queue: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    while let Some(message) = client.get(1, queue, true) {
        numbers.push(number(&message.body));
    }
    numbers
}

fn number(body: &[u8]) -> usize {
    std::str::from_utf8(body).expect("digits").parse().expect("a number")
}

#[test]
fn the_highest_priority_comes_first_and_the_oldest_of_each() {
    let mut client = client();
    let queue = five(&mut client);
    publish_all(
        &mut client,
        &queue,
        &[None, Some(0), Some(3), Some(5), Some(1), Some(3), Some(5), None],
    );
    assert_eq!(numbers(&mut client, &queue), [3, 6, 2, 5, 4, 0, 1, 7]);
}

#[test]
fn priorities_beyond_the_most_are_the_most() {
    let mut client = client();
    let queue = five(&mut client);
    publish_all(&mut client, &queue, &[4, 6, 5, 255, 5]);
    assert_eq!(numbers(&mut client, &queue), [1, 2, 3, 4, 0]);
    let queue = queue_with(&mut client, 255, FieldTable::default());
    publish_all(&mut client, &queue, &[4, 6, 254, 255, 5]);
    assert_eq!(numbers(&mut client, &queue), [3, 2, 1, 4, 0]);
}

/// The most is at least 1, whatever has been declared.
#[test]
fn a_most_of_zero_is_one() {
    let mut client = client();
    let queue = queue_with(&mut client, 0, FieldTable::default());
    publish_all(
        &mut client,
        &queue,
        &[None, Some(0), Some(1), Some(9), Some(1), Some(0)],
    );
    assert_eq!(numbers(&mut client, &queue), [2, 3, 4, 0, 1, 5]);
}

#[test]
fn without_the_argument_priorities_mean_nothing() {
    let mut client = client();
    let queue = unique("plain");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    publish_all(&mut client, &queue, &[1, 9, 0, 5]);
    assert_eq!(numbers(&mut client, &queue), [0, 1, 2, 3]);
}

/// 32 levels, of which the fifth is that of messages without a priority.
#[test]
fn a_quorum_queue_has_priorities_undeclared() {
    let mut client = client();
    let queue = unique("quorum");
    let arguments = table([("x-queue-type", "quorum".into())]);
    call!(client, 1, QueueDeclare { arguments, ..durable(&queue) } => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let priorities = [
        None,
        Some(0),
        Some(4),
        Some(5),
        Some(3),
        Some(31),
        Some(32),
        Some(255),
        Some(30),
        None,
    ];
    publish_all(&mut client, &queue, &priorities);
    let mut confirmed = 0;
    while confirmed < priorities.len() as u64 {
        confirmed = expect!(client, 1, BasicAck).delivery_tag;
    }
    assert_eq!(numbers(&mut client, &queue), [5, 6, 7, 8, 3, 0, 2, 9, 4, 1]);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn a_message_that_comes_back_takes_its_old_place_among_its_equals() {
    let mut client = client();
    let queue = five(&mut client);
    publish_all(&mut client, &queue, &[1, 1, 5, 5, 3, 3]);
    let tags: Vec<u64> = (0..4)
        .map(|_| client.get(1, &queue, false).expect("a message").method.delivery_tag)
        .collect();
    for (priority, body) in [(5, b"6"), (3, b"7")] {
        client.publish_with(1, publish("", &queue), &properties(&of_priority(priority)), body);
    }
    for tag in tags {
        client.send(1, requeue(tag));
    }
    assert_eq!(numbers(&mut client, &queue), [2, 3, 6, 4, 5, 7, 0, 1]);
}

#[test]
fn a_consumer_gets_what_is_first_when_it_has_room() {
    let mut client = client();
    let queue = five(&mut client);
    publish_all(&mut client, &queue, &[0, 1]);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let mut order = Vec::new();
    let mut delivery = client.delivery(1);
    order.push(number(&delivery.body));
    // It has one; of those that come meanwhile the highest is next.
    for (priority, body) in [(2, b"2"), (5, b"3"), (2, b"4")] {
        client.publish_with(1, publish("", &queue), &properties(&of_priority(priority)), body);
    }
    let ready = |client: &mut Client| call!(client, 1, passive(&queue) => QueueDeclareOk).message_count;
    until("they have come", Duration::from_secs(5), || ready(&mut client) == 4);
    for _ in 0..4 {
        client.send(1, ack(delivery.method.delivery_tag));
        delivery = client.delivery(1);
        order.push(number(&delivery.body));
    }
    assert_eq!(order, [1, 3, 2, 4, 0]);
}

#[test]
fn of_two_consumers_the_one_of_higher_priority_gets_the_first_message() {
    let mut client = client();
    let queue = five(&mut client);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume(&queue, "low") => BasicConsumeOk);
    let high = BasicConsume {
        arguments: table([("x-priority", 10.into())]),
        ..consume(&queue, "high")
    };
    call!(client, 1, high => BasicConsumeOk);
    let mut got = Vec::new();
    for body in [b"0", b"1"] {
        client.publish_with(1, publish("", &queue), &properties(&of_priority(1)), body);
        let delivery = client.delivery(1);
        got.push((delivery.method.consumer_tag, number(&delivery.body)));
    }
    assert_eq!(got, [(short("high"), 0), (short("low"), 1)]);
}

/// The first that would be delivered are dropped, which are those of the highest priority.
#[test]
fn a_limit_drops_the_first_messages() {
    let mut client = client();
    for limit in ["x-max-length", "x-max-length-bytes"] {
        let queue = queue_with(&mut client, 5, table([(limit, 3.into())]));
        publish_all(&mut client, &queue, &[1, 1, 5, 0, 3, 3, 2, 0, 5]);
        assert_eq!(numbers(&mut client, &queue), [1, 3, 7], "{limit}");
    }
}

#[test]
fn a_full_queue_refuses_whatever_the_priority() {
    let mut client = client();
    let more = table([("x-max-length", 2.into()), ("x-overflow", "reject-publish".into())]);
    let queue = queue_with(&mut client, 5, more);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for (priority, taken) in [(1, true), (4, true), (5, false), (0, false)] {
        client.publish_with(
            1,
            publish("", &queue),
            &properties(&of_priority(priority)),
            &[b'0' + priority],
        );
        if taken {
            expect!(client, 1, BasicAck);
        } else {
            expect!(client, 1, BasicNack);
        }
    }
    assert_eq!(numbers(&mut client, &queue), [4, 1]);
}

#[test]
fn messages_of_every_priority_expire() {
    let mut client = client();
    let queue = five(&mut client);
    for (priority, expiration, body) in [
        (0, Some("100"), b"0"),
        (5, None, b"1"),
        (5, Some("100"), b"2"),
        (3, None, b"3"),
    ] {
        let message = BasicProperties {
            expiration: expiration.map(short),
            ..of_priority(priority)
        };
        client.publish_with(1, publish("", &queue), &properties(&message), body);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(numbers(&mut client, &queue), [1, 3]);
}

#[test]
fn a_dead_letter_keeps_its_priority() {
    let mut client = client();
    let dead = five(&mut client);
    let more = table([
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ]);
    let queue = queue_with(&mut client, 5, more);
    publish_all(&mut client, &queue, &[1, 4]);
    let tags = [(); 2].map(|()| client.get(1, &queue, false).expect("a message").method.delivery_tag);
    // The lower one dies first.
    for tag in tags.iter().rev() {
        client.send(
            1,
            BasicReject {
                delivery_tag: *tag,
                requeue: false,
            },
        );
    }
    let ready = |client: &mut Client| call!(client, 1, passive(&dead) => QueueDeclareOk).message_count;
    until("both have come", Duration::from_secs(5), || ready(&mut client) == 2);
    let first = client.get(1, &dead, true).expect("a dead letter");
    let read = BasicProperties::parse(&first.properties).expect("properties");
    assert_eq!((number(&first.body), read.priority), (1, Some(4)));
    assert_eq!(numbers(&mut client, &dead), [0]);
}

#[test]
fn all_priorities_are_counted_and_purged() {
    let mut client = client();
    let queue = five(&mut client);
    publish_all(&mut client, &queue, &[0, 1, 5, 5, 3]);
    let get = client.get(1, &queue, true).expect("a message");
    assert_eq!((number(&get.body), get.method.message_count), (2, 4));
    assert_eq!(call!(client, 1, purge(&queue) => QueuePurgeOk).message_count, 4);
    assert!(numbers(&mut client, &queue).is_empty());
    publish_all(&mut client, &queue, &[0, 5]);
    assert_eq!(numbers(&mut client, &queue), [1, 0]);
}

#[test]
fn wrong_numbers_are_refused() {
    let mut client = client();
    let queue = unique("refused");
    for (value, reason) in [
        (256.into(), "{max_value_exceeded,256}"),
        ((-1).into(), "{value_negative,-1}"),
        ("5".into(), "\"expected integer, got longstr\""),
        (true.into(), "\"expected integer, got bool\""),
    ] {
        let arguments = table([("x-max-priority", value)]);
        client.send(
            1,
            QueueDeclare {
                arguments,
                ..exclusive(&queue)
            },
        );
        let text =
            format!("PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue '{queue}' in vhost '/': {reason}");
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
}

#[test]
fn declaring_again_compares_the_number() {
    let mut client = client();
    let queue = five(&mut client);
    for (arguments, words) in [
        (table([("x-max-priority", 6.into())]), "received '6' but current is '5'"),
        (
            FieldTable::default(),
            "received none but current is the value '5' of type 'signedint'",
        ),
    ] {
        client.send(
            1,
            QueueDeclare {
                arguments: arguments.into(),
                ..exclusive(&queue)
            },
        );
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue '{queue}' in vhost '/': {words}"
        );
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
    // 0 is not none, although no queue has fewer levels.
    let queue = queue_with(&mut client, 0, FieldTable::default());
    client.send(1, exclusive(&queue));
    let close = expect!(client, 1, ChannelClose);
    assert_eq!((close.reply_code, close.class_id), (406, QueueDeclare::ID.0));
}
