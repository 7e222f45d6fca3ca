//! Direct reply-to: requests and answers without a declared queue.

use harness::requests::*;
use harness::scripted_client::short;
use harness::wait::eventually;
use harness::{Client, call, expect};
use leveret_amqp::BasicProperties;

use std::time::Duration;

use crate::client;

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A message whose answers are to come directly.
fn request() -> Vec<u8> {
    properties(&BasicProperties {
        reply_to: Some(short(REPLY_TO)),
        correlation_id: Some(short("7")),
        ..BasicProperties::default()
    })
}

/// Sends a request through a queue and gives back where its answer is wanted.
fn asked(requester: &mut Client, server: &mut Client, queue: &str) -> String {
    requester.publish_with(1, publish("", queue), &request(), b"question");
    let request = || server.get(1, queue, true).ok_or("not there yet");
    let (got, _) = eventually("the request", Duration::from_secs(5), request);
    let properties = BasicProperties::parse(&got.properties).expect("properties");
    assert_eq!(properties.correlation_id, Some(short("7")));
    properties
        .reply_to
        .expect("a place for the answer")
        .to_str_lossy()
        .into_owned()
}

#[test]
fn an_answer_comes_to_the_one_who_asked() {
    let (mut requester, mut server) = (client(), client());
    let queue = unique("rpc");
    call!(server, 1, declare(&queue) => QueueDeclareOk);
    call!(requester, 1, consume_no_ack(REPLY_TO, "replies") => BasicConsumeOk);
    let place = asked(&mut requester, &mut server, &queue);
    assert!(place.starts_with("amq.rabbitmq.reply-to."), "{place}");
    call!(server, 1, passive(&place) => QueueDeclareOk);
    server.publish(1, "", &place, b"answer");
    let answer = requester.delivery(1);
    assert_eq!(
        (&answer.body[..], answer.method.consumer_tag),
        (&b"answer"[..], short("replies"))
    );
    requester.close();
    call!(server, 1, delete(&queue) => QueueDeleteOk);
    // The requester's end may take a moment to be noticed.
    std::thread::sleep(Duration::from_millis(200));
    server.send(1, passive(&place));
    let close = expect!(server, 1, ChannelClose);
    assert_eq!(
        close.reply_code,
        404,
        "nobody waits any more: {}",
        close.reply_text.to_str_lossy()
    );
}

#[test]
fn a_reply_consumer_does_not_acknowledge_and_is_alone() {
    let mut client = client();
    client.send(1, consume(REPLY_TO, "a"));
    client.channel_error(1, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge");
    client.open_channel(2);
    call!(client, 2, consume_no_ack(REPLY_TO, "a") => BasicConsumeOk);
    client.send(2, consume_no_ack(REPLY_TO, "b"));
    client.channel_error(2, 406, "PRECONDITION_FAILED - reply consumer already set");
    client.open_channel(3);
    client.publish_with(3, publish("", "nowhere"), &request(), b"question");
    client.channel_error(3, 406, "PRECONDITION_FAILED - fast reply consumer does not exist");
}

#[test]
fn another_can_wait_after_the_first_was_cancelled() {
    let mut client = client();
    for tag in ["a", "b"] {
        call!(client, 1, consume_no_ack(REPLY_TO, tag) => BasicConsumeOk);
        call!(client, 1, cancel(tag) => BasicCancelOk);
    }
}
