//! What limits a queue, across `kill -9`: it still holds, and what it dropped does not come back.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::table;
use harness::{Client, call, expect};
use leveret_amqp::method::*;

use crate::small;

fn limited(limit: i32) -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-max-length", limit.into())]),
        ..durable("limited")
    }
}

fn publish(client: &mut Client, bodies: &[&str]) {
    for body in bodies {
        client.publish_with(
            1,
            harness::requests::publish("", "limited"),
            &persistent(),
            body.as_bytes(),
        );
    }
}

#[test]
fn a_limit_holds_after_a_restart() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, limited(2) => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish(&mut client, &["a", "b", "c"]);
    while expect!(client, 1, BasicAck).delivery_tag < 3 {}
    // In hand at the end, so that it waits again after the start: one more than the limit.
    assert_eq!(client.get(1, "limited", false).expect("a message").body, "b");
    publish(&mut client, &["d", "e"]);
    while expect!(client, 1, BasicAck).delivery_tag < 5 {}
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(call!(client, 1, limited(2) => QueueDeclareOk).message_count, 2);
    publish(&mut client, &["f"]);
    for expected in ["e", "f"] {
        assert_eq!(client.get(1, "limited", true).expect("a message").body, expected);
    }
    assert!(client.get(1, "limited", true).is_none());
    client.send(1, limited(3));
    let text = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'limited' in vhost '/': \
                received '3' but current is '2'";
    client.channel_error(1, 406, text);
}

#[test]
fn a_lease_goes_on_after_a_restart() {
    let mut broker = small();
    let leased = |millis: i32| QueueDeclare {
        arguments: table([("x-expires", millis.into())]),
        ..durable("leased")
    };
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, leased(1000) => QueueDeclareOk);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    std::thread::sleep(Duration::from_millis(1500));
    client.send(1, leased(2000));
    // Another lease would be a contradiction if the queue were still there.
    expect!(client, 1, QueueDeclareOk);
}

#[test]
fn a_refused_message_does_not_come_back() {
    let mut broker = small();
    let full = QueueDeclare {
        arguments: table([
            ("x-max-length-bytes", 1.into()),
            ("x-overflow", "reject-publish".into()),
        ]),
        ..durable("limited")
    };
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, full.clone() => QueueDeclareOk);
    call!(client, 1, durable("other") => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish(&mut client, &["a"]);
    assert_eq!(expect!(client, 1, BasicAck).delivery_tag, 1);
    publish(&mut client, &["b"]);
    assert_eq!(expect!(client, 1, BasicNack).delivery_tag, 2);
    // What is confirmed later is in the log behind the refusal.
    client.publish_persistent(1, "", "other", b"c");
    assert_eq!(expect!(client, 1, BasicAck).delivery_tag, 3);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(call!(client, 1, full => QueueDeclareOk).message_count, 1);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish(&mut client, &["d"]);
    assert_eq!(expect!(client, 1, BasicNack).delivery_tag, 1);
    assert_eq!(client.get(1, "limited", true).expect("a message").body, "a");
}
