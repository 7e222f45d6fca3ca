//! Dead letters: what becomes one, where it goes, and the history that it carries.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{Content, short, table};
use harness::wait::until;
use harness::{Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue};

use crate::client;

const PATIENCE: Duration = Duration::from_secs(20);

fn queue(client: &mut Client, arguments: FieldTable) -> String {
    let queue = unique("dying");
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(&queue) } => QueueDeclareOk);
    queue
}

/// Arguments that send dead letters to a queue.
fn to(queue: &str) -> FieldTable {
    table([
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", queue.into()),
    ])
}

fn and(mut table: FieldTable, name: &str, value: impl Into<FieldValue>) -> FieldTable {
    table.push(short(name), value.into());
    table
}

fn arrived(client: &mut Client, queue: &str) -> Content<BasicGetOk> {
    let mut message = None;
    until("a dead letter", PATIENCE, || {
        message = client.get(1, queue, true);
        message.is_some()
    });
    message.expect("a dead letter")
}

fn reject(client: &mut Client, queue: &str) {
    let message = client.get(1, queue, false).expect("a message");
    let delivery_tag = message.method.delivery_tag;
    client.send(
        1,
        BasicReject {
            delivery_tag,
            requeue: false,
        },
    );
}

fn headers(message: &Content<BasicGetOk>) -> FieldTable {
    let properties = BasicProperties::parse(&message.properties).expect("properties");
    properties.headers.unwrap_or_default()
}

fn text<'a>(table: &'a FieldTable, name: &str) -> &'a str {
    table.get(name).and_then(FieldValue::as_str).unwrap_or_default()
}

/// (queue, reason, count) of each death.
fn history(message: &Content<BasicGetOk>) -> Vec<(String, String, i64)> {
    let headers = headers(message);
    let deaths = headers
        .get("x-death")
        .and_then(FieldValue::as_array)
        .unwrap_or_default();
    let deaths = deaths.iter().filter_map(FieldValue::as_table);
    deaths
        .map(|death| {
            let count = death.get("count").and_then(FieldValue::as_i64).unwrap_or_default();
            (text(death, "queue").to_owned(), text(death, "reason").to_owned(), count)
        })
        .collect()
}

fn death(queue: &str, reason: &str, count: i64) -> (String, String, i64) {
    (queue.to_owned(), reason.to_owned(), count)
}

#[test]
fn a_rejected_message_is_one() {
    let mut client = client();
    let dead = queue(&mut client, FieldTable::new());
    let dying = queue(&mut client, to(&dead));
    let mut sent = FieldTable::new();
    sent.push(short("h"), FieldValue::Int(1));
    let sent = properties(&BasicProperties {
        headers: Some(sent),
        correlation_id: Some(short("7")),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", &dying), &sent, b"x");
    reject(&mut client, &dying);
    let letter = arrived(&mut client, &dead);
    assert_eq!(
        (&letter.method.exchange, &letter.method.routing_key),
        (&short(""), &short(&dead))
    );
    assert_eq!(history(&letter), [death(&dying, "rejected", 1)]);
    let headers = headers(&letter);
    assert_eq!(headers.get("h"), Some(&FieldValue::Int(1)));
    for (header, value) in [
        ("x-first-death-queue", &*dying),
        ("x-first-death-reason", "rejected"),
        ("x-first-death-exchange", ""),
        ("x-last-death-queue", &dying),
        ("x-last-death-reason", "rejected"),
        ("x-last-death-exchange", ""),
    ] {
        assert_eq!(headers.get(header), Some(&FieldValue::from(value)), "{header}");
    }
}

#[test]
fn an_expired_message_is_one_and_does_not_expire_again() {
    let mut client = client();
    let dead = queue(&mut client, FieldTable::new());
    let dying = queue(&mut client, to(&dead));
    let sent = properties(&BasicProperties {
        expiration: Some(short("30")),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", &dying), &sent, b"x");
    let letter = arrived(&mut client, &dead);
    assert_eq!(history(&letter), [death(&dying, "expired", 1)]);
    let properties = BasicProperties::parse(&letter.properties).expect("properties");
    assert_eq!(properties.expiration, None);
    let headers = headers(&letter);
    let deaths = headers
        .get("x-death")
        .and_then(FieldValue::as_array)
        .unwrap_or_default();
    let first = deaths.first().and_then(FieldValue::as_table).expect("a death");
    assert_eq!(text(first, "original-expiration"), "30");
}

#[test]
fn messages_beyond_the_limit_are_dead_letters_the_oldest_first() {
    let mut client = client();
    let dead = queue(&mut client, FieldTable::new());
    let dying = queue(&mut client, and(to(&dead), "x-max-length", 2));
    for body in [b"a", b"b", b"c", b"d"] {
        client.publish(1, "", &dying, body);
    }
    for body in [b"a", b"b"] {
        let letter = arrived(&mut client, &dead);
        assert_eq!(
            (&letter.body[..], history(&letter)),
            (&body[..], vec![death(&dying, "maxlen", 1)])
        );
    }
    assert_eq!(client.get(1, &dying, true).expect("kept").body, "c");
}

#[test]
fn without_a_key_of_the_queue_the_messages_own_keys_count() {
    let mut client = client();
    let exchange = unique("dlx");
    call!(client, 1, ExchangeDeclare { auto_delete: true, ..harness::requests::exchange(&exchange, "direct") } => ExchangeDeclareOk);
    let dying = queue(&mut client, table([("x-dead-letter-exchange", (&*exchange).into())]));
    let (by_key, by_cc) = (
        queue(&mut client, FieldTable::new()),
        queue(&mut client, FieldTable::new()),
    );
    call!(client, 1, bind(&by_key, &exchange, &dying) => QueueBindOk);
    call!(client, 1, bind(&by_cc, &exchange, "copy") => QueueBindOk);
    let mut cc = FieldTable::new();
    cc.push(short("CC"), FieldValue::Array(vec!["copy".into()]));
    let sent = properties(&BasicProperties {
        headers: Some(cc),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", &dying), &sent, b"x");
    reject(&mut client, &dying);
    for queue in [by_key, by_cc] {
        let letter = arrived(&mut client, &queue);
        assert_eq!(
            (&letter.method.exchange, &letter.method.routing_key),
            (&short(&exchange), &short(&dying))
        );
    }
}

/// A retry by way of a queue whose messages expire back into the first one.
#[test]
fn a_message_may_go_round_as_long_as_a_consumer_rejects_it() {
    let mut client = client();
    let (work, wait) = (unique("work"), unique("wait"));
    for (name, arguments) in [(&work, to(&wait)), (&wait, and(to(&work), "x-message-ttl", 30))] {
        call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(name) } => QueueDeclareOk);
    }
    client.publish(1, "", &work, b"x");
    for round in 1..=3 {
        until("the message is back", PATIENCE, || {
            call!(client, 1, passive(&work) => QueueDeclareOk).message_count == 1
        });
        reject(&mut client, &work);
        until("it waits or is back", PATIENCE, || {
            call!(client, 1, passive(&work) => QueueDeclareOk).message_count == 1
        });
        let message = client.get(1, &work, false).expect("it is back");
        let expected = [death(&wait, "expired", round), death(&work, "rejected", round)];
        assert_eq!(history(&message), expected);
        client.send(
            1,
            BasicReject {
                delivery_tag: message.method.delivery_tag,
                requeue: true,
            },
        );
    }
}

#[test]
fn a_circle_that_no_consumer_breaks_ends() {
    let mut client = client();
    let queue = unique("circle");
    let arguments = and(to(&queue), "x-message-ttl", 20);
    call!(client, 1, QueueDeclare { arguments: arguments.into(), ..exclusive(&queue) } => QueueDeclareOk);
    client.publish(1, "", &queue, b"x");
    until("the message is dropped", PATIENCE, || {
        call!(client, 1, passive(&queue) => QueueDeclareOk).message_count == 0
    });
}

#[test]
fn a_history_that_a_publisher_has_made_up_does_not_count() {
    let mut client = client();
    let dead = queue(&mut client, FieldTable::new());
    let dying = queue(&mut client, to(&dead));
    let mut forged = FieldTable::new();
    forged.push(short("x-death"), "nonsense".into());
    forged.push(short("x-first-death-queue"), "elsewhere".into());
    let sent = properties(&BasicProperties {
        headers: Some(forged),
        ..BasicProperties::default()
    });
    client.publish_with(1, publish("", &dying), &sent, b"x");
    reject(&mut client, &dying);
    let letter = arrived(&mut client, &dead);
    assert_eq!(history(&letter), [death(&dying, "rejected", 1)]);
    assert_eq!(text(&headers(&letter), "x-first-death-queue"), dying);
}

#[test]
fn without_an_exchange_for_them_they_are_dropped() {
    let mut client = client();
    let dying = queue(
        &mut client,
        table([("x-dead-letter-exchange", (&*unique("nowhere")).into())]),
    );
    client.publish(1, "", &dying, b"x");
    reject(&mut client, &dying);
    assert_eq!(call!(client, 1, passive(&dying) => QueueDeclareOk).message_count, 0);
}

#[test]
fn wrong_arguments_are_refused() {
    let mut client = client();
    let queue = unique("wrong");
    for (arguments, text) in [
        (
            table([("x-dead-letter-exchange", 5.into())]),
            format!("invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue '{queue}' in vhost '/'"),
        ),
        (
            table([("x-dead-letter-routing-key", "k".into())]),
            format!(
                "invalid arg 'x-dead-letter-routing-key' for queue '{queue}' in vhost '/': routing_key_but_no_dlx_defined"
            ),
        ),
        (
            table([
                ("x-dead-letter-exchange", "".into()),
                ("x-dead-letter-routing-key", 7.into()),
            ]),
            format!(
                "invalid arg 'x-dead-letter-routing-key' for queue '{queue}' in vhost '/': {{unacceptable_type,signedint}}"
            ),
        ),
    ] {
        client.send(
            1,
            QueueDeclare {
                arguments,
                ..exclusive(&queue)
            },
        );
        client.channel_error(1, 406, &format!("PRECONDITION_FAILED - {text}"));
        client.open_channel(1);
    }
}
