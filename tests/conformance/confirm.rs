//! Publisher confirms: every message is answered for once.

use std::collections::BTreeSet;

use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

use crate::client;

/// Waits until `count` messages are confirmed; returns how many arrived as nacks. Each tag may be confirmed only once.
fn confirms(client: &mut Client, channel: u16, count: u64) -> u64 {
    let (mut open, mut nacks): (BTreeSet<u64>, u64) = ((1..=count).collect(), 0);
    while !open.is_empty() {
        let (tag, multiple, nack) = match client.method(channel) {
            Method::BasicAck(ack) => (ack.delivery_tag, ack.multiple, false),
            Method::BasicNack(nack) => (nack.delivery_tag, nack.multiple, true),
            other => panic!("expected a confirm, got {other:?}"),
        };
        let answered: Vec<u64> = if multiple {
            open.range(..=tag).copied().collect()
        } else {
            vec![tag]
        };
        assert!(open.contains(&tag), "{tag} was confirmed before");
        nacks += if nack { answered.len() as u64 } else { 0 };
        answered.iter().for_each(|tag| _ = open.remove(tag));
    }
    nacks
}

fn confirming() -> Client {
    let mut client = client();
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client
}

#[test]
fn every_publish_is_confirmed_once() {
    let mut client = confirming();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for _ in 0..1000 {
        client.publish(1, "", &queue, b"x");
    }
    assert_eq!(confirms(&mut client, 1, 1000), 0);
    assert_eq!(call!(client, 1, passive(&queue) => QueueDeclareOk).message_count, 1000);
}

#[test]
fn persistent_messages_in_durable_queues_are_confirmed() {
    let mut client = confirming();
    let queue = unique("durable");
    call!(client, 1, durable(&queue) => QueueDeclareOk);
    for _ in 0..500 {
        client.publish_persistent(1, "", &queue, &[1; 1024]);
    }
    assert_eq!(confirms(&mut client, 1, 500), 0);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn the_unroutable_is_confirmed_too() {
    let mut client = confirming();
    client.publish(1, "", &unique("nowhere"), b"x");
    assert_eq!(confirms(&mut client, 1, 1), 0);
}

#[test]
fn a_return_comes_before_its_confirm() {
    let mut client = confirming();
    for _ in 0..3 {
        client.publish_with(1, mandatory("", &unique("nowhere")), &no_properties(), b"x");
    }
    let (mut returns, mut confirmed) = (0, 0);
    while confirmed < 3 {
        match client.method(1) {
            Method::BasicReturn(_) => {
                assert!(matches!(client.frame(), Some(Frame::Header { .. })));
                assert!(matches!(client.frame(), Some(Frame::Body(..))));
                returns += 1;
            }
            Method::BasicAck(ack) => {
                confirmed = if ack.multiple { ack.delivery_tag } else { confirmed + 1 };
                assert!(
                    returns >= confirmed,
                    "message {confirmed} was confirmed before it was returned"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tags_count_from_the_select() {
    let mut client = client();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, b"before");
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish(1, "", &queue, b"first");
    assert_eq!(confirms(&mut client, 1, 1), 0);
}

#[test]
fn each_channel_counts_for_itself() {
    let mut client = confirming();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.open_channel(2);
    client.send(2, ConfirmSelect { no_wait: true });
    client.publish(2, "", &queue, b"x");
    assert_eq!(confirms(&mut client, 2, 1), 0);
    client.publish(1, "", &queue, b"x");
    assert_eq!(confirms(&mut client, 1, 1), 0);
}

#[test]
fn a_message_to_several_queues_is_confirmed_once() {
    let mut client = confirming();
    let name = unique("fan");
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "fanout") } => ExchangeDeclareOk);
    let queues: Vec<String> = (0..5).map(|_| unique("q")).collect();
    for (number, queue) in queues.iter().enumerate() {
        let declared = if number % 2 == 0 {
            durable(queue)
        } else {
            declare(queue)
        };
        call!(client, 1, declared => QueueDeclareOk);
        call!(client, 1, bind(queue, &name, "") => QueueBindOk);
    }
    for _ in 0..20 {
        client.publish_persistent(1, &name, "", b"x");
    }
    assert_eq!(confirms(&mut client, 1, 20), 0);
    for queue in &queues {
        assert_eq!(call!(client, 1, delete(queue) => QueueDeleteOk).message_count, 20);
    }
}

#[test]
fn confirms_go_on_beside_deliveries() {
    let mut client = confirming();
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, consume_no_ack(&queue, "c") => BasicConsumeOk);
    for number in 0..100u8 {
        client.publish(1, "", &queue, &[number]);
    }
    let (mut confirmed, mut delivered) = (BTreeSet::new(), 0);
    while confirmed.len() < 100 || delivered < 100 {
        match client.frame() {
            Some(Frame::Method(1, Method::BasicAck(ack))) => {
                let from = if ack.multiple { 1 } else { ack.delivery_tag };
                confirmed.extend(from..=ack.delivery_tag);
            }
            Some(Frame::Body(1, body)) => {
                assert_eq!(body[..], [delivered]);
                delivered += 1;
            }
            Some(Frame::Method(1, Method::BasicDeliver(_))) => {}
            Some(Frame::Header { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
