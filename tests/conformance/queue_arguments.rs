//! Arguments of queues: which values are refused, and which differences count when a queue is declared again.

use harness::requests::*;
use harness::scripted_client::table;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, FieldValue};

use crate::client;

fn with(queue: &str, arguments: FieldTable) -> QueueDeclare {
    QueueDeclare {
        arguments: arguments.into(),
        ..exclusive(queue)
    }
}

/// The end of the text by which a new queue is refused for an argument: all behind the queue's name.
fn refused(client: &mut Client, argument: &str, value: impl Into<FieldValue>) -> String {
    let queue = unique("refused");
    client.send(1, with(&queue, table([(argument, value.into())])));
    let close = expect!(client, 1, ChannelClose);
    client.send(1, ChannelCloseOk::default());
    client.open_channel(1);
    assert_eq!((close.reply_code, close.class_id), (406, QueueDeclare::ID.0));
    let text = close.reply_text.to_str_lossy().into_owned();
    let start = format!("PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/'");
    let end = text.strip_prefix(&start);
    end.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_wrong_value_is_refused() {
    let mut client = client();
    for (argument, value, reason) in [
        ("x-max-length", FieldValue::Int(-1), ": {value_negative,-1}"),
        ("x-max-length", "5".into(), ": \"expected integer, got longstr\""),
        (
            "x-max-length",
            FieldValue::Double(5.0),
            ": \"expected integer, got double\"",
        ),
        ("x-max-length-bytes", FieldValue::Int(-1), ": {value_negative,-1}"),
        (
            "x-single-active-consumer",
            FieldValue::Int(1),
            ": {unacceptable_type,signedint}",
        ),
        ("x-expires", FieldValue::Int(0), ": {value_zero,0}"),
        ("x-expires", FieldValue::Int(-1), ": {value_negative,-1}"),
        ("x-expires", "5".into(), ": \"expected integer, got longstr\""),
        (
            "x-expires",
            FieldValue::Long(315_360_000_001),
            ": {value_too_large,315360000001}",
        ),
        ("x-overflow", "drop".into(), ": invalid_overflow"),
        ("x-overflow", FieldValue::Bool(true), ": {unacceptable_type,bool}"),
        ("x-queue-type", FieldValue::Int(1), ": {unacceptable_type,signedint}"),
        ("x-queue-type", "odd".into(), ": \"unsupported queue type 'odd'\""),
        (
            "x-queue-version",
            FieldValue::Int(1),
            ": \"unsupported queue version '1'\"",
        ),
        ("x-queue-leader-locator", "near".into(), ": invalid_queue_locator_arg"),
    ] {
        let shown = format!("{argument} {value:?}");
        assert_eq!(refused(&mut client, argument, value), reason, "{shown}");
    }
}

#[test]
fn an_argument_of_another_queue_type_is_refused() {
    let mut client = client();
    for (argument, value) in [
        ("x-quorum-initial-group-size", FieldValue::Int(5)),
        ("x-dead-letter-strategy", "at-least-once".into()),
        ("x-max-age", "1h".into()),
    ] {
        let end = refused(&mut client, argument, value);
        assert_eq!(end, " of queue type rabbit_classic_queue", "{argument}");
    }
}

/// RabbitMQ refuses the values; this version doesn't have the arguments at all.
#[test]
fn a_bad_argument_that_is_not_supported_is_refused_too() {
    let mut client = client();
    for argument in ["x-expires", "x-message-ttl"] {
        assert!(refused(&mut client, argument, -1).starts_with(": "));
    }
}

#[test]
fn arguments_that_mean_nothing_are_taken() {
    let mut client = client();
    let arguments = table([("x-mine", FieldValue::Void), ("x-queue-mode", "lazy".into())]);
    call!(client, 1, with(&unique("mine"), arguments) => QueueDeclareOk);
}

#[test]
fn declaring_again_compares_values() {
    let mut client = client();
    let queue = unique("compared");
    let declared = table([("x-max-length", FieldValue::Int(5)), ("x-mine", 1.into())]);
    call!(client, 1, with(&queue, declared) => QueueDeclareOk);
    let same = [
        ("x-max-length", FieldValue::Long(5)),
        ("x-queue-type", "classic".into()),
        ("x-mine", 2.into()),
    ];
    call!(client, 1, with(&queue, table(same)) => QueueDeclareOk);
    for (argument, received, words) in [
        ("x-max-length", Some(6.into()), "received '6' but current is '5'"),
        ("x-max-length", Some("5".into()), "received '5' but current is '5'"),
        (
            "x-max-length",
            None,
            "received none but current is the value '5' of type 'signedint'",
        ),
        (
            "x-expires",
            Some(FieldValue::Int(0)),
            "received the value '0' of type 'signedint' but current is none",
        ),
    ] {
        let mut arguments: FieldTable = table([("x-max-length", 5.into())]);
        arguments.remove(argument);
        arguments
            .0
            .extend(received.map(|value| (argument.try_into().expect("short"), value)));
        client.send(1, with(&queue, arguments));
        let text =
            format!("PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{queue}' in vhost '/': {words}");
        client.channel_error(1, 406, &text);
        client.open_channel(1);
    }
}
