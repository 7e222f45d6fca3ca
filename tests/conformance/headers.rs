//! Headers exchanges: which headers match which arguments.

use harness::requests::*;
use harness::scripted_client::table;
use harness::{Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, FieldValue};

use crate::client;

/// An exchange and a queue of the test's own; both go with the queue.
fn ends(client: &mut Client) -> (String, String) {
    let (name, queue) = (unique("headers"), unique("q"));
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..exchange(&name, "headers") } => ExchangeDeclareOk);
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    (name, queue)
}

fn matches(arguments: FieldTable, message: FieldTable) -> bool {
    let mut client = client();
    let (name, queue) = ends(&mut client);
    call!(client, 1, QueueBind { arguments: arguments.into(), ..bind(&queue, &name, "") } => QueueBindOk);
    client.publish_with(1, publish(&name, "any key"), &headers(message), b"x");
    client.get(1, &queue, true).is_some()
}

fn binding(x_match: &str) -> FieldTable {
    table([
        ("x-match", x_match.into()),
        ("colour", "red".into()),
        ("size", 7.into()),
    ])
}

#[test]
fn all_wants_every_header() {
    let both: FieldTable = table([("size", 7.into()), ("colour", "red".into()), ("more", true.into())]);
    assert!(matches(binding("all"), both.clone()));
    assert!(!matches(binding("all"), table([("colour", "red".into())])));
    assert!(!matches(
        binding("all"),
        table([("colour", "blue".into()), ("size", 7.into())])
    ));
    let without_mode: FieldTable = table([("colour", "red".into()), ("size", 7.into())]);
    assert!(matches(without_mode.clone(), both), "all is the default");
    assert!(!matches(without_mode, table([("size", 7.into())])));
}

#[test]
fn any_wants_one_header() {
    assert!(matches(binding("any"), table([("size", 7.into())])));
    assert!(matches(
        binding("any"),
        table([("colour", "blue".into()), ("size", 7.into())])
    ));
    assert!(!matches(binding("any"), table([("colour", "blue".into())])));
    assert!(!matches(binding("any"), FieldTable::new()));
}

#[test]
fn x_headers_count_only_when_asked_for() {
    let arguments = |mode: &str| {
        table([
            ("x-match", mode.into()),
            ("x-origin", "moon".into()),
            ("size", 7.into()),
        ])
    };
    assert!(matches(arguments("all"), table([("size", 7.into())])), "x- is left out");
    assert!(!matches(arguments("all-with-x"), table([("size", 7.into())])));
    assert!(matches(
        arguments("all-with-x"),
        table([("size", 7.into()), ("x-origin", "moon".into())])
    ));
    assert!(!matches(arguments("any"), table([("x-origin", "moon".into())])));
    assert!(matches(arguments("any-with-x"), table([("x-origin", "moon".into())])));
}

#[test]
fn void_asks_only_for_the_key() {
    let arguments: FieldTable = table([("x-match", "all".into()), ("colour", FieldValue::Void)]);
    assert!(matches(arguments.clone(), table([("colour", "blue".into())])));
    assert!(!matches(arguments, table([("size", 7.into())])));
}

#[test]
fn an_unknown_mode_is_refused() {
    let mut client = client();
    let (name, queue) = ends(&mut client);
    client.send(
        1,
        QueueBind {
            arguments: table([("x-match", "some".into())]),
            ..bind(&queue, &name, "")
        },
    );
    client.channel_error(
        1,
        406,
        "PRECONDITION_FAILED - Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x",
    );
}

#[test]
fn bindings_are_told_apart_by_their_arguments() {
    let mut client = client();
    let (name, queue) = ends(&mut client);
    for colour in ["red", "blue"] {
        let arguments = table([("colour", colour.into())]);
        call!(client, 1, QueueBind { arguments, ..bind(&queue, &name, "") } => QueueBindOk);
    }
    let arguments = table([("colour", "red".into())]);
    call!(client, 1, QueueUnbind { arguments, ..unbind(&queue, &name, "") } => QueueUnbindOk);
    for (colour, there) in [("red", false), ("blue", true)] {
        let message = headers(table([("colour", colour.into())]));
        client.publish_with(1, publish(&name, ""), &message, b"x");
        assert_eq!(client.get(1, &queue, true).is_some(), there, "{colour}");
    }
}

#[test]
fn numbers_match_by_value_and_kind() {
    let wants = |value: FieldValue| table([("size", value)]);
    for (wanted, found, same) in [
        (FieldValue::Float(0.5), FieldValue::Double(0.5), true),
        (FieldValue::Double(0.5), FieldValue::Float(0.5), true),
        (FieldValue::Short(7), FieldValue::Long(7), true),
        (FieldValue::Int(1), FieldValue::Double(1.0), false),
        (FieldValue::Double(0.1), FieldValue::Float(0.1), false),
    ] {
        let shown = format!("{wanted:?} {found:?}");
        assert_eq!(matches(wants(wanted), wants(found)), same, "{shown}");
    }
}

#[test]
fn a_mode_that_is_no_text_is_refused() {
    let mut client = client();
    let (name, queue) = ends(&mut client);
    let arguments = table([("x-match", FieldValue::Int(1))]);
    client.send(
        1,
        QueueBind {
            arguments,
            ..bind(&queue, &name, "")
        },
    );
    client.channel_error(
        1,
        406,
        "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr",
    );
}
