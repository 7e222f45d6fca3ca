//! ack, nack, reject: one or many, known or unknown.

use harness::requests::*;
use harness::{Client, call};
use leveret_amqp::method::*;

use crate::client;

/// A queue of `count` messages, numbered from 1, all of them out on channel 1.
fn all_out(client: &mut Client, count: u8) -> String {
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for number in 1..=count {
        client.publish(1, "", &queue, &[number]);
    }
    for _ in 1..=count {
        client.get(1, &queue, false).expect("a message");
    }
    queue
}

/// The messages that are left when the channel has gone.
fn left(mut client: Client, queue: &str) -> Vec<u8> {
    client.open_channel(2);
    call!(client, 1, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    let mut numbers = Vec::new();
    while let Some(message) = client.get(2, queue, true) {
        assert!(message.method.redelivered);
        numbers.push(message.body[0]);
    }
    numbers
}

#[test]
fn ack_settles_one() {
    let mut client = client();
    let queue = all_out(&mut client, 5);
    client.send(1, ack(3));
    assert_eq!(left(client, &queue), [1, 2, 4, 5]);
}

#[test]
fn ack_multiple_settles_all_before() {
    let mut client = client();
    let queue = all_out(&mut client, 5);
    client.send(1, ack(2));
    client.send(1, ack_up_to(4));
    assert_eq!(left(client, &queue), [5]);
}

#[test]
fn ack_multiple_of_zero_settles_everything() {
    let mut client = client();
    let queue = all_out(&mut client, 5);
    client.send(1, ack_up_to(0));
    assert!(left(client, &queue).is_empty());
}

#[test]
fn ack_multiple_of_zero_with_nothing_out_is_fine() {
    let mut client = client();
    client.send(1, ack_up_to(0));
    call!(client, 1, exclusive("") => QueueDeclareOk);
}

#[test]
fn reject_throws_away_or_returns() {
    let mut client = client();
    let queue = all_out(&mut client, 3);
    client.send(
        1,
        BasicReject {
            delivery_tag: 1,
            requeue: false,
        },
    );
    client.send(
        1,
        BasicReject {
            delivery_tag: 2,
            requeue: true,
        },
    );
    client.send(1, ack(3));
    let back = client.get(1, &queue, true).expect("the second");
    assert_eq!((back.body[0], back.method.redelivered), (2, true));
    assert!(client.get(1, &queue, true).is_none());
}

#[test]
fn nack_throws_away_or_returns_many() {
    let mut client = client();
    let queue = all_out(&mut client, 6);
    client.send(
        1,
        BasicNack {
            delivery_tag: 2,
            multiple: true,
            requeue: false,
        },
    );
    client.send(
        1,
        BasicNack {
            delivery_tag: 5,
            multiple: true,
            requeue: true,
        },
    );
    for number in 3..=5 {
        let back = client.get(1, &queue, true).expect("returned");
        assert_eq!((back.body[0], back.method.redelivered), (number, true));
    }
    assert!(client.get(1, &queue, true).is_none());
    client.send(
        1,
        BasicNack {
            delivery_tag: 0,
            multiple: true,
            requeue: true,
        },
    );
    assert_eq!(client.get(1, &queue, true).expect("the last").body[0], 6);
}

#[test]
fn an_unknown_tag_is_an_error() {
    let unknown = |tag: u64| format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
    let mut client = client();
    let cases: [(leveret_amqp::Method, u64); 5] = [
        (ack(1).into(), 1),
        (ack_up_to(99).into(), 99),
        (
            BasicReject {
                delivery_tag: 7,
                requeue: true,
            }
            .into(),
            7,
        ),
        (requeue(8).into(), 8),
        (ack(0).into(), 0),
    ];
    for (method, tag) in cases {
        client.send(1, method);
        client.channel_error(1, 406, &unknown(tag));
        client.open_channel(1);
    }
    let queue = all_out(&mut client, 2);
    client.send(1, ack(1));
    client.send(1, ack(1));
    client.channel_error(1, 406, &unknown(1));
    client.open_channel(1);
    assert_eq!(client.get(1, &queue, true).expect("the second came back").body[0], 2);
}

#[test]
fn tags_belong_to_their_channel() {
    let mut client = client();
    all_out(&mut client, 1);
    client.open_channel(2);
    client.send(2, ack(1));
    client.channel_error(2, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
    client.send(1, ack(1));
    call!(client, 1, exclusive("") => QueueDeclareOk);
}

#[test]
fn settling_after_the_queue_has_gone_is_fine() {
    let mut client = client();
    let queue = all_out(&mut client, 2);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
    client.send(1, ack(1));
    client.send(1, requeue(2));
    call!(client, 1, exclusive("") => QueueDeclareOk);
}
