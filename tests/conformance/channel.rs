//! Channels: opened, closed by either side, used when they are not open.

use std::time::Duration;

use harness::requests::{consume, declare, exclusive, passive, publish, unique};
use harness::scripted_client::short;
use harness::{call, expect};
use leveret_amqp::method::*;

use crate::client;

#[test]
fn a_channel_that_is_not_open_is_an_error() {
    let mut client = client();
    client.send(7, declare("q"));
    let close = client.connection_error(504, "CHANNEL_ERROR - expected 'channel.open'");
    assert_eq!((close.class_id, close.method_id), QueueDeclare::ID);
}

#[test]
fn a_second_open_is_an_error() {
    let mut client = client();
    client.send(1, ChannelOpen::default());
    let close = client.connection_error(504, "CHANNEL_ERROR - second 'channel.open' seen");
    assert_eq!((close.class_id, close.method_id), ChannelOpen::ID);
}

#[test]
fn a_closed_channel_can_be_opened_again() {
    let mut client = client();
    for _ in 0..3 {
        call!(client, 1, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
        client.open_channel(1);
    }
    call!(client, 1, exclusive("") => QueueDeclareOk);
}

#[test]
fn after_an_error_everything_is_ignored_until_close_ok() {
    let missing = unique("missing");
    let mut client = client();
    client.send(1, passive(&missing));
    let close = expect!(client, 1, ChannelClose);
    assert_eq!(
        (close.reply_code, close.class_id, close.method_id),
        (404, QueueDeclare::ID.0, QueueDeclare::ID.1)
    );
    client.send(1, declare(&missing));
    client.publish(1, "", &missing, b"lost");
    client.send(
        1,
        BasicAck {
            delivery_tag: 99,
            multiple: false,
        },
    );
    client.quiet(Duration::from_millis(200));
    client.send(1, ChannelCloseOk::default());
    client.open_channel(1);
    client.send(1, passive(&missing));
    client.channel_error(1, 404, &format!("NOT_FOUND - no queue '{missing}' in vhost '/'"));
}

#[test]
fn an_error_on_one_channel_leaves_the_others_alone() {
    let mut client = client();
    client.open_channel(2);
    client.send(1, passive(&unique("missing")));
    expect!(client, 1, ChannelClose);
    call!(client, 2, exclusive("") => QueueDeclareOk);
    client.send(1, ChannelCloseOk::default());
    call!(client, 2, exclusive("") => QueueDeclareOk);
}

#[test]
fn crossing_closes_are_both_answered() {
    let mut client = client();
    client.send(1, passive(&unique("missing")));
    client.send(
        1,
        ChannelClose {
            reply_code: 200,
            ..ChannelClose::default()
        },
    );
    expect!(client, 1, ChannelClose);
    expect!(client, 1, ChannelCloseOk);
    client.send(1, ChannelCloseOk::default());
    client.open_channel(1);
}

#[test]
fn closing_a_channel_returns_what_it_had_not_acknowledged() {
    let queue = unique("returns");
    let mut client = client();
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    client.open_channel(2);
    client.publish(1, "", &queue, b"one");
    call!(client, 2, consume(&queue, "c") => BasicConsumeOk);
    assert!(!client.delivery(2).method.redelivered);
    call!(client, 2, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    let again = client.get(1, &queue, true).expect("the message is back");
    assert_eq!((&again.body[..], again.method.redelivered), (&b"one"[..], true));
}

#[test]
fn many_channels_are_independent() {
    let mut client = client();
    let queue = unique("many");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    for channel in 2..=200 {
        client.open_channel(channel);
        client.publish(channel, "", &queue, &channel.to_be_bytes());
    }
    for channel in 2..=200 {
        call!(client, channel, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    }
    assert_eq!(call!(client, 1, passive(&queue) => QueueDeclareOk).message_count, 199);
}

#[test]
fn flow_can_be_asked_for_but_not_stopped() {
    let mut client = client();
    assert!(call!(client, 1, ChannelFlow { active: true } => ChannelFlowOk).active);
    client.send(1, ChannelFlow { active: false });
    client.connection_error(540, "NOT_IMPLEMENTED - active=false");
}

#[test]
fn the_close_names_the_failing_method() {
    let mut client = client();
    let missing = unique("missing");
    client.send(
        1,
        BasicConsume {
            queue: short(&missing),
            ..BasicConsume::default()
        },
    );
    let close = client.channel_error(1, 404, &format!("NOT_FOUND - no queue '{missing}' in vhost '/'"));
    assert_eq!((close.class_id, close.method_id), BasicConsume::ID);
    client.open_channel(1);
    client.publish_with(1, publish(&missing, "k"), &harness::requests::no_properties(), b"");
    let close = client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{missing}' in vhost '/'"));
    assert_eq!((close.class_id, close.method_id), BasicPublish::ID);
}

#[test]
fn old_clients_are_granted_a_realm() {
    let mut client = client();
    let ok = call!(client, 1, AccessRequest { realm: short("/data"), ..AccessRequest::default() } => AccessRequestOk);
    assert_eq!(ok.ticket, 1);
}
