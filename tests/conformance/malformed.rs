//! Octets that are no AMQP, or AMQP in the wrong order: a proper close, and a broker that goes on.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{BASIC, Frame, table};
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, FrameKind, Method, put_content, put_method_frame};

use crate::{broker, client, is_rabbitmq};

/// A frame with any kind, payload and end.
fn frame(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(end);
    out
}

fn method_frame(payload: &[u8]) -> Vec<u8> {
    frame(FrameKind::Method as u8, 1, payload, 0xCE)
}

/// Sends octets on an open connection and expects a close with this code, its text beginning like this.
fn refused(bytes: &[u8], code: u16, text: &str) -> (u16, u16) {
    let mut client = client();
    client.send_bytes(bytes);
    let close = client.connection_close(code);
    let said = close.reply_text.to_str_lossy().into_owned();
    assert!(said.starts_with(text), "{said:?} does not begin with {text:?}");
    (close.class_id, close.method_id)
}

#[test]
fn a_frame_must_end_with_its_end_octet() {
    refused(
        &frame(1, 1, &[0, 20, 0, 10, 0], 0xCD),
        501,
        "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,205}",
    );
}

#[test]
fn a_frame_must_have_a_known_type() {
    refused(
        &frame(9, 1, b"abc", 0xCE),
        501,
        "FRAME_ERROR - type 9, all octets = <<\"abc\">>: unknown_frame",
    );
}

#[test]
fn heartbeats_are_empty_and_on_channel_0() {
    refused(
        &frame(8, 1, b"", 0xCE),
        505,
        "UNEXPECTED_FRAME - type 8, all octets = <<>>",
    );
    refused(
        &frame(8, 0, b"x", 0xCE),
        501,
        "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame",
    );
}

#[test]
fn a_frame_must_not_be_larger_than_agreed() {
    let mut head = vec![FrameKind::Body as u8, 0, 1];
    head.extend_from_slice(&200_000u32.to_be_bytes());
    refused(
        &head,
        501,
        "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}",
    );
    let head = [1, 0, 1, 0xff, 0xff, 0xff, 0xff];
    refused(
        &head,
        501,
        "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,131064}",
    );
}

#[test]
fn a_frame_before_the_handshake_must_be_small() {
    let mut client = Client::raw(broker());
    client.start();
    client.send_bytes(&[1, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    client.refusal(501, "FRAME_ERROR - ");
}

#[test]
fn a_method_must_be_known() {
    for payload in [[0, 60, 0, 99], [0, 99, 0, 10]] {
        let mut client = client();
        client.send_bytes(&method_frame(&payload));
        match client.frame() {
            Some(Frame::Method(0, Method::ConnectionClose(close))) => {
                assert!(matches!(close.reply_code, 501..=503 | 540), "{close:?}")
            }
            other => assert!(other.is_none() && is_rabbitmq(), "expected a close, got {other:?}"), // it hangs up
        }
    }
}

#[test]
fn a_method_must_be_whole() {
    let mut whole = Vec::new();
    Method::from(declare("some queue")).encode(&mut whole);
    for length in 4..whole.len() {
        let mut client = client();
        client.send_bytes(&method_frame(&whole[..length]));
        let close = expect!(client, 0, ConnectionClose);
        assert!(matches!(close.reply_code, 501 | 502), "{length} octets: {close:?}");
    }
}

#[test]
fn a_servers_method_is_refused() {
    let mut client = client();
    client.send(1, QueueDeclareOk::default());
    let close = client.connection_error(503, "COMMAND_INVALID - unimplemented method");
    assert_eq!((close.class_id, close.method_id), QueueDeclareOk::ID);
}

#[test]
fn content_must_follow_its_publish() {
    let (publish, none) = (BasicPublish::ID, (0, 0));
    let cases = [
        (
            publish_then_method(),
            publish,
            "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
        ),
        (
            body_first(),
            none,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        ),
        (
            header_first(),
            none,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        ),
        (
            two_headers(),
            publish,
            "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        ),
        (
            foreign_header(),
            publish,
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        ),
    ];
    for (bytes, method, text) in cases {
        assert_eq!(refused(&bytes, 505, text), method, "{text}");
    }
}

fn publish_frame() -> Vec<u8> {
    let mut out = Vec::new();
    put_method_frame(&mut out, 1, &publish("", "q").into());
    out
}

fn header_frame(class: u16, size: u64) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0, 0]);
    payload.extend_from_slice(&size.to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    frame(FrameKind::Header as u8, 1, &payload, 0xCE)
}

fn publish_then_method() -> Vec<u8> {
    [publish_frame(), publish_frame()].concat()
}

fn body_first() -> Vec<u8> {
    frame(FrameKind::Body as u8, 1, b"abc", 0xCE)
}

fn header_first() -> Vec<u8> {
    header_frame(BASIC, 3)
}

fn two_headers() -> Vec<u8> {
    [publish_frame(), header_frame(BASIC, 3), header_frame(BASIC, 3)].concat()
}

fn foreign_header() -> Vec<u8> {
    [publish_frame(), header_frame(50, 3)].concat()
}

#[test]
fn a_body_must_not_be_longer_than_its_header_says() {
    let body = frame(FrameKind::Body as u8, 1, b"too long", 0xCE);
    let mut client = client();
    client.send_bytes(&[publish_frame(), header_frame(BASIC, 3), body].concat());
    client.connection_error(501, "FRAME_ERROR - content body frame exceeds remaining content size");
}

#[test]
fn a_header_must_not_announce_more_than_a_message_may_have() {
    let mut client = client();
    client.send_bytes(&[publish_frame(), header_frame(BASIC, 1 << 40)].concat());
    let close = client.connection_close(501);
    let said = close.reply_text.to_str_lossy().into_owned();
    assert!(
        said.starts_with("FRAME_ERROR - content body size 1099511627776 exceeds maximum allowed size "),
        "{said}"
    );
    assert_eq!((close.class_id, close.method_id), BasicPublish::ID);
}

#[test]
fn nested_tables_must_end_somewhere() {
    let mut inner = FieldTable::new();
    for _ in 0..4000 {
        inner = table([("t", inner.into())]);
    }
    let mut client = client();
    client.send(
        1,
        QueueDeclare {
            arguments: inner.into(),
            ..exclusive(&unique("deep"))
        },
    );
    match client.frame() {
        Some(Frame::Method(0, Method::ConnectionClose(close))) => {
            assert!(matches!(close.reply_code, 501 | 502), "{close:?}")
        }
        Some(Frame::Method(1, _)) => {} // a broker may take it; it must not fall over
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_handshake_is_refused() {
    let again: [Method; 3] = [
        start_ok("PLAIN", b"\0guest\0guest").into(),
        ConnectionTuneOk {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 0,
        }
        .into(),
        open("/").into(),
    ];
    for method in again {
        let mut client = client();
        let id = method.id();
        client.send(0, method);
        let close = client.connection_error(504, "CHANNEL_ERROR - unexpected method in connection state running");
        assert_eq!((close.class_id, close.method_id), id);
    }
}

#[test]
fn a_connection_that_breaks_in_the_middle_leaves_nothing() {
    let queue = unique("q");
    let mut other = client();
    call!(other, 1, declare(&queue) => QueueDeclareOk);
    let mut whole = Vec::new();
    put_method_frame(&mut whole, 1, &publish("", &queue).into());
    put_content(&mut whole, 1, 4096, BASIC, &no_properties(), &[1; 10_000]);
    for cut in [1, 7, 8, 30, 60, 5000, whole.len() - 1] {
        let mut client = client();
        client.send_bytes(&whole[..cut]);
        drop(client);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(call!(other, 1, delete(&queue) => QueueDeleteOk).message_count, 0);
}

#[test]
fn octet_by_octet_is_as_good_as_at_once() {
    let queue = unique("q");
    let mut bytes = Vec::new();
    put_method_frame(&mut bytes, 1, &exclusive(&queue).into());
    put_method_frame(&mut bytes, 1, &publish("", &queue).into());
    put_content(&mut bytes, 1, 4096, BASIC, &no_properties(), b"slowly");
    let mut client = client();
    for octet in &bytes {
        client.send_bytes(&[*octet]);
    }
    expect!(client, 1, QueueDeclareOk);
    until("it arrived", Duration::from_secs(5), || {
        client.get(1, &queue, true).is_some()
    });
}
