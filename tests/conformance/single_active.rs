//! A queue with one active consumer at a time: which one gets messages, and which one is next.

use harness::requests::*;
use harness::scripted_client::{Frame, table};
use harness::{Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

use crate::client;

fn queue(client: &mut Client) -> String {
    let queue = unique("single");
    let arguments = table([("x-single-active-consumer", true.into())]);
    call!(client, 1, QueueDeclare { arguments, ..exclusive(&queue) } => QueueDeclareOk);
    queue
}

/// A consumer on a channel of its own.
fn join(client: &mut Client, channel: u16, queue: &str, tag: &str, priority: i32) {
    client.open_channel(channel);
    let consume = BasicConsume {
        arguments: table([("x-priority", priority.into())]),
        ..consume(queue, tag)
    };
    call!(client, channel, consume => BasicConsumeOk);
}

/// The tag and the body of the next delivery on a channel.
fn delivered(client: &mut Client, channel: u16) -> (String, String) {
    let delivery = client.delivery(channel);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(delivery.method.consumer_tag.as_bytes()), text(&delivery.body))
}

/// The bodies of `count` deliveries on channel `to`. The answer to what ends the consumer on `from` comes before, among
/// or behind them.
fn handed_over(client: &mut Client, from: u16, to: u16, count: usize) -> Vec<String> {
    let (mut bodies, mut answered) = (Vec::new(), false);
    while bodies.len() < count || !answered {
        match client.frame() {
            Some(Frame::Method(channel, Method::ChannelCloseOk(_) | Method::BasicCancelOk(_))) => {
                assert_eq!(channel, from);
                answered = true;
            }
            Some(Frame::Body(channel, body)) => {
                assert_eq!(channel, to);
                bodies.push(String::from_utf8_lossy(&body).into_owned());
            }
            Some(Frame::Method(_, Method::BasicDeliver(_)) | Frame::Header { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    bodies
}

fn says(tag: &str, body: &str) -> (String, String) {
    (tag.to_owned(), body.to_owned())
}

#[test]
fn the_first_consumer_gets_all_and_then_the_next_by_priority_and_age() {
    let mut client = client();
    let queue = queue(&mut client);
    for (channel, tag, priority) in [(2, "first", 0), (3, "old", 0), (4, "young", 0), (5, "high", 9)] {
        join(&mut client, channel, &queue, tag, priority);
    }
    for body in ["a", "b", "c"] {
        client.publish(1, "", &queue, body.as_bytes());
        assert_eq!(delivered(&mut client, 2), says("first", body));
    }
    call!(client, 2, cancel("first") => BasicCancelOk);
    for body in ["d", "e"] {
        client.publish(1, "", &queue, body.as_bytes());
        assert_eq!(delivered(&mut client, 5), says("high", body));
    }
    // Its unacknowledged messages go back first, and come again.
    client.publish(1, "", &queue, b"f");
    assert_eq!(delivered(&mut client, 5), says("high", "f"));
    let close = ChannelClose {
        reply_code: 200,
        ..ChannelClose::default()
    };
    client.send(5, close);
    assert_eq!(handed_over(&mut client, 5, 3, 3), ["d", "e", "f"]);
    call!(client, 3, cancel("old") => BasicCancelOk);
    client.publish(1, "", &queue, b"g");
    assert_eq!(delivered(&mut client, 4), says("young", "g"));
}

#[test]
fn what_waits_for_the_credit_of_one_goes_to_the_next() {
    let mut client = client();
    let queue = queue(&mut client);
    client.open_channel(2);
    call!(client, 2, prefetch(1) => BasicQosOk);
    call!(client, 2, consume(&queue, "one") => BasicConsumeOk);
    join(&mut client, 3, &queue, "other", 0);
    for body in ["a", "b", "c"] {
        client.publish(1, "", &queue, body.as_bytes());
    }
    let first = client.delivery(2);
    assert_eq!(first.body, "a");
    assert_eq!(call!(client, 1, passive(&queue) => QueueDeclareOk).message_count, 2);
    client.send(2, cancel("one"));
    assert_eq!(handed_over(&mut client, 2, 3, 2), ["b", "c"]);
}

#[test]
fn an_exclusive_consumer_is_refused() {
    let mut client = client();
    let queue = queue(&mut client);
    let exclusive = BasicConsume {
        exclusive: true,
        ..consume(&queue, "c")
    };
    client.send(1, exclusive);
    let text = format!("ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use");
    client.channel_error(1, 403, &text);
    client.open_channel(1);
    client.publish(1, "", &queue, b"x");
    assert_eq!(client.get(1, &queue, true).expect("a message").body, "x");
}

#[test]
fn declaring_it_again_otherwise_is_refused() {
    let mut client = client();
    let queue = queue(&mut client);
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue '{queue}' in vhost '/': received \
         none but current is the value 'true' of type 'bool'"
    );
    client.send(1, exclusive(&queue));
    client.channel_error(1, 406, &text);
}

#[test]
fn what_the_next_one_of_a_channel_gets_comes_after_the_answer() {
    let mut client = client();
    let queue = queue(&mut client);
    call!(client, 1, prefetch(1) => BasicQosOk);
    for tag in ["a", "b"] {
        call!(client, 1, consume(&queue, tag) => BasicConsumeOk);
    }
    for body in ["1", "2"] {
        client.publish(1, "", &queue, body.as_bytes());
    }
    assert_eq!(delivered(&mut client, 1), says("a", "1"));
    call!(client, 1, cancel("a") => BasicCancelOk);
    assert_eq!(delivered(&mut client, 1), says("b", "2"));
}
