//! SIGTERM: what is synced is confirmed, connections are closed with 320, the exit is 0 and comes in bounded time.

use std::time::{Duration, Instant};

use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Broker, Client, call, expect};
use leveret_amqp::Method;
use leveret_amqp::method::*;

use crate::{drain, small};

const TEXT: &str = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";

#[test]
fn clients_are_told_and_the_exit_is_clean() {
    let mut broker = small();
    let mut idle = Client::with_channel(broker.amqp());
    let mut publisher = Client::with_channel(broker.amqp());
    call!(publisher, 1, durable("q") => QueueDeclareOk);
    call!(publisher, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..100u8 {
        publisher.publish_persistent(1, "", "q", &[number]);
    }
    expect!(publisher, 1, BasicAck);
    broker.ask_to_end();
    let start = Instant::now();
    idle.connection_error(320, TEXT);
    let mut confirmed = 1;
    loop {
        match publisher.frame() {
            Some(Frame::Method(1, Method::BasicAck(ack))) => confirmed = ack.delivery_tag,
            Some(Frame::Method(0, Method::ConnectionClose(close))) => {
                assert_eq!(close.reply_code, 320);
                break publisher.send(0, ConnectionCloseOk::default());
            }
            other => panic!("expected confirms and a close, got {other:?}"),
        }
    }
    publisher.end();
    let status = broker.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let found = drain(&mut client, "q").len() as u64;
    assert!(found >= confirmed, "{confirmed} were confirmed, {found} are there");
}

#[test]
fn a_client_that_does_not_answer_does_not_hold_it_up() {
    let mut broker = Broker::start_with(&["--segment-size", "4MiB", "--shutdown-timeout", "1s"]);
    let _deaf = Client::with_channel(broker.amqp());
    let start = Instant::now();
    let status = broker.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "it took {:?}",
        start.elapsed()
    );
}

#[test]
fn an_idle_broker_ends_at_once() {
    let mut broker = small();
    let start = Instant::now();
    assert!(broker.terminate(Duration::from_secs(10)).success());
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        start.elapsed()
    );
    assert!(!broker.stderr().contains("panicked"), "{}", broker.stderr());
}

#[test]
fn a_clean_stop_leaves_nothing_to_repair() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    for _ in 0..1000 {
        client.publish_persistent(1, "", "q", &[1; 100]);
    }
    call!(client, 1, passive("q") => QueueDeclareOk);
    drop(client);
    assert!(broker.terminate(Duration::from_secs(10)).success());
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(drain(&mut client, "q").len(), 1000, "unconfirmed ones too were written");
    assert!(!broker.stderr().contains("damaged"), "{}", broker.stderr());
}
