//! Messages that don't come whole: they have a share of memory, and stop nobody who sends what he announces.
//!
//! In: publishers that hold back the last frame, and others. Out: bounds of memory and time.

use crate::bystander::Bystander;
use crate::small_broker;
use harness::requests::*;
use harness::scripted_client::{BASIC, Frame};
use harness::{Broker, Client, call, expect};
use leveret_amqp::encode::{put_body, put_header};
use leveret_amqp::method::*;
use leveret_amqp::{Method, put_method_frame};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A publish with `size` octets of body, in frames; the header announces `missing` more.
fn message(size: usize, missing: u64) -> Vec<u8> {
    let mut frames = Vec::new();
    put_method_frame(&mut frames, 1, &publish("", "nowhere").into());
    put_header(&mut frames, 1, BASIC, size as u64 + missing, &no_properties());
    for piece in vec![7; size].chunks(131_064) {
        put_body(&mut frames, 1, piece);
    }
    frames
}

/// Sends a message but for its last octet, in the background: the broker may not read all of it for now.
fn send_most(broker: &Broker, size: usize) -> JoinHandle<Client> {
    let mut client = Client::with_channel(broker.amqp());
    thread::spawn(move || {
        // The broker may end the channel, or the test the connection.
        let _ = client.try_send_bytes(&message(size, 1));
        client
    })
}

/// A message of this size that is confirmed; the time that it took.
fn publish_confirmed(address: SocketAddr, size: usize) -> Duration {
    let mut client = Client::with_channel(address);
    call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    let begin = Instant::now();
    client.publish(1, "", &queue, &vec![7; size]);
    match client.any_frame(Duration::from_secs(60)) {
        Ok(Some(Frame::Method(1, Method::BasicAck(_)))) => begin.elapsed(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_that_do_not_come_whole_have_a_share_of_memory() {
    // The share is a quarter of the watermark, or one message.
    let Some((group, broker)) = small_broker(&["--memory-watermark", "64MiB"]) else {
        return;
    };
    let bystander = Bystander::start(broker.amqp());
    let before = group.anonymous();
    let silent: Vec<_> = (0..10).map(|_| send_most(&broker, 40_000_000)).collect();
    thread::sleep(Duration::from_secs(2));
    let most = group.anonymous().saturating_sub(before);
    assert!(most < 60 << 20, "{most} bytes");
    assert!(!broker.stderr().contains("low on memory"), "nobody is stopped for them");
    // Small messages need no room, large ones get it when the silent ones have had their time.
    let small = publish_confirmed(broker.amqp(), 200_000);
    assert!(small < Duration::from_secs(3), "{small:?}");
    let seen = bystander.end();
    assert!(seen.confirmed > 3 && seen.slowest < Duration::from_secs(3), "{seen:?}");
    drop(silent);
    assert_eq!(group.killed(), 0);
}

#[test]
fn a_message_that_does_not_come_whole_has_its_time_when_others_wait() {
    let broker = Broker::start_with(&["--memory-watermark", "16MiB"]);
    let mut silent = send_most(&broker, 10_000_000).join().expect("all of it was read");
    let took = publish_confirmed(broker.amqp(), 5_000_000);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let text = "PRECONDITION_FAILED - the message has not arrived in time, and others wait to send theirs";
    let close = silent.channel_error(1, 406, text);
    assert_eq!((close.class_id, close.method_id), BasicPublish::ID);
    // Without others, a message may take the time that it takes.
    silent.open_channel(1);
    call!(silent, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
    let bytes = message(10_000_000, 0);
    let (some, rest) = bytes.split_at(5_000_000);
    silent.send_bytes(some);
    thread::sleep(Duration::from_secs(6));
    silent.send_bytes(rest);
    expect!(silent, 1, BasicAck);
}

#[test]
fn large_messages_of_many_come_one_after_the_other() {
    let broker = Broker::start_with(&["--memory-watermark", "16MiB"]);
    let address = broker.amqp();
    let publishers: Vec<_> = (0..8)
        .map(|_| thread::spawn(move || publish_confirmed(address, 3_000_000)))
        .collect();
    for publisher in publishers {
        let took = publisher.join().expect("confirmed");
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
}
