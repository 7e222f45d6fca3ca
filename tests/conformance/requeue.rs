//! Messages that come back to a queue: their place, and their redelivered flag.

use std::time::Duration;

use harness::requests::*;
use harness::wait::until;
use harness::{Client, call};
use leveret_amqp::method::*;

use crate::client;

fn queue_of(client: &mut Client, count: u8) -> String {
    let queue = unique("q");
    call!(client, 1, declare(&queue) => QueueDeclareOk);
    for number in 1..=count {
        client.publish(1, "", &queue, &[number]);
    }
    queue
}

fn drain(client: &mut Client, queue: &str) -> Vec<(u8, bool)> {
    let mut found = Vec::new();
    while let Some(message) = client.get(1, queue, true) {
        found.push((message.body[0], message.method.redelivered));
    }
    call!(client, 1, delete(queue) => QueueDeleteOk);
    found
}

#[test]
fn it_takes_its_old_place() {
    let mut client = client();
    let queue = queue_of(&mut client, 5);
    for _ in 0..3 {
        client.get(1, &queue, false);
    }
    client.send(1, requeue(2));
    client.send(1, requeue(3));
    client.send(1, requeue(1));
    assert_eq!(
        drain(&mut client, &queue),
        [(1, true), (2, true), (3, true), (4, false), (5, false)]
    );
}

#[test]
fn a_closed_channel_gives_back_in_order() {
    let mut client = client();
    let queue = queue_of(&mut client, 5);
    client.open_channel(2);
    call!(client, 2, prefetch(4) => BasicQosOk);
    call!(client, 2, consume(&queue, "c") => BasicConsumeOk);
    for _ in 0..4 {
        client.delivery(2);
    }
    client.send(2, ack(2));
    client.delivery(2);
    call!(client, 2, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    assert_eq!(drain(&mut client, &queue), [(1, true), (3, true), (4, true), (5, true)]);
}

#[test]
fn a_broken_connection_gives_back() {
    let mut client = client();
    let queue = queue_of(&mut client, 3);
    let mut other = crate::client();
    for _ in 0..3 {
        other.get(1, &queue, false);
    }
    drop(other);
    let back = || call!(client, 1, passive(&queue) => QueueDeclareOk).message_count == 3;
    until("all are back", Duration::from_secs(5), back);
    assert_eq!(drain(&mut client, &queue), [(1, true), (2, true), (3, true)]);
}

#[test]
fn another_consumer_gets_what_one_gave_back() {
    let mut client = client();
    let queue = queue_of(&mut client, 1);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume(&queue, "one") => BasicConsumeOk);
    let first = client.delivery(1).method.delivery_tag;
    call!(client, 1, cancel("one") => BasicCancelOk);
    client.open_channel(2);
    call!(client, 2, consume(&queue, "two") => BasicConsumeOk);
    client.send(1, requeue(first));
    assert!(client.delivery(2).method.redelivered);
    call!(client, 2, cancel("two") => BasicCancelOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn recover_gives_back_everything_out() {
    let mut client = client();
    let queue = queue_of(&mut client, 3);
    for _ in 0..3 {
        client.get(1, &queue, false);
    }
    client.send(1, ack(2));
    call!(client, 1, BasicRecover { requeue: true } => BasicRecoverOk);
    assert_eq!(drain(&mut client, &queue), [(1, true), (3, true)]);
}

#[test]
fn recover_brings_it_to_the_same_consumer_too() {
    let mut client = client();
    let queue = queue_of(&mut client, 1);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    assert!(!client.delivery(1).method.redelivered);
    call!(client, 1, BasicRecover { requeue: true } => BasicRecoverOk);
    let again = client.delivery(1).method;
    assert!(again.redelivered);
    assert_eq!(again.delivery_tag, 2, "a delivery is never numbered twice");
    call!(client, 1, cancel("c") => BasicCancelOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn what_recover_brings_comes_after_the_answer() {
    for declare in [declare, durable] {
        let mut client = client();
        let queues = [(); 4].map(|()| unique("q"));
        for queue in &queues {
            call!(client, 1, declare(queue) => QueueDeclareOk);
            client.publish_persistent(1, "", queue, b"x");
            call!(client, 1, consume(queue, queue) => BasicConsumeOk);
            client.delivery(1);
        }
        for _ in 0..3 {
            call!(client, 1, BasicRecover { requeue: true } => BasicRecoverOk);
            for _ in &queues {
                assert!(client.delivery(1).method.redelivered);
            }
        }
        for queue in &queues {
            call!(client, 1, cancel(queue) => BasicCancelOk);
            call!(client, 1, delete(queue) => QueueDeleteOk);
        }
    }
}

#[test]
fn recover_async_is_the_same_without_an_answer() {
    let mut client = client();
    let queue = queue_of(&mut client, 2);
    client.get(1, &queue, false);
    client.send(1, BasicRecoverAsync { requeue: true });
    assert_eq!(drain(&mut client, &queue), [(1, true), (2, false)]);
}

#[test]
fn recover_without_requeue_is_not_implemented() {
    let mut client = client();
    client.send(1, BasicRecover { requeue: false });
    client.connection_error(540, "NOT_IMPLEMENTED - requeue=false");
}
