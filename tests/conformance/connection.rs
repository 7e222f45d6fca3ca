//! From the protocol header to the close of a connection.

use std::time::{Duration, Instant};

use harness::requests::{self, start_ok, unique};
use harness::scripted_client::{Frame, short, table};
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldValue, Method, PROTOCOL_HEADER, RawTable};

use crate::{broker, client, is_rabbitmq};

const REFUSED: &str = "ACCESS_REFUSED - Login was refused using authentication mechanism";

#[test]
fn another_protocol_gets_the_right_header_back() {
    for header in [
        *b"GET / HT",
        *b"AMQP\x00\x00\x09\x02",
        *b"AMQP\x00\x00\x08\x00",
        *b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let mut client = Client::raw(broker());
        client.send_bytes(&header);
        let answer = client.bytes(9);
        if is_rabbitmq() {
            assert!(answer.starts_with(b"AMQP"), "{answer:?}"); // it speaks AMQP 1.0 as well, and may name that
        } else {
            assert_eq!(answer, PROTOCOL_HEADER, "answer to {header:?}");
        }
    }
}

#[test]
fn start_names_version_mechanisms_and_capabilities() {
    let start = Client::raw(broker()).start();
    assert_eq!((start.version_major, start.version_minor), (0, 9));
    let mechanisms = String::from_utf8_lossy(&start.mechanisms).into_owned();
    let mechanisms: Vec<&str> = mechanisms.split(' ').collect();
    assert!(
        mechanisms.contains(&"PLAIN") && mechanisms.contains(&"AMQPLAIN"),
        "{mechanisms:?}"
    );
    assert_eq!(&start.locales[..], b"en_US");
    for name in [
        "product",
        "version",
        "platform",
        "copyright",
        "information",
        "cluster_name",
    ] {
        assert!(
            start
                .server_properties
                .get(name)
                .is_some_and(|value| value.as_str().is_some()),
            "{name}"
        );
    }
    // Clients switch behaviour on both (kombu, NServiceBus), so they name the dialect; Leveret's name is the platform.
    let property = |name| start.server_properties.get(name).and_then(FieldValue::as_str);
    assert_eq!(property("product"), Some("RabbitMQ"));
    assert!(property("version").is_some_and(|version| version.starts_with("4.")));
    assert_eq!(
        property("platform").is_some_and(|platform| platform.starts_with("Leveret ")),
        !is_rabbitmq()
    );
    let capabilities = start
        .server_properties
        .get("capabilities")
        .and_then(FieldValue::as_table)
        .expect("a table");
    for name in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
    ] {
        assert_eq!(
            capabilities.get(name).and_then(FieldValue::as_bool),
            Some(true),
            "{name}"
        );
    }
}

#[test]
fn amqplain_logs_in() {
    let mut client = Client::raw(broker());
    client.start();
    let mut response = Vec::new();
    table::<_, RawTable>([("LOGIN", "guest".into()), ("PASSWORD", "guest".into())]).encode(&mut response);
    client.send(0, start_ok("AMQPLAIN", &response[4..])); // the table without its length
    let tune = expect!(client, 0, ConnectionTune);
    client.accept(&tune);
    client.open("/");
    client.close();
}

#[test]
fn a_wrong_password_or_user_is_refused_in_words() {
    for response in [&b"\0guest\0wrong"[..], b"\0nobody\0guest", b"\0guest\0"] {
        let mut client = Client::raw(broker());
        client.start();
        client.send(0, start_ok("PLAIN", response));
        let close = client.connection_error(403, &format!("{REFUSED} PLAIN. For details see the broker logfile."));
        assert_eq!((close.class_id, close.method_id), (0, 0));
    }
}

#[test]
fn a_client_that_does_not_know_the_refusal_sees_the_socket_close() {
    let mut client = Client::raw(broker());
    client.start();
    client.send(
        0,
        ConnectionStartOk {
            client_properties: RawTable::new(),
            ..start_ok("PLAIN", b"\0guest\0wrong")
        },
    );
    assert_eq!(client.frame(), None);
}

#[test]
fn an_unknown_mechanism_is_refused() {
    let mut client = Client::raw(broker());
    client.start();
    client.send(0, start_ok("FOO", b""));
    client.refusal(503, "COMMAND_INVALID - unknown authentication mechanism 'FOO'");
}

#[test]
fn a_missing_vhost_is_refused() {
    let mut client = Client::raw(broker());
    let tune = client.log_in();
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: tune.channel_max,
            frame_max: tune.frame_max,
            heartbeat: 0,
        },
    );
    let vhost = unique("vhost");
    client.send(0, requests::open(&vhost));
    let close = client.connection_error(530, &format!("NOT_ALLOWED - vhost {vhost} not found"));
    assert_eq!((close.class_id, close.method_id), ConnectionOpen::ID);
}

#[test]
fn tune_offers_rabbitmqs_limits() {
    let tune = Client::raw(broker()).log_in();
    assert_eq!((tune.channel_max, tune.frame_max, tune.heartbeat), (2047, 131_072, 60));
}

#[test]
fn limits_above_the_offer_are_refused() {
    let cases = [
        (
            4095,
            131_072,
            "NOT_ALLOWED - negotiated channel_max = 4095 is higher than the maximum allowed value (2047)",
        ),
        (
            0,
            131_072,
            "NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
        ),
        (
            2047,
            131_073,
            "NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (
            2047,
            0,
            "NOT_ALLOWED - negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)",
        ),
        (
            2047,
            100,
            "NOT_ALLOWED - negotiated frame_max = 100 is lower than the minimum allowed value (",
        ),
    ];
    for (channel_max, frame_max, text) in cases {
        let mut client = Client::raw(broker());
        client.log_in();
        client.send(
            0,
            ConnectionTuneOk {
                channel_max,
                frame_max,
                heartbeat: 0,
            },
        );
        client.refusal(530, text);
    }
}

#[test]
fn smaller_limits_are_kept() {
    let mut client = Client::raw(broker());
    client.log_in();
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: 2,
            frame_max: 8192,
            heartbeat: 0,
        },
    );
    client.open("/");
    client.set_frame_max(8192);
    client.open_channel(1);
    client.open_channel(2);
    let queue = unique("small");
    call!(client, 1, requests::exclusive(&queue) => QueueDeclareOk);
    client.publish(1, "", &queue, &[7; 20_000]);
    call!(client, 1, requests::consume_no_ack(&queue, "c") => BasicConsumeOk);
    expect!(client, 1, BasicDeliver);
    assert!(matches!(client.frame(), Some(Frame::Header { size: 20_000, .. })));
    for length in [8184, 8184, 3632] {
        assert!(
            matches!(client.frame(), Some(Frame::Body(1, part)) if part.len() == length),
            "a part of {length}"
        );
    }
    client.send(3, ChannelOpen::default());
    let close = client.connection_error(
        530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
    );
    assert_eq!((close.class_id, close.method_id), (0, 0));
}

#[test]
fn a_secret_is_renewed() {
    let mut client = client();
    let renewal = ConnectionUpdateSecret {
        new_secret: (&b"guest"[..]).into(),
        reason: short("it was old"),
    };
    client.send(0, renewal);
    expect!(client, 0, ConnectionUpdateSecretOk);
    client.open_channel(2);
}

#[test]
fn heartbeats_are_sent() {
    let mut client = Client::raw(broker());
    client.log_in();
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 1,
        },
    );
    client.open("/");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        client.send_heartbeat();
        // Every half interval, so that a client that waits for one interval is sure to hear of it.
        match client.any_frame(Duration::from_millis(900)) {
            Ok(Some(Frame::Heartbeat)) => {}
            other => panic!("expected a heartbeat within 0.9 s, got {other:?}"),
        }
    }
    client.open_channel(1);
}

#[test]
fn a_silent_client_is_dropped() {
    let mut client = Client::raw(broker());
    client.log_in();
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 1,
        },
    );
    client.open("/");
    let start = Instant::now();
    client.end();
    let after = start.elapsed();
    assert!(
        after > Duration::from_millis(1500) && after < Duration::from_secs(5),
        "dropped after {after:?}"
    );
}

#[test]
fn a_close_is_answered() {
    let mut client = client();
    client.send(
        0,
        ConnectionClose {
            reply_code: 200,
            reply_text: short("bye"),
            ..ConnectionClose::default()
        },
    );
    expect!(client, 0, ConnectionCloseOk);
}

#[test]
fn what_follows_a_close_is_not_carried_out() {
    let queue = unique("late");
    let mut client = client();
    client.send(
        0,
        ConnectionClose {
            reply_code: 200,
            ..ConnectionClose::default()
        },
    );
    let mut late = Vec::new();
    leveret_amqp::put_method_frame(&mut late, 1, &Method::from(requests::declare(&queue)));
    let _ = client.try_send_bytes(&late);
    expect!(client, 0, ConnectionCloseOk);
    let mut other = crate::client();
    other.send(1, requests::passive(&queue));
    other.channel_error(1, 404, &format!("NOT_FOUND - no queue '{queue}' in vhost '/'"));
}

#[test]
fn a_channel_method_before_open_is_refused() {
    let mut client = Client::raw(broker());
    client.log_in();
    client.send(
        0,
        ConnectionTuneOk {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 0,
        },
    );
    client.send(1, ChannelOpen::default());
    client.connection_error(505, "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>");
}

#[test]
fn a_method_of_another_class_on_channel_0_is_refused() {
    let mut client = client();
    client.send(0, requests::declare("q"));
    let close = client.connection_error(504, "CHANNEL_ERROR - unexpected method in connection state running");
    assert_eq!((close.class_id, close.method_id), QueueDeclare::ID);
}
