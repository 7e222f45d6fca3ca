//! Limits of numbers and sizes, under RabbitMQ's names and with its answers.
//!
//! In: a broker with small limits. Out: one more is refused, and when one goes there is room again.

use harness::requests::*;
use harness::scripted_client::table;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::FieldValue;
use leveret_amqp::method::*;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_connection_too_many_is_refused() {
    let broker = Broker::start_with(&["--connection-max", "2"]);
    let (first, _second) = (Client::connect(broker.amqp()), Client::connect(broker.amqp()));
    let refused = || {
        let mut client = Client::raw(broker.amqp());
        let tune = client.log_in();
        client.send(
            0,
            ConnectionTuneOk {
                channel_max: tune.channel_max,
                frame_max: tune.frame_max,
                heartbeat: 0,
            },
        );
        client.send(0, open("/"));
        client
    };
    refused().connection_error(
        530,
        "NOT_ALLOWED - connection refused: node connection limit (2) is reached",
    );
    first.close();
    until("there is room again", SOON, || {
        matches!(
            refused().frame(),
            Some(harness::scripted_client::Frame::Method(
                0,
                leveret_amqp::Method::ConnectionOpenOk(_)
            ))
        )
    });
}

#[test]
fn a_channel_too_many_of_all_connections_is_refused() {
    let broker = Broker::start_with(&["--channel-max-per-node", "2"]);
    let (mut first, mut second) = (Client::with_channel(broker.amqp()), Client::with_channel(broker.amqp()));
    second.send(2, ChannelOpen::default());
    let text = "NOT_ALLOWED - number of channels opened on node 'leveret@localhost' has reached the maximum allowed limit of 2";
    let close = second.connection_error(530, text);
    assert_eq!((close.class_id, close.method_id), (0, 0), "as RabbitMQ tells it");
    first.open_channel(2);
    call!(first, 1, ChannelClose::default() => ChannelCloseOk);
    first.open_channel(3);
}

#[test]
fn a_consumer_too_many_of_a_channel_is_refused() {
    let broker = Broker::start_with(&["--consumer-max-per-channel", "2"]);
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("stays") => QueueDeclareOk);
    call!(client, 1, declare("goes") => QueueDeclareOk);
    call!(client, 1, consume("stays", "a") => BasicConsumeOk);
    call!(client, 1, consume("goes", "b") => BasicConsumeOk);
    client.open_channel(2);
    call!(client, 2, consume("stays", "a") => BasicConsumeOk);
    // A consumer whose queue has gone counts no more.
    let mut other = Client::with_channel(broker.amqp());
    call!(other, 1, delete("goes") => QueueDeleteOk);
    expect!(client, 1, BasicCancel);
    call!(client, 1, consume("stays", "c") => BasicConsumeOk);
    client.send(1, consume("stays", "d"));
    client.connection_error(530, "NOT_ALLOWED - reached maximum (2) of consumers per channel");
}

#[test]
fn a_header_too_large_is_refused() {
    let broker = Broker::start_with(&["--max-header-size", "4KiB"]);
    let mut client = Client::with_channel(broker.amqp());
    let with = |octets: usize| headers(table([("h", FieldValue::from("x".repeat(octets)))]));
    let envelope = with(0).len();
    call!(client, 1, exclusive("q") => QueueDeclareOk);
    client.publish_with(1, publish("", "q"), &with(4096 - envelope), b"");
    assert!(client.get(1, "q", true).is_some());
    client.publish_with(1, publish("", "q"), &with(4097 - envelope), b"");
    let text = "PRECONDITION_FAILED - message header size 4097 is larger than configured max size 4096";
    client.channel_error(1, 406, text);
}
