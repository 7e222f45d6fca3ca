//! basic.publish: what is routed, returned, refused; bodies of all sizes; properties as they came.

use std::time::Duration;

use bytes::Bytes;
use harness::requests::*;
use harness::scripted_client::{BASIC, short, table};
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, put_content, put_method_frame};

use crate::{client, is_rabbitmq};

fn queue(client: &mut Client) -> String {
    let queue = unique("q");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    queue
}

#[test]
fn bodies_of_all_sizes_arrive_whole() {
    let mut client = client();
    let queue = queue(&mut client);
    let limit = 131_072 - 8;
    for size in [0, 1, 4096, limit - 1, limit, limit + 1, 2 * limit, 1_000_000, 5_000_000] {
        let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        client.publish(1, "", &queue, &body);
        let message = client.get(1, &queue, true).expect("a message");
        assert!(message.body == body, "{size} octets");
    }
}

#[test]
fn a_body_may_come_in_any_parts() {
    let mut client = client();
    let queue = queue(&mut client);
    let mut out = Vec::new();
    put_method_frame(&mut out, 1, &publish("", &queue).into());
    put_content(&mut out, 1, 8 + 10, BASIC, &no_properties(), &[b'x'; 95]);
    for octet in out.chunks(7) {
        client.send_bytes(octet);
    }
    assert_eq!(&client.get(1, &queue, true).expect("a message").body[..], [b'x'; 95]);
}

#[test]
fn publishes_on_two_channels_may_interleave() {
    let mut client = client();
    let queue = queue(&mut client);
    client.open_channel(2);
    let frames = [1, 2].map(|channel| {
        let mut out = Vec::new();
        put_method_frame(&mut out, channel, &publish("", &queue).into());
        put_content(
            &mut out,
            channel,
            8 + 4,
            BASIC,
            &no_properties(),
            format!("from {channel}").as_bytes(),
        );
        out
    });
    let split = |frames: &[u8]| -> Vec<Vec<u8>> {
        let mut rest = frames;
        let mut parts = Vec::new();
        while let Ok(Some(length)) = leveret_amqp::frame_len(rest, 0) {
            parts.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        parts
    };
    for (one, two) in split(&frames[0]).into_iter().zip(split(&frames[1])) {
        client.send_bytes(&one);
        client.send_bytes(&two);
    }
    let mut bodies: Vec<Bytes> = (0..2)
        .map(|_| client.get(1, &queue, true).expect("a message").body)
        .collect();
    bodies.sort();
    assert_eq!(bodies, [Bytes::from("from 1"), Bytes::from("from 2")]);
}

#[test]
fn properties_come_back_octet_by_octet() {
    let mut client = client();
    let queue = queue(&mut client);
    let nested: FieldTable = table([("z", 1.into()), ("a", 2i64.into()), ("z", FieldValue::Void)]);
    let all = table([
        ("bool", true.into()),
        ("byte", FieldValue::Byte(-1)),
        ("unsigned byte", FieldValue::UnsignedByte(200)),
        ("short", FieldValue::Short(-2)),
        ("unsigned short", FieldValue::UnsignedShort(60_000)),
        ("int", FieldValue::Int(-3)),
        ("unsigned int", FieldValue::UnsignedInt(4_000_000_000)),
        ("long", FieldValue::Long(i64::MIN)),
        ("float", FieldValue::Float(1.5)),
        ("double", FieldValue::Double(-2.25)),
        ("decimal", FieldValue::Decimal { scale: 2, value: 314 }),
        ("text", "grüße".into()),
        ("octets", FieldValue::ByteArray(Bytes::from_static(b"\x00\xff"))),
        (
            "array",
            FieldValue::Array(vec![1.into(), "two".into(), FieldValue::Void]),
        ),
        ("table", nested.into()),
        ("time", FieldValue::Timestamp(1_800_000_000)),
        ("void", FieldValue::Void),
    ]);
    let sent = properties(&BasicProperties {
        content_type: Some(short("text/plain")),
        content_encoding: Some(short("utf-8")),
        headers: Some(all),
        delivery_mode: Some(2),
        priority: Some(9),
        correlation_id: Some(short("correlation")),
        reply_to: Some(short("reply")),
        message_id: Some(short("message")),
        timestamp: Some(1_800_000_000),
        kind: Some(short("kind")),
        user_id: Some(short("guest")),
        app_id: Some(short("app")),
        cluster_id: Some(short("")),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", &queue), &sent, b"body");
    let message = client.get(1, &queue, true).expect("a message");
    if is_rabbitmq() {
        return; // it writes the headers anew, sorted by name
    }
    assert_eq!(message.properties[..], sent[..]);
}

#[test]
fn a_missing_exchange_closes_the_channel_later() {
    let mut client = client();
    let missing = unique("missing");
    client.publish(1, &missing, "k", b"x");
    client.channel_error(1, 404, &format!("NOT_FOUND - no exchange '{missing}' in vhost '/'"));
}

#[test]
fn what_no_queue_takes_is_dropped_without_a_word() {
    let mut client = client();
    client.publish(1, "amq.direct", &unique("nowhere"), b"x");
    client.publish(1, "", &unique("nowhere"), b"x");
    client.quiet(Duration::from_millis(150));
}

#[test]
fn mandatory_brings_it_back_whole() {
    let mut client = client();
    let (key, sent) = (unique("nowhere"), headers(table([("a", 1.into())])));
    client.publish_with(1, mandatory("amq.direct", &key), &sent, &[3; 300_000]);
    let message = client.returned(1);
    assert_eq!(
        (message.method.reply_code, message.method.reply_text.as_bytes()),
        (312, &b"NO_ROUTE"[..])
    );
    assert_eq!(message.method.exchange.as_bytes(), b"amq.direct");
    assert_eq!(message.method.routing_key.as_bytes(), key.as_bytes());
    assert_eq!(message.properties[..], sent[..]);
    assert!(message.body == vec![3; 300_000]);
}

#[test]
fn mandatory_and_routed_is_silent() {
    let mut client = client();
    let queue = queue(&mut client);
    client.publish_with(1, mandatory("", &queue), &no_properties(), b"x");
    assert!(client.get(1, &queue, true).is_some());
    client.quiet(Duration::from_millis(50));
}

#[test]
fn immediate_is_not_implemented() {
    let mut client = client();
    let queue = queue(&mut client);
    client.publish_with(
        1,
        BasicPublish {
            immediate: true,
            ..publish("", &queue)
        },
        &no_properties(),
        b"x",
    );
    client.connection_error(540, "NOT_IMPLEMENTED - immediate=true");
}

#[test]
fn a_user_id_must_be_ones_own() {
    let mut client = client();
    let queue = queue(&mut client);
    let user = |name: &str| {
        properties(&BasicProperties {
            user_id: Some(short(name)),
            ..BasicProperties::default()
        })
    };
    client.publish_with(1, publish("", &queue), &user("guest"), b"x");
    assert!(client.get(1, &queue, true).is_some());
    client.publish_with(1, publish("", &queue), &user("somebody"), b"x");
    let text = "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'";
    client.channel_error(1, 406, text);
}

#[test]
fn an_expiration_must_be_a_number() {
    let mut client = client();
    let queue = queue(&mut client);
    let never = properties(&BasicProperties {
        expiration: Some(short("never")),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", &queue), &never, b"x");
    let close = expect!(client, 1, ChannelClose);
    assert_eq!(close.reply_code, 406);
    assert!(
        close.reply_text.to_str_lossy().contains("invalid expiration 'never'"),
        "{:?}",
        close.reply_text
    );
}

#[test]
fn a_message_keeps_its_exchange_and_key() {
    let mut client = client();
    let (queue, key) = (queue(&mut client), unique("some.key"));
    call!(client, 1, bind(&queue, "amq.topic", "#") => QueueBindOk);
    client.publish(1, "amq.topic", &key, b"x");
    loop {
        let message = client.get(1, &queue, true).expect("a message").method;
        if message.routing_key.as_bytes() == key.as_bytes() {
            assert_eq!(message.exchange.as_bytes(), b"amq.topic");
            break;
        }
    }
}

#[test]
fn carbon_copies_go_to_more_queues() {
    let mut client = client();
    let (one, two, three) = (queue(&mut client), queue(&mut client), queue(&mut client));
    let list = |name: &str| FieldValue::Array(vec![name.into()]);
    let sent: FieldTable = table([("CC", list(&two)), ("BCC", list(&three))]);
    client.publish_with(1, publish("", &one), &headers(sent), b"x");
    for name in [&one, &two, &three] {
        let message = client.get(1, name, true).expect("a copy");
        let properties = BasicProperties::parse(&message.properties).expect("properties");
        let headers = properties.headers.unwrap_or_default();
        assert!(headers.contains("CC") && !headers.contains("BCC"), "{headers:?}");
    }
}

#[test]
fn carbon_copies_are_lists_in_which_only_text_counts() {
    let mut client = client();
    let (one, two) = (queue(&mut client), queue(&mut client));
    let mixed = FieldValue::Array(vec![FieldValue::Int(1), two.as_str().into()]);
    client.publish_with(1, publish("", &one), &headers(table([("CC", mixed)])), b"x");
    for name in [&one, &two] {
        assert!(client.get(1, name, true).is_some());
    }
    for name in ["CC", "BCC"] {
        client.publish_with(
            1,
            publish("", &one),
            &headers(table([(name, two.as_str().into())])),
            b"x",
        );
        let text = format!("PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,\"{name}\",longstr}}");
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
}

#[test]
fn order_is_kept() {
    let mut client = client();
    let queue = queue(&mut client);
    for number in 0..2000u32 {
        client.publish(1, "", &queue, &number.to_be_bytes());
    }
    call!(client, 1, consume_no_ack(&queue, "c") => BasicConsumeOk);
    for number in 0..2000u32 {
        assert_eq!(client.delivery(1).body[..], number.to_be_bytes());
    }
}
