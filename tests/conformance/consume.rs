//! Consumers: tags, exclusivity, cancelling from either side, fairness.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{Frame, short, table};
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldValue, Method, RawTable};

use crate::{broker, client};

fn queue(client: &mut Client) -> String {
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    queue
}

#[test]
fn a_delivery_names_its_consumer() {
    let mut client = client();
    let queue = queue(&mut client);
    let ok = call!(client, 1, consume(&queue, "mine") => BasicConsumeOk);
    assert_eq!(ok.consumer_tag.as_bytes(), b"mine");
    for number in 1..=3u64 {
        client.publish(1, "", &queue, &[number as u8]);
        let message = client.delivery(1);
        assert_eq!(message.method.consumer_tag.as_bytes(), b"mine");
        assert_eq!(
            (message.method.delivery_tag, message.method.redelivered),
            (number, false)
        );
        assert_eq!(
            (
                message.method.exchange.as_bytes(),
                message.method.routing_key.as_bytes()
            ),
            (&b""[..], queue.as_bytes())
        );
        assert_eq!(message.body[..], [number as u8]);
    }
}

#[test]
fn the_server_makes_up_tags() {
    let mut client = client();
    let queue = queue(&mut client);
    let one = call!(client, 1, consume(&queue, "") => BasicConsumeOk).consumer_tag;
    let two = call!(client, 1, consume(&queue, "") => BasicConsumeOk).consumer_tag;
    assert!(
        one.as_bytes().starts_with(b"amq.ctag-") && one != two,
        "{one:?} {two:?}"
    );
}

#[test]
fn a_tag_is_used_once_per_channel() {
    let mut client = client();
    let queue = queue(&mut client);
    call!(client, 1, consume(&queue, "twice") => BasicConsumeOk);
    client.open_channel(2);
    call!(client, 2, consume(&queue, "twice") => BasicConsumeOk);
    client.send(1, consume(&queue, "twice"));
    let close = client.connection_error(530, "NOT_ALLOWED - attempt to reuse consumer tag 'twice'");
    assert_eq!((close.class_id, close.method_id), BasicConsume::ID);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let mut client = client();
    let queue = queue(&mut client);
    client.open_channel(2);
    let alone = BasicConsume {
        exclusive: true,
        ..consume(&queue, "one")
    };
    call!(client, 1, alone => BasicConsumeOk);
    let in_use = format!("ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use");
    client.send(2, consume(&queue, "two"));
    client.channel_error(2, 403, &in_use);
    client.open_channel(2);
    call!(client, 1, cancel("one") => BasicCancelOk);
    call!(client, 2, consume(&queue, "two") => BasicConsumeOk);
    client.send(
        1,
        BasicConsume {
            exclusive: true,
            ..consume(&queue, "three")
        },
    );
    client.channel_error(1, 403, &in_use);
}

#[test]
fn a_missing_queue_is_not_found() {
    let mut client = client();
    let missing = unique("missing");
    client.send(1, consume(&missing, "c"));
    client.channel_error(1, 404, &format!("NOT_FOUND - no queue '{missing}' in vhost '/'"));
}

#[test]
fn cancel_ends_deliveries_and_keeps_what_is_out() {
    let mut client = client();
    let queue = queue(&mut client);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    client.publish(1, "", &queue, b"one");
    let out = client.delivery(1).method.delivery_tag;
    assert_eq!(
        call!(client, 1, cancel("c") => BasicCancelOk).consumer_tag.as_bytes(),
        b"c"
    );
    client.publish(1, "", &queue, b"two");
    client.quiet(Duration::from_millis(100));
    client.send(1, ack(out));
    let next = client.get(1, &queue, true).expect("the second");
    assert_eq!((&next.body[..], next.method.redelivered), (&b"two"[..], false));
    assert!(client.get(1, &queue, true).is_none());
}

#[test]
fn cancelling_nobody_is_answered() {
    let mut client = client();
    call!(client, 1, cancel("nobody") => BasicCancelOk);
}

#[test]
fn consumers_are_told_that_their_queue_is_gone() {
    let mut client = client();
    let queue = queue(&mut client);
    client.open_channel(2);
    call!(client, 2, consume(&queue, "orphan") => BasicConsumeOk);
    client.send(1, delete(&queue));
    let (mut deleted, mut told) = (false, false);
    while !(deleted && told) {
        match client.frame() {
            Some(Frame::Method(1, Method::QueueDeleteOk(_))) => deleted = true,
            Some(Frame::Method(2, Method::BasicCancel(cancel))) => {
                assert_eq!((cancel.consumer_tag.as_bytes(), cancel.no_wait), (&b"orphan"[..], true));
                told = true;
            }
            other => panic!("{other:?}"),
        }
    }
    call!(client, 2, exclusive("") => QueueDeclareOk);
}

#[test]
fn the_channel_that_deletes_a_queue_hears_of_its_own_consumers_after_the_reply() {
    let mut client = client();
    for durable in [false, true] {
        let queue = unique("deleted");
        let declare = QueueDeclare {
            durable,
            exclusive: !durable,
            ..exclusive(&queue)
        };
        call!(client, 1, declare => QueueDeclareOk);
        call!(client, 1, consume(&queue, "orphan") => BasicConsumeOk);
        call!(client, 1, delete(&queue) => QueueDeleteOk);
        let told = expect!(client, 1, BasicCancel);
        assert_eq!((told.consumer_tag.as_bytes(), told.no_wait), (&b"orphan"[..], true));
    }
}

#[test]
fn arguments_of_streams_and_priorities_of_no_number_are_refused() {
    let mut client = client();
    let queue = unique("arguments");
    call!(client, 1, durable(&queue) => QueueDeclareOk);
    let refused = |argument: &str, ending: &str| {
        format!("PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/'{ending}")
    };
    let of_type = " of queue type rabbit_classic_queue";
    let cases = [
        ("x-stream-offset", FieldValue::from("first"), of_type),
        ("x-stream-filter", "a".into(), of_type),
        ("x-stream-match-unfiltered", FieldValue::Bool(true), of_type),
        ("x-priority", "high".into(), ": \"expected integer, got longstr\""),
        ("x-priority", FieldValue::Bool(true), ": \"expected integer, got bool\""),
    ];
    for (argument, value, ending) in cases {
        let wrong = BasicConsume {
            arguments: table([(argument, value)]),
            ..consume(&queue, "c")
        };
        client.send(1, wrong);
        client.channel_error(1, 406, &refused(argument, ending));
        client.open_channel(1);
    }
    let high = BasicConsume {
        arguments: table([("x-priority", FieldValue::Long(1 << 40)), ("x-foo", "any".into())]),
        ..consume(&queue, "c")
    };
    call!(client, 1, high => BasicConsumeOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn only_those_who_understand_it_are_told() {
    let mut client = Client::raw(broker());
    client.start();
    let plain = ConnectionStartOk {
        client_properties: RawTable::new(),
        ..start_ok("PLAIN", b"\0guest\0guest")
    };
    client.send(0, plain);
    expect!(client, 0, ConnectionTune);
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 0,
        },
    );
    client.open("/");
    client.open_channel(1);
    client.open_channel(2);
    let queue = queue(&mut client);
    call!(client, 2, consume(&queue, "orphan") => BasicConsumeOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
    client.quiet(Duration::from_millis(150));
}

#[test]
fn no_ack_settles_at_once() {
    let mut client = client();
    let queue = queue(&mut client);
    client.publish(1, "", &queue, b"x");
    client.open_channel(2);
    call!(client, 2, consume_no_ack(&queue, "c") => BasicConsumeOk);
    client.delivery(2);
    call!(client, 2, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    assert!(client.get(1, &queue, true).is_none());
}

#[test]
fn no_wait_brings_deliveries_without_an_answer() {
    let mut client = client();
    let queue = queue(&mut client);
    client.publish(1, "", &queue, b"x");
    client.send(
        1,
        BasicConsume {
            no_wait: true,
            ..consume(&queue, "c")
        },
    );
    client.delivery(1);
    client.send(
        1,
        BasicCancel {
            no_wait: true,
            ..cancel("c")
        },
    );
    client.publish(1, "", &queue, b"y");
    client.quiet(Duration::from_millis(100));
}

#[test]
fn no_local_is_ignored() {
    let mut client = client();
    let queue = queue(&mut client);
    call!(client, 1, BasicConsume { no_local: true, ..consume_no_ack(&queue, "c") } => BasicConsumeOk);
    client.publish(1, "", &queue, b"own");
    assert_eq!(&client.delivery(1).body[..], b"own");
}

#[test]
fn consumers_with_room_take_turns() {
    let mut client = client();
    let queue = queue(&mut client);
    for tag in ["a", "b", "c"] {
        call!(client, 1, consume_no_ack(&queue, tag) => BasicConsumeOk);
    }
    for _ in 0..300 {
        client.publish(1, "", &queue, b"x");
    }
    let mut shares: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..300 {
        *shares
            .entry(client.delivery(1).method.consumer_tag.as_bytes().to_vec())
            .or_default() += 1;
    }
    assert_eq!(shares.len(), 3);
    assert!(shares.values().all(|share| (90..=110).contains(share)), "{shares:?}");
}

#[test]
fn a_consumer_without_room_is_passed_over() {
    let mut client = client();
    let queue = queue(&mut client);
    call!(client, 1, prefetch(1) => BasicQosOk);
    call!(client, 1, consume(&queue, "slow") => BasicConsumeOk);
    client.open_channel(2);
    call!(client, 2, consume_no_ack(&queue, "fast") => BasicConsumeOk);
    for _ in 0..100 {
        client.publish(1, "", &queue, b"x");
    }
    let (mut slow, mut fast) = (0, 0);
    for _ in 0..100 {
        match client.frame() {
            Some(Frame::Method(1, Method::BasicDeliver(_))) => slow += 1,
            Some(Frame::Method(2, Method::BasicDeliver(_))) => fast += 1,
            other => panic!("expected a delivery, got {other:?}"),
        }
        client.frame();
        client.frame();
    }
    assert_eq!((slow, fast), (1, 99));
}

#[test]
fn a_higher_priority_is_served_first() {
    let mut client = client();
    let queue = queue(&mut client);
    call!(client, 1, consume_no_ack(&queue, "low") => BasicConsumeOk);
    let arguments = table([("x-priority", 5.into())]);
    client.open_channel(2);
    call!(client, 2, prefetch(2) => BasicQosOk);
    call!(client, 2, BasicConsume { arguments, ..consume(&queue, "high") } => BasicConsumeOk);
    for _ in 0..5 {
        client.publish(1, "", &queue, b"x");
    }
    let mut tags = Vec::new();
    for _ in 0..5 {
        if let Some(Frame::Method(_, Method::BasicDeliver(deliver))) = client.frame() {
            tags.push(deliver.consumer_tag);
        }
        client.frame();
        client.frame();
    }
    tags.sort();
    let (high, low) = (short("high"), short("low"));
    assert_eq!(tags, [high.clone(), high, low.clone(), low.clone(), low]);
}
