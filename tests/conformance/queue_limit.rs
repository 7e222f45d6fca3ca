//! The length limits of a queue: what is dropped or refused, and what doesn't count.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, Method};

use crate::client;

/// A queue for three messages.
fn three(client: &mut Client) -> String {
    let queue = unique("three");
    let arguments = table([("x-max-length", 3.into()), ("x-overflow", "drop-head".into())]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    queue
}

/// The bodies that are ready, taken out.
fn bodies(client: &mut Client, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(message) = client.get(1, queue, true) {
        bodies.push(String::from_utf8_lossy(&message.body).into_owned());
    }
    bodies
}

fn publish_all(client: &mut Client, queue: &str, bodies: &[&str]) {
    for body in bodies {
        client.publish(1, "", queue, body.as_bytes());
    }
}

/// queue.declare on channel 1 with the argument written out octet by octet.
#[test]
fn the_argument_is_read_from_the_wire() {
    let mut client = client();
    let queue = unique("raw");
    let mut method = vec![0, 50, 0, 10, 0, 0, queue.len() as u8];
    method.extend_from_slice(queue.as_bytes());
    // Exclusive; then a table of 18 octets: x-max-length as a 32 bit integer of 1.
    method.extend_from_slice(b"\x04\0\0\0\x12\x0cx-max-lengthI\0\0\0\x01");
    let mut frame = vec![1, 0, 1];
    frame.extend_from_slice(&(method.len() as u32).to_be_bytes());
    frame.extend_from_slice(&method);
    frame.push(0xce);
    client.send_bytes(&frame);
    harness::expect!(client, 1, QueueDeclareOk);
    publish_all(&mut client, &queue, &["a", "b"]);
    assert_eq!(bodies(&mut client, &queue), ["b"]);
}

#[test]
fn the_oldest_are_dropped() {
    let mut client = client();
    let queue = three(&mut client);
    publish_all(&mut client, &queue, &["a", "b", "c", "d", "e"]);
    assert_eq!(bodies(&mut client, &queue), ["c", "d", "e"]);
    publish_all(&mut client, &queue, &["f"]);
    assert_eq!(bodies(&mut client, &queue), ["f"], "there is room again");
}

#[test]
fn what_is_dropped_is_confirmed_all_the_same() {
    let mut client = client();
    let queue = three(&mut client);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish_all(&mut client, &queue, &["a", "b", "c", "d", "e"]);
    let mut confirmed = 0;
    while confirmed < 5 {
        confirmed = harness::expect!(client, 1, BasicAck).delivery_tag;
    }
    assert_eq!(bodies(&mut client, &queue), ["c", "d", "e"]);
}

#[test]
fn what_is_delivered_does_not_count() {
    let mut client = client();
    let queue = three(&mut client);
    publish_all(&mut client, &queue, &["a", "b"]);
    let tags: Vec<u64> = (0..2)
        .map(|_| client.get(1, &queue, false).expect("a message").method.delivery_tag)
        .collect();
    publish_all(&mut client, &queue, &["c", "d", "e"]);
    let count = |client: &mut Client| call!(client, 1, passive(&queue) => QueueDeclareOk).message_count;
    until("five are there, two of them delivered", Duration::from_secs(5), || {
        count(&mut client) == 3
    });
    client.send(1, ack(tags[1]));
    client.send(1, requeue(tags[0]));
    until("the returned one is dropped", Duration::from_secs(5), || {
        count(&mut client) == 3
    });
    assert_eq!(bodies(&mut client, &queue), ["c", "d", "e"]);
}

#[test]
fn a_consumer_gets_what_the_queue_would_not_keep() {
    let mut client = client();
    let queue = unique("none");
    let arguments = table([("x-max-length", 0.into())]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    publish_all(&mut client, &queue, &["dropped"]);
    call!(client, 1, consume_no_ack(&queue, "c") => BasicConsumeOk);
    publish_all(&mut client, &queue, &["delivered"]);
    let delivery = client.delivery(1);
    assert_eq!(
        (delivery.method.consumer_tag, &delivery.body[..]),
        (short("c"), &b"delivered"[..])
    );
}

#[test]
fn bytes_are_limited_too() {
    let mut client = client();
    let queue = unique("bytes");
    let arguments = table([("x-max-length-bytes", 10.into()), ("x-max-length", 3.into())]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    publish_all(&mut client, &queue, &["12345", "67890", "a"]);
    assert_eq!(bodies(&mut client, &queue), ["67890", "a"]);
    publish_all(&mut client, &queue, &["a", "b", "c", "d"]);
    assert_eq!(bodies(&mut client, &queue), ["b", "c", "d"], "the other limit");
    publish_all(&mut client, &queue, &["a", "more than that"]);
    assert!(bodies(&mut client, &queue).is_empty());
}

/// A queue for two messages that refuses others, with its dead letters' queue.
fn refusing(client: &mut Client, overflow: &str) -> (String, String) {
    let (queue, dead) = (unique("refusing"), unique("dead"));
    call!(client, 1, exclusive(&dead) => QueueDeclareOk);
    let arguments = table([
        ("x-max-length", 2.into()),
        ("x-overflow", overflow.into()),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    (queue, dead)
}

/// The answers to `count` messages: true for those that were confirmed.
fn answers(client: &mut Client, count: usize) -> Vec<bool> {
    let mut answers = vec![None; count];
    while answers.iter().any(Option::is_none) {
        let (tag, multiple, confirmed) = match client.method(1) {
            Method::BasicAck(ack) => (ack.delivery_tag, ack.multiple, true),
            Method::BasicNack(nack) => (nack.delivery_tag, nack.multiple, false),
            other => panic!("{other:?}"),
        };
        let last = usize::try_from(tag).expect("a tag");
        assert_eq!(answers[last - 1], None, "{last} was answered already");
        for answer in &mut answers[if multiple { 0 } else { last - 1 }..last] {
            answer.get_or_insert(confirmed);
        }
    }
    answers.into_iter().flatten().collect()
}

#[test]
fn a_full_queue_refuses_messages() {
    for (overflow, letters) in [("reject-publish", 0), ("reject-publish-dlx", 2)] {
        let mut client = client();
        let (queue, dead) = refusing(&mut client, overflow);
        let (other, fanout) = (unique("other"), unique("fanout"));
        call!(client, 1, exclusive(&other) => QueueDeclareOk);
        call!(client, 1, exchange(&fanout, "fanout") => ExchangeDeclareOk);
        for bound in [&queue, &other] {
            call!(client, 1, bind(bound, &fanout, "") => QueueBindOk);
        }
        call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
        for (exchange, key, body) in [
            ("", &queue, "a"),
            ("", &other, "b"),
            ("", &queue, "c"),
            (&fanout, &queue, "d"),
            ("", &other, "e"),
            ("", &queue, "f"),
        ] {
            client.publish_with(1, publish(exchange, key), &persistent(), body.as_bytes());
        }
        assert_eq!(answers(&mut client, 6), [true, true, true, false, true, false]);
        assert_eq!(bodies(&mut client, &queue), ["a", "c"]);
        assert_eq!(bodies(&mut client, &other), ["b", "d", "e"]);
        until("the dead letters are there", Duration::from_secs(5), || {
            call!(client, 1, passive(&dead) => QueueDeclareOk).message_count == letters
        });
        call!(client, 1, delete_exchange(&fanout) => ExchangeDeleteOk);
    }
}

#[test]
fn a_refused_message_is_a_dead_letter_for_its_length() {
    let mut client = client();
    let (queue, dead) = refusing(&mut client, "reject-publish-dlx");
    publish_all(&mut client, &queue, &["a", "b", "c"]);
    let mut letter = None;
    until("the dead letter is there", Duration::from_secs(5), || {
        letter = client.get(1, &dead, true);
        letter.is_some()
    });
    let letter = letter.expect("a message");
    let properties = BasicProperties::parse(&letter.properties).expect("properties");
    let reason = properties.headers.unwrap_or_default();
    let reason = reason.get("x-first-death-reason").cloned();
    assert_eq!((&letter.body[..], reason), (&b"c"[..], Some("maxlen".into())));
    assert_eq!(bodies(&mut client, &queue), ["a", "b"]);
}

#[test]
fn a_queue_that_refuses_takes_back_what_it_had() {
    let mut client = client();
    let (queue, _) = refusing(&mut client, "reject-publish");
    publish_all(&mut client, &queue, &["a", "b"]);
    let tag = client.get(1, &queue, false).expect("a message").method.delivery_tag;
    publish_all(&mut client, &queue, &["c", "d"]);
    client.send(1, requeue(tag));
    until("it is back", Duration::from_secs(5), || {
        call!(client, 1, passive(&queue) => QueueDeclareOk).message_count == 3
    });
    assert_eq!(bodies(&mut client, &queue), ["a", "b", "c"]);
}

#[test]
fn consumers_make_room() {
    let mut client = client();
    let (queue, _) = refusing(&mut client, "reject-publish");
    call!(client, 1, consume_no_ack(&queue, "c") => BasicConsumeOk);
    let sent: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    publish_all(&mut client, &queue, &sent);
    for expected in sent {
        assert_eq!(client.delivery(1).body, expected);
    }
}

#[test]
fn a_transaction_tells_that_a_message_was_refused() {
    let mut client = client();
    let (queue, _) = refusing(&mut client, "reject-publish");
    let other = unique("other");
    call!(client, 1, exclusive(&other) => QueueDeclareOk);
    call!(client, 1, TxSelect {} => TxSelectOk);
    publish_all(&mut client, &queue, &["a", "b", "c"]);
    publish_all(&mut client, &other, &["d"]);
    client.send(1, TxCommit {});
    client.channel_error(1, 406, "PRECONDITION_FAILED - partial tx completion");
    client.open_channel(1);
    assert_eq!(bodies(&mut client, &queue), ["a", "b"]);
    assert_eq!(bodies(&mut client, &other), ["d"]);
}
