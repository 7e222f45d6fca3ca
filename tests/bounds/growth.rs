//! Topologies as long as users make them: each object comes and goes in the same time, whatever is there.
//!
//! In: thousands of bindings, queues and consumers. Out: they are gone soon, and a bystander is served meanwhile. That
//! twice as many take twice the time is asserted within the broker's crate, where steps can be counted.

use crate::bystander::Bystander;
use crate::many::all;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::table;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::FieldValue;
use leveret_amqp::method::*;
use std::time::{Duration, Instant};

/// The longest that a bystander's confirm may take beside an attack, in a build for tests on a busy machine.
const SERVED: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_queue_with_thousands_of_bindings_goes_at_once() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, declare("q") => QueueDeclareOk);
    for exchange in ["amq.headers", "amq.topic", "amq.direct", "amq.fanout"] {
        let binding = |number: usize| QueueBind {
            arguments: table([("number", FieldValue::Long(number as i64))]),
            ..bind("q", exchange, &format!("k{number}"))
        };
        all(&mut client, (0..5_000).map(binding));
    }
    let begin = Instant::now();
    call!(client, 1, delete("q") => QueueDeleteOk);
    assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn exclusive_queues_by_the_thousand_go_with_their_connection() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    all(&mut client, (0..10_000).map(|number| exclusive(&format!("q{number}"))));
    client.close();
    let mut other = Client::with_channel(broker.amqp());
    until("all of them have gone", SOON, || {
        other.send(1, passive("q9999"));
        let answer = other.method(1);
        let gone = matches!(&answer, leveret_amqp::Method::ChannelClose(close) if close.reply_code == 404);
        if !matches!(answer, leveret_amqp::Method::QueueDeclareOk(_)) {
            other.send(1, ChannelCloseOk {});
            other.open_channel(1);
        }
        gone
    });
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn consumers_by_the_thousand_get_their_messages_and_go() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, declare("q") => QueueDeclareOk);
    call!(client, 1, prefetch(1) => BasicQosOk);
    all(
        &mut client,
        (0..5_000).map(|number| consume("q", &format!("c{number}"))),
    );
    let mut publisher = Client::with_channel(broker.amqp());
    for _ in 0..5_000 {
        publisher.publish(1, "", "q", b"x");
    }
    let tags: std::collections::HashSet<_> = (0..5_000).map(|_| client.delivery(1).method.consumer_tag).collect();
    assert_eq!(tags.len(), 5_000, "each has got one");
    for _ in 0..100 {
        publisher.publish(1, "", "q", b"y");
    }
    client.send(1, ack_up_to(5_000));
    (0..100).for_each(|_| drop(client.delivery(1)));
    all(&mut client, (0..5_000).map(|number| cancel(&format!("c{number}"))));
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

/// A queue for each consumer, all of one channel.
fn consume_from(client: &mut Client, queues: usize) {
    all(client, (0..queues).map(|number| declare(&format!("q{number}"))));
    let consume = |number| consume(&format!("q{number}"), &format!("c{number}"));
    all(client, (0..queues).map(consume));
}

#[test]
fn thousands_of_queues_wait_for_a_client_that_does_not_read() {
    const QUEUES: usize = 3_000;
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    consume_from(&mut client, QUEUES);
    let mut publisher = Client::with_channel(broker.amqp());
    let body = vec![7; 4_000];
    // More than sockets and the outbox take.
    for number in 0..2 * QUEUES {
        publisher.publish(1, "", &format!("q{}", number % QUEUES), &body);
    }
    call!(publisher, 1, declare("end") => QueueDeclareOk);
    let begin = Instant::now();
    let mut got = std::collections::HashMap::new();
    for _ in 0..2 * QUEUES {
        *got.entry(client.delivery(1).method.consumer_tag).or_insert(0) += 1;
    }
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(got.len() == QUEUES && got.values().all(|count| *count == 2));
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn thousands_of_consumers_share_one_limit_and_each_has_its_turn() {
    const QUEUES: usize = 3_000;
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, BasicQos { global: true, ..prefetch(1) } => BasicQosOk);
    consume_from(&mut client, QUEUES);
    let mut publisher = Client::with_channel(broker.amqp());
    for number in 0..2 * QUEUES {
        publisher.publish(1, "", &format!("q{}", number % QUEUES), b"x");
    }
    call!(publisher, 1, declare("end") => QueueDeclareOk);
    let begin = Instant::now();
    let mut got = std::collections::HashMap::new();
    for _ in 0..2 * QUEUES {
        let delivery = client.delivery(1).method;
        *got.entry(delivery.consumer_tag).or_insert(0) += 1;
        client.send(1, ack(delivery.delivery_tag));
    }
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(got.len() == QUEUES && got.values().all(|count| *count == 2));
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn consumers_whose_queues_go_are_not_kept() {
    let broker = Broker::start();
    let [mut client, mut other] = [(); 2].map(|()| Client::with_channel(broker.amqp()));
    for number in 0..500 {
        call!(other, 1, declare("q") => QueueDeclareOk);
        call!(client, 1, consume("q", &format!("c{number}")) => BasicConsumeOk);
        call!(other, 1, delete("q") => QueueDeleteOk);
        expect!(client, 1, BasicCancel);
    }
    let channels = Http::new(broker.http()).get("/api/channels");
    let counts = channels.as_array().expect("a list").iter();
    let count: u64 = counts.filter_map(|channel| channel["consumer_count"].as_u64()).sum();
    assert!((1..=20).contains(&count), "{count} consumers of queues that have gone");
}
