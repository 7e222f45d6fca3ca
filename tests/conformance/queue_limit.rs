//! The length limit of a queue: what is dropped, and what doesn't count.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Client, call};
use leveret_amqp::method::*;

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
