//! Deliveries after the broker was killed.

use std::thread;
use std::time::Duration;

use harness::requests::*;
use harness::{Client, call, expect};
use leveret_amqp::method::*;

use crate::{drain, small};

/// Longer than anything stays unsynced that no client waits for.
const SYNCED: Duration = Duration::from_millis(400);

fn publish(client: &mut Client, queue: &str, count: u8) {
    call!(client, 1, durable(queue) => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..count {
        client.publish_persistent(1, "", queue, &[number]);
    }
    let mut confirmed = 0;
    while confirmed < count.into() {
        confirmed = match client.method(1) {
            leveret_amqp::Method::BasicAck(ack) if ack.multiple => ack.delivery_tag,
            leveret_amqp::Method::BasicAck(_) => confirmed + 1,
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn what_was_out_says_so_and_what_was_acknowledged_is_gone() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    publish(&mut client, "q", 10);
    client.open_channel(2);
    call!(client, 2, prefetch(5) => BasicQosOk);
    call!(client, 2, consume("q", "c") => BasicConsumeOk);
    for _ in 0..5 {
        client.delivery(2);
    }
    client.send(2, ack(2));
    client.send(2, ack(4));
    client.delivery(2);
    client.delivery(2);
    thread::sleep(SYNCED);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let found: Vec<(u8, bool)> = drain(&mut client, "q")
        .into_iter()
        .map(|(body, again)| (body[0], again))
        .collect();
    let expected = [
        (0, true),
        (2, true),
        (4, true),
        (5, true),
        (6, true),
        (7, false),
        (8, false),
        (9, false),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_was_given_back_says_so() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    publish(&mut client, "q", 3);
    let tag = client.get(1, "q", false).expect("a message").method.delivery_tag;
    client.send(1, requeue(tag));
    call!(client, 1, passive("q") => QueueDeclareOk);
    thread::sleep(SYNCED);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let flags: Vec<bool> = drain(&mut client, "q").into_iter().map(|(_, again)| again).collect();
    assert_eq!(flags, [true, false, false]);
}

#[test]
fn transient_messages_are_gone_and_persistent_ones_are_not() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    publish(&mut client, "q", 2);
    client.publish(1, "", "q", b"transient");
    client.publish_persistent(1, "", "q", &[2]);
    let mut confirmed = 0;
    while confirmed < 4 {
        if let leveret_amqp::Method::BasicAck(ack) = client.method(1) {
            confirmed = confirmed.max(ack.delivery_tag);
        }
    }
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let bodies: Vec<Vec<u8>> = drain(&mut client, "q").into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies, [[0], [1], [2]]);
}

#[test]
fn a_purge_and_a_delete_stay_done() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    publish(&mut client, "purged", 5);
    call!(client, 1, purge("purged") => QueuePurgeOk);
    call!(client, 1, durable("deleted") => QueueDeclareOk);
    client.publish_persistent(1, "", "deleted", b"x");
    expect!(client, 1, BasicAck);
    call!(client, 1, delete("deleted") => QueueDeleteOk);
    thread::sleep(SYNCED);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(call!(client, 1, passive("purged") => QueueDeclareOk).message_count, 0);
    call!(client, 1, durable("deleted") => QueueDeclareOk);
    assert_eq!(call!(client, 1, passive("deleted") => QueueDeclareOk).message_count, 0);
}
