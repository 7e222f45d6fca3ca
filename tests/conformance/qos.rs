//! basic.qos: how many deliveries may be out.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

use crate::{client, is_rabbitmq};

const SOON: Duration = Duration::from_millis(100);

fn queue_of(client: &mut Client, messages: usize) -> String {
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for _ in 0..messages {
        client.publish(1, "", &queue, b"x");
    }
    queue
}

#[test]
fn it_holds_for_each_new_consumer() {
    let mut client = client();
    let queue = queue_of(&mut client, 10);
    call!(client, 1, prefetch(2) => BasicQosOk);
    call!(client, 1, consume(&queue, "two") => BasicConsumeOk);
    client.delivery(1);
    client.delivery(1);
    client.quiet(SOON);
    call!(client, 1, prefetch(3) => BasicQosOk);
    client.quiet(SOON);
    call!(client, 1, consume(&queue, "three") => BasicConsumeOk);
    for _ in 0..3 {
        assert_eq!(client.delivery(1).method.consumer_tag.as_bytes(), b"three");
    }
    client.quiet(SOON);
}

#[test]
fn an_acknowledgement_makes_room() {
    let mut client = client();
    let queue = queue_of(&mut client, 10);
    call!(client, 1, prefetch(3) => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let tags: Vec<u64> = (0..3).map(|_| client.delivery(1).method.delivery_tag).collect();
    client.quiet(SOON);
    client.send(1, ack(tags[1]));
    assert_eq!(client.delivery(1).method.delivery_tag, 4);
    client.quiet(SOON);
    client.send(1, ack_up_to(4));
    for tag in 5..=7 {
        assert_eq!(client.delivery(1).method.delivery_tag, tag);
    }
    client.quiet(SOON);
}

#[test]
fn zero_is_no_limit() {
    let mut client = client();
    let queue = queue_of(&mut client, 500);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, prefetch(0) => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    for _ in 0..500 {
        client.delivery(1);
    }
}

#[test]
fn get_is_not_limited() {
    let mut client = client();
    let queue = queue_of(&mut client, 5);
    call!(client, 1, prefetch(1) => BasicQosOk);
    for _ in 0..5 {
        assert!(client.get(1, &queue, false).is_some());
    }
}

#[test]
fn consumers_without_acknowledgement_are_not_limited() {
    let mut client = client();
    let queue = queue_of(&mut client, 20);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume_no_ack(&queue, "c") => BasicConsumeOk);
    for _ in 0..20 {
        client.delivery(1);
    }
}

/// RabbitMQ 4.3 takes `global` only when told to; older ones, and many clients, mean one limit for the whole channel.
#[test]
fn global_is_one_limit_for_the_channel() {
    let mut client = client();
    let queue = queue_of(&mut client, 20);
    call!(client, 1, BasicQos { global: true, ..prefetch(3) } => BasicQosOk);
    call!(client, 1, consume(&queue, "a") => BasicConsumeOk);
    let mut tags = Vec::new();
    for _ in 0..3 {
        tags.push(client.delivery(1).method.delivery_tag);
    }
    call!(client, 1, consume(&queue, "b") => BasicConsumeOk);
    client.quiet(SOON);
    client.send(1, ack(tags[0]));
    client.delivery(1);
    client.quiet(SOON);
    client.send(
        1,
        BasicQos {
            global: true,
            ..prefetch(5)
        },
    );
    let (mut answered, mut more) = (false, 0);
    while !answered || more < 2 {
        match client.frame() {
            Some(Frame::Method(1, Method::BasicQosOk(_))) => answered = true,
            Some(Frame::Body(1, _)) => more += 1,
            Some(_) => {}
            None => panic!("the connection was closed"),
        }
    }
    client.quiet(SOON);
}

#[test]
fn a_limit_of_the_channel_is_shared_by_its_queues_in_turn() {
    if is_rabbitmq() {
        return; // There is no such limit any more.
    }
    let mut client = client();
    let queues = [(); 3].map(|()| queue_of(&mut client, 20));
    call!(client, 1, BasicQos { global: true, ..prefetch(1) } => BasicQosOk);
    for queue in &queues {
        client.send(
            1,
            BasicConsume {
                no_wait: true,
                ..consume(queue, queue)
            },
        );
    }
    let mut taken = [0; 3];
    for _ in 0..30 {
        let delivery = client.delivery(1).method;
        let from = queues
            .iter()
            .position(|queue| queue.as_bytes() == delivery.consumer_tag.as_bytes());
        taken[from.expect("one of its consumers")] += 1;
        client.send(1, ack(delivery.delivery_tag));
    }
    assert!(taken.iter().all(|count| (8..=12).contains(count)), "{taken:?}");
}

/// Before 4.3, what is fetched one by one did not count for the limit of the channel.
#[test]
fn a_get_takes_nothing_of_the_channels_limit() {
    if is_rabbitmq() {
        return; // There is no such limit any more.
    }
    let mut client = client();
    let queue = queue_of(&mut client, 3);
    call!(client, 1, BasicQos { global: true, ..prefetch(1) } => BasicQosOk);
    let got = client.get(1, &queue, false).expect("a message");
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let delivery_tag = client.delivery(1).method.delivery_tag;
    client.quiet(SOON);
    client.send(1, ack(got.method.delivery_tag));
    client.quiet(SOON);
    client.send(1, ack(delivery_tag));
    client.delivery(1);
}

/// Before 4.3, a consumer that acknowledges nothing waited while the limit of its channel was reached.
#[test]
fn a_consumer_without_acknowledgement_waits_for_the_channels_limit() {
    if is_rabbitmq() {
        return; // There is no such limit any more.
    }
    let mut client = client();
    let (limited, free) = (queue_of(&mut client, 1), queue_of(&mut client, 3));
    call!(client, 1, BasicQos { global: true, ..prefetch(1) } => BasicQosOk);
    call!(client, 1, consume(&limited, "a") => BasicConsumeOk);
    let delivery_tag = client.delivery(1).method.delivery_tag;
    call!(client, 1, consume_no_ack(&free, "b") => BasicConsumeOk);
    client.publish(1, "", &free, b"another");
    client.quiet(SOON);
    client.send(1, ack(delivery_tag));
    for _ in 0..4 {
        client.delivery(1);
    }
}

#[test]
fn what_a_higher_limit_of_the_channel_sets_free_comes_after_the_answer() {
    if is_rabbitmq() {
        return; // There is no such limit any more.
    }
    let mut client = client();
    let queue = queue_of(&mut client, 4);
    call!(client, 1, BasicQos { global: true, ..prefetch(1) } => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    client.delivery(1);
    for limit in [2, 4] {
        call!(client, 1, BasicQos { global: true, ..prefetch(limit) } => BasicQosOk);
        client.delivery(1);
    }
}

#[test]
fn what_is_requeued_under_the_channels_limit_comes_first() {
    let mut client = client();
    let queue = queue_of(&mut client, 2);
    call!(client, 1, BasicQos { global: true, ..prefetch(1) } => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let first = client.delivery(1);
    client.send(
        1,
        BasicNack {
            delivery_tag: first.method.delivery_tag,
            multiple: false,
            requeue: true,
        },
    );
    let again = client.delivery(1);
    assert!(again.method.redelivered && again.body == first.body);
}

#[test]
fn a_size_is_not_implemented() {
    let mut client = client();
    client.send(
        1,
        BasicQos {
            prefetch_size: 1000,
            ..prefetch(1)
        },
    );
    client.connection_error(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1000)");
}

#[test]
fn what_is_requeued_makes_room() {
    let mut client = client();
    let queue = queue_of(&mut client, 2);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let first = client.delivery(1);
    client.send(1, requeue(first.method.delivery_tag));
    let again = client.delivery(1);
    assert!(
        again.method.redelivered || is_rabbitmq(),
        "the same message comes first again"
    );
}
