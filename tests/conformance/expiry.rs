//! Time to live, of queues and of messages: when they go, and what does not keep them.

use std::time::{Duration, Instant};

use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue};

use crate::{client, is_rabbitmq};

const PATIENCE: Duration = Duration::from_secs(20);

fn queue(client: &mut Client, arguments: FieldTable) -> String {
    let queue = unique("timed");
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(&queue) } => QueueDeclareOk);
    queue
}

fn ttl(millis: i32) -> FieldTable {
    table([("x-message-ttl", millis.into())])
}

fn expiring(client: &mut Client, queue: &str, expiration: &str, body: &[u8]) {
    let properties = properties(&BasicProperties {
        expiration: Some(short(expiration)),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", queue), &properties, body);
}

fn ready(client: &mut Client, queue: &str) -> u32 {
    call!(client, 1, passive(queue) => QueueDeclareOk).message_count
}

fn gone(client: &mut Client, queue: &str) {
    until("the messages are gone", PATIENCE, || ready(client, queue) == 0);
}

#[test]
fn a_queue_limits_the_time_of_its_messages() {
    let mut client = client();
    let queue = queue(&mut client, ttl(150));
    let start = Instant::now();
    client.publish(1, "", &queue, b"x");
    assert_eq!(ready(&mut client, &queue), 1);
    gone(&mut client, &queue);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_message_limits_its_own_time_and_the_shorter_one_counts() {
    let mut client = client();
    let queue = queue(&mut client, ttl(60_000));
    expiring(&mut client, &queue, "100", b"short");
    expiring(&mut client, &queue, "3600000", b"long");
    until("one is left", PATIENCE, || ready(&mut client, &queue) == 1);
    assert_eq!(client.get(1, &queue, true).expect("the other").body, "long");
}

/// RabbitMQ looks at the head of the queue alone.
#[test]
fn a_message_does_not_wait_for_one_before_it_to_expire() {
    if is_rabbitmq() {
        return;
    }
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    expiring(&mut client, &queue, "3600000", b"long");
    expiring(&mut client, &queue, "50", b"short");
    until("one is left", PATIENCE, || ready(&mut client, &queue) == 1);
    assert_eq!(client.get(1, &queue, true).expect("the first").body, "long");
}

#[test]
fn a_time_of_zero_is_for_a_consumer_that_is_there() {
    let mut client = client();
    let queue = queue(&mut client, ttl(0));
    client.publish(1, "", &queue, b"nobody");
    gone(&mut client, &queue);
    call!(client, 1, consume_no_ack(&queue, "c") => BasicConsumeOk);
    client.publish(1, "", &queue, b"at once");
    assert_eq!(client.delivery(1).body, "at once");
}

#[test]
fn a_delivered_message_does_not_expire_until_it_comes_back() {
    let mut client = client();
    let queue = queue(&mut client, ttl(100));
    client.publish(1, "", &queue, b"x");
    let message = client.get(1, &queue, false).expect("in time");
    std::thread::sleep(Duration::from_millis(200));
    client.send(
        1,
        BasicReject {
            delivery_tag: message.method.delivery_tag,
            requeue: true,
        },
    );
    gone(&mut client, &queue);
}

#[test]
fn wrong_times_are_refused() {
    let mut client = client();
    for (value, end) in [
        (FieldValue::Int(-1), "{value_negative,-1}"),
        ("5".into(), "\"expected integer, got longstr\""),
        (FieldValue::Bool(true), "\"expected integer, got bool\""),
        (FieldValue::Long(315_360_000_001), "{value_too_large,315360000001}"),
    ] {
        let queue = unique("wrong");
        let arguments = table([("x-message-ttl", value)]);
        client.send(
            1,
            QueueDeclare {
                arguments,
                ..exclusive(&queue)
            },
        );
        let text = format!("PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue '{queue}' in vhost '/': {end}");
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
}

#[test]
fn wrong_expirations_are_refused() {
    let mut client = client();
    let queue = queue(&mut client, FieldTable::new());
    for right in ["0", "007", "+5", "315360000000"] {
        expiring(&mut client, &queue, right, b"x");
    }
    for (wrong, end) in [
        ("", "no_integer"),
        ("never", "no_integer"),
        (" 5", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", "{leftover_string,\".5\"}"),
        ("5 ", "{leftover_string,\" \"}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ] {
        expiring(&mut client, &queue, wrong, b"x");
        let text = format!("PRECONDITION_FAILED - invalid expiration '{wrong}': {end}");
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
    expect_nothing(&mut client);
}

fn expect_nothing(client: &mut Client) {
    client.send(1, prefetch(1));
    expect!(client, 1, BasicQosOk);
}
