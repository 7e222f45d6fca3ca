//! Dead letters and deadlines across `kill -9`: a moved message is in one queue and no other, and time goes on.

use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue};

use crate::small;

const PATIENCE: Duration = Duration::from_secs(30);

fn dying(ttl: i32) -> QueueDeclare {
    QueueDeclare {
        arguments: table([
            ("x-message-ttl", ttl.into()),
            ("x-dead-letter-exchange", "".into()),
            ("x-dead-letter-routing-key", "dead".into()),
        ]),
        ..durable("dying")
    }
}

fn publish(client: &mut Client, count: u64) {
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 1..=count {
        let body = number.to_string();
        client.publish_with(
            1,
            harness::requests::publish("", "dying"),
            &persistent(),
            body.as_bytes(),
        );
    }
    while expect!(client, 1, BasicAck).delivery_tag < count {}
}

fn count(client: &mut Client, queue: &str) -> u32 {
    call!(client, 1, passive(queue) => QueueDeclareOk).message_count
}

#[test]
fn deadlines_and_dead_letters_survive_a_crash() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("dead") => QueueDeclareOk);
    call!(client, 1, dying(1_500) => QueueDeclareOk);
    publish(&mut client, 200);
    broker.kill();
    // Some of them die in this process, and some in the next.
    let mut broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    until("some have died", PATIENCE, || count(&mut client, "dead") > 0);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    until("all have died", PATIENCE, || count(&mut client, "dead") == 200);
    assert_eq!(count(&mut client, "dying"), 0);
    let mut bodies = Vec::new();
    while let Some(letter) = client.get(1, "dead", true) {
        let properties = BasicProperties::parse(&letter.properties).expect("properties");
        assert_eq!(properties.delivery_mode, Some(2));
        let headers: FieldTable = properties.headers.expect("a history");
        let deaths = headers
            .get("x-death")
            .and_then(FieldValue::as_array)
            .unwrap_or_default();
        assert_eq!(deaths.len(), 1);
        bodies.push(String::from_utf8_lossy(&letter.body).parse::<u64>().expect("a number"));
    }
    bodies.sort_unstable();
    assert_eq!(bodies, (1..=200).collect::<Vec<_>>(), "each once");
}

#[test]
fn a_history_is_counted_on_after_a_crash() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("dead") => QueueDeclareOk);
    call!(client, 1, dying(60_000) => QueueDeclareOk);
    publish(&mut client, 1);
    let reject = |client: &mut Client| {
        let message = client.get(1, "dying", false).expect("a message");
        let delivery_tag = message.method.delivery_tag;
        client.send(
            1,
            BasicReject {
                delivery_tag,
                requeue: false,
            },
        );
    };
    reject(&mut client);
    until("it has moved", PATIENCE, || count(&mut client, "dead") == 1);
    // Something that is confirmed after the move tells that the move is on disk.
    publish_again(&mut client);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!((count(&mut client, "dead"), count(&mut client, "dying")), (1, 1));
    let letter = client.get(1, "dead", true).expect("the letter");
    let properties = BasicProperties::parse(&letter.properties).expect("properties");
    let headers = properties.headers.expect("a history");
    assert_eq!(headers.get("x-first-death-queue"), Some(&FieldValue::from("dying")));
    // A client that sends it again begins a new history.
    let again = BasicProperties {
        headers: Some(headers),
        delivery_mode: Some(2),
        message_id: Some(short("again")),
        ..BasicProperties::default()
    };
    call!(client, 1, purge("dying") => QueuePurgeOk);
    client.publish_with(1, harness::requests::publish("", "dying"), &again.to_bytes(), b"x");
    reject(&mut client);
    until("it has moved", PATIENCE, || count(&mut client, "dead") == 1);
    let letter = client.get(1, "dead", true).expect("the letter");
    let headers = BasicProperties::parse(&letter.properties)
        .expect("properties")
        .headers
        .expect("a history");
    let deaths = headers
        .get("x-death")
        .and_then(FieldValue::as_array)
        .unwrap_or_default();
    let first = deaths.first().and_then(FieldValue::as_table).expect("a death");
    assert_eq!(first.get("count"), Some(&FieldValue::Long(1)));
}

fn publish_again(client: &mut Client) {
    client.publish_with(1, harness::requests::publish("", "dying"), &persistent(), b"y");
    expect!(client, 1, BasicAck);
}
