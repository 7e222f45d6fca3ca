//! Consumers that have a message for too long: their end, and what becomes of the message.

use std::time::{Duration, Instant};

use harness::requests::*;
use harness::scripted_client::{Frame, short, table};
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldValue, Method, RawTable};

use crate::quorum::{quorum, quorum_with};
use crate::{client, is_rabbitmq, next};

fn timed(queue: &str, tag: &str, timeout: impl Into<FieldValue>) -> BasicConsume {
    BasicConsume {
        arguments: table([("x-consumer-timeout", timeout.into())]),
        ..consume(queue, tag)
    }
}

/// The next basic.cancel, which comes within the time that is allowed.
fn cancelled(client: &mut Client, channel: u16) -> BasicCancel {
    expect!(client, channel, BasicCancel)
}

/// Deletes a queue over another connection: a RabbitMQ has the consumers still, and tells them.
fn remove(queue: &str) {
    let mut client = client();
    call!(client, 1, delete(queue) => QueueDeleteOk);
}

#[test]
fn a_late_consumer_is_cancelled_and_its_message_goes_back() {
    let mut client = client();
    let queue = unique("late");
    call!(client, 1, quorum_with(&queue, "x-consumer-timeout", 300) => QueueDeclareOk);
    client.open_channel(2);
    client.publish(1, "", &queue, b"slow");
    call!(client, 2, consume(&queue, "c") => BasicConsumeOk);
    let begin = Instant::now();
    let delivery = client.delivery(2);
    let cancel = cancelled(&mut client, 2);
    assert_eq!((cancel.consumer_tag, cancel.no_wait), (short("c"), true));
    assert!(begin.elapsed() >= Duration::from_millis(290), "{:?}", begin.elapsed());
    let again = next(&mut client, &queue);
    assert!(again.method.redelivered);
    assert_eq!(again.body, "slow");
    let headers = BasicProperties::parse(&again.properties)
        .expect("properties")
        .headers
        .expect("headers");
    assert_eq!(headers.get("x-acquired-count").and_then(FieldValue::as_i64), Some(1));
    assert!(headers.get("x-delivery-count").is_none(), "it has not failed");
    // The channel goes on, and takes the late acknowledgement for what it is worth.
    client.send(2, ack(delivery.method.delivery_tag));
    call!(client, 2, prefetch(1) => BasicQosOk);
    client.send(1, ack(again.method.delivery_tag));
    remove(&queue);
}

/// In a RabbitMQ the consumer is there still, and gets messages again once it has acknowledged those.
#[test]
fn a_late_acknowledgement_ends_nothing_that_another_consumer_has() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let queue = unique("late");
    call!(client, 1, QueueDeclare { arguments: table([("x-consumer-timeout", 200.into())]), ..exclusive(&queue) } => QueueDeclareOk);
    client.publish(1, "", &queue, b"slow");
    client.open_channel(2);
    call!(client, 2, consume(&queue, "c") => BasicConsumeOk);
    let delivery = client.delivery(2);
    cancelled(&mut client, 2);
    let again = next(&mut client, &queue);
    client.send(2, ack(delivery.method.delivery_tag));
    call!(client, 2, prefetch(1) => BasicQosOk);
    client.send(1, requeue(again.method.delivery_tag));
    let third = next(&mut client, &queue);
    assert_eq!(third.body, "slow", "it is not acknowledged");
    client.send(1, ack(third.method.delivery_tag));
    // The tag is free, and the new consumer is one like any other.
    client.publish(1, "", &queue, b"next");
    call!(client, 2, consume(&queue, "c") => BasicConsumeOk);
    let delivery = client.delivery(2);
    assert_eq!(delivery.body, "next");
    client.send(2, ack(delivery.method.delivery_tag));
    client.quiet(Duration::from_millis(300));
    // A tag is settled once, whatever became of its message.
    client.send(2, ack(1));
    client.channel_error(2, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
}

#[test]
fn a_consumer_may_have_a_time_of_its_own() {
    let mut client = client();
    for (channel, of_queue) in [(2, None), (3, Some(60_000))] {
        client.open_channel(channel);
        let queue = unique("own");
        let declare = match of_queue {
            Some(millis) => quorum_with(&queue, "x-consumer-timeout", millis),
            None => quorum(&queue),
        };
        call!(client, 1, declare => QueueDeclareOk);
        client.publish(1, "", &queue, b"slow");
        call!(client, channel, timed(&queue, "c", 200) => BasicConsumeOk);
        client.delivery(channel);
        cancelled(&mut client, channel);
        drop(client);
        remove(&queue);
        client = crate::client();
    }
    let queue = unique("longer");
    call!(client, 1, quorum_with(&queue, "x-consumer-timeout", 100) => QueueDeclareOk);
    call!(client, 1, timed(&queue, "c", 60_000) => BasicConsumeOk);
    client.publish(1, "", &queue, b"slow");
    let delivery = client.delivery(1);
    client.quiet(Duration::from_millis(400));
    client.send(1, ack(delivery.method.delivery_tag));
    call!(client, 1, cancel("c") => BasicCancelOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn a_consumer_that_acknowledges_in_time_goes_on() {
    let mut client = client();
    let queue = unique("prompt");
    call!(client, 1, quorum_with(&queue, "x-consumer-timeout", 600) => QueueDeclareOk);
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        client.publish(1, "", &queue, b"quick");
        let delivery = client.delivery(1);
        client.send(1, ack(delivery.method.delivery_tag));
    }
    call!(client, 1, cancel("c") => BasicCancelOk);
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

#[test]
fn a_wrong_argument_of_a_consumer_is_refused() {
    let mut client = client();
    let queue = unique("wrong");
    call!(client, 1, quorum(&queue) => QueueDeclareOk);
    for (argument, value, reason) in [
        ("x-consumer-timeout", FieldValue::Int(-1), "{value_negative,-1}"),
        ("x-consumer-timeout", "5".into(), "\"expected integer, got longstr\""),
        ("x-priority", "5".into(), "\"expected integer, got longstr\""),
    ] {
        let consume = BasicConsume {
            arguments: table([(argument, value)]),
            ..consume(&queue, "c")
        };
        client.send(1, consume);
        let text = format!("PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/': {reason}");
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
    call!(client, 1, delete(&queue) => QueueDeleteOk);
}

/// RabbitMQ has the argument for quorum queues alone.
#[test]
fn any_queue_type_takes_the_argument() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let queue = unique("classic");
    let arguments = table([("x-consumer-timeout", 100.into())]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    client.publish(1, "", &queue, b"slow");
    call!(client, 1, consume(&queue, "c") => BasicConsumeOk);
    client.delivery(1);
    cancelled(&mut client, 1);
    assert_eq!(next(&mut client, &queue).body, "slow");
}

/// In a RabbitMQ, too, but there each message is returned once it is late itself.
#[test]
fn the_next_consumer_gets_it_and_messages_in_time_stay() {
    let mut client = client();
    let queue = unique("next");
    let mut declare = quorum_with(&queue, "x-consumer-timeout", 400);
    let mut arguments = declare.arguments.to_table();
    arguments.push(short("x-single-active-consumer"), true.into());
    declare.arguments = arguments.into();
    call!(client, 1, declare => QueueDeclareOk);
    client.open_channel(2);
    client.open_channel(3);
    call!(client, 2, consume(&queue, "first") => BasicConsumeOk);
    call!(client, 3, timed(&queue, "second", 60_000) => BasicConsumeOk);
    client.publish(1, "", &queue, b"a");
    assert_eq!(client.delivery(2).body, "a");
    std::thread::sleep(Duration::from_millis(200));
    client.publish(1, "", &queue, b"b");
    let second = client.delivery(2);
    assert_eq!(second.body, "b");
    let (mut told, mut bodies) = (false, Vec::new());
    while !told || bodies.is_empty() {
        match client.frame() {
            Some(Frame::Method(2, Method::BasicCancel(_))) => told = true,
            Some(Frame::Body(3, body)) => bodies.push(body),
            Some(Frame::Method(3, Method::BasicDeliver(_)) | Frame::Header { .. }) => {}
            other => panic!("{other:?}"),
        }
        if told && is_rabbitmq() {
            // It hands over when the first consumer has nothing any more.
            client.send(2, ack(second.method.delivery_tag));
        }
    }
    assert_eq!(bodies, ["a"]);
    if !is_rabbitmq() {
        client.send(2, ack(second.method.delivery_tag));
        call!(client, 2, prefetch(1) => BasicQosOk);
        client.quiet(Duration::from_millis(400));
    }
    drop(client);
    remove(&queue);
}

/// A RabbitMQ closes the channel (406).
#[test]
fn a_client_that_does_not_know_basic_cancel_is_not_told() {
    let mut other = Client::raw(crate::broker());
    other.start();
    let answer = ConnectionStartOk {
        client_properties: RawTable::new(),
        ..start_ok("PLAIN", b"\0guest\0guest")
    };
    other.send(0, answer);
    let ConnectionTune {
        channel_max, frame_max, ..
    } = expect!(other, 0, ConnectionTune);
    let heartbeat = 0;
    other.send(
        0,
        ConnectionTuneOk {
            channel_max,
            frame_max,
            heartbeat,
        },
    );
    other.open("/");
    other.open_channel(1);
    let queue = unique("silent");
    call!(other, 1, quorum_with(&queue, "x-consumer-timeout", 200) => QueueDeclareOk);
    other.publish(1, "", &queue, b"slow");
    call!(other, 1, consume(&queue, "c") => BasicConsumeOk);
    let delivery = other.delivery(1);
    if is_rabbitmq() {
        let close = expect!(other, 1, ChannelClose);
        assert_eq!(close.reply_code, 406);
    } else {
        let mut client = client();
        assert_eq!(next(&mut client, &queue).body, "slow");
        other.send(1, ack(delivery.method.delivery_tag));
        call!(other, 1, cancel("c") => BasicCancelOk);
    }
    drop(other);
    remove(&queue);
}
