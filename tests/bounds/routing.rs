//! Messages whose way is long: by wildcards, headers, keys of CC and BCC, and many queues.
//!
//! In: bindings and a message that once held all others up for seconds, or for good. Out: the message is routed or
//! refused with what to do, and a bystander is served meanwhile.

use crate::bystander::Bystander;
use crate::many::all;
use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::{Broker, Client, call, expect};
use leveret_amqp::method::*;
use leveret_amqp::{FieldTable, FieldValue};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest that a bystander's confirm may take beside an attack, in a build for tests on a busy machine.
const SERVED: Duration = Duration::from_secs(3);

fn too_far(exchange: &str) -> String {
    format!(
        "PRECONDITION_FAILED - a message to exchange '{exchange}' in vhost '/' takes more than 1000000 steps to its \
         queues: use fewer bindings, wildcards and headers there, or fewer CC and BCC keys"
    )
}

fn copies(keys: usize) -> Vec<u8> {
    let keys = (0..keys).map(|key| FieldValue::from(format!("k{key}").as_str()));
    headers(table([("CC", FieldValue::Array(keys.collect()))]))
}

#[test]
fn a_key_of_many_words_among_many_wildcards() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("q") => QueueDeclareOk);
    all(
        &mut client,
        (0..200).map(|number| bind("q", "amq.topic", &format!("#.a.*.#.b{number}"))),
    );
    all(
        &mut client,
        (0..60).map(|stars| bind("q", "amq.topic", &format!("#{}.#.c", ".*".repeat(stars)))),
    );
    let key = ["a"; 120].join(".");
    for _ in 0..20 {
        client.publish(1, "amq.topic", &key, b"to none");
    }
    client.publish(1, "amq.topic", &format!("{key}.b7"), b"to one");
    assert!(
        client
            .get(1, "q", true)
            .is_some_and(|got| got.body.as_ref() == b"to one")
    );
    client.send(1, bind("q", "amq.topic", &("#.a.".repeat(12) + "b")));
    let text = format!(
        "PRECONDITION_FAILED - Topic binding key '{}b' uses 12 '#' wildcards, at most 2 are allowed",
        "#.a.".repeat(12)
    );
    client.channel_error(1, 406, &text);
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn many_headers_among_bindings_with_many() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, exclusive("q") => QueueDeclareOk);
    let fields = |count: usize| -> FieldTable {
        let field = |number| (short(&format!("h{number:04}")), FieldValue::Int(1));
        (0..count).map(field).collect()
    };
    for extra in 0..10 {
        let mut arguments = fields(400);
        arguments.push(short(&format!("extra{extra}")), FieldValue::Int(1));
        let bind = QueueBind {
            arguments: arguments.into(),
            ..bind("q", "amq.headers", "")
        };
        call!(client, 1, bind => QueueBindOk);
    }
    let mut sent = fields(6_000);
    for _ in 0..10 {
        client.publish_with(1, publish("amq.headers", ""), &headers(sent.clone()), b"to none");
    }
    sent.push(short("extra3"), FieldValue::Int(1));
    client.publish_with(1, publish("amq.headers", ""), &headers(sent), b"to one");
    assert!(
        client
            .get(1, "q", true)
            .is_some_and(|got| got.body.as_ref() == b"to one")
    );
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

#[test]
fn many_keys_to_many_queues_are_refused_with_what_to_do() {
    let broker = Broker::start();
    let bystander = Bystander::start(broker.amqp());
    let mut client = Client::with_channel(broker.amqp());
    let queue = |number| format!("q{number}");
    all(&mut client, (0..250).map(|number| exclusive(&queue(number))));
    all(
        &mut client,
        (0..250).map(|number| bind(&queue(number), "amq.topic", "#")),
    );
    client.publish_with(1, publish("amq.topic", "k"), &copies(3_000), b"far, but not too far");
    for number in [0, 249] {
        assert!(client.get(1, &queue(number), true).is_some());
    }
    // Each is refused or routed by itself, and others have their turn in between.
    for _ in 0..8 {
        client.publish_with(1, publish("amq.topic", "k"), &copies(3_000), b"far, but not too far");
    }
    let begin = Instant::now();
    let mut other = Client::with_channel(broker.amqp());
    call!(other, 1, exclusive("soon") => QueueDeclareOk);
    assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
    client.publish_with(1, publish("amq.topic", "k"), &copies(5_000), b"too far");
    client.channel_error(1, 406, &too_far("amq.topic"));
    let seen = bystander.end();
    assert!(seen.slowest < SERVED, "{seen:?}");
}

/// Keys that each take some 11,000 steps through [`stars`].
fn far(keys: usize) -> Vec<u8> {
    let key = |number: usize| FieldValue::from(format!("{}{number}", "a.".repeat(120)).as_str());
    headers(table([("CC", FieldValue::Array((0..keys).map(key).collect()))]))
}

/// Patterns that no such key matches, but for the last word.
fn stars(queue: &str) -> impl Iterator<Item = QueueBind> {
    (0..60).map(move |stars| bind(queue, "amq.topic", &format!("#{}.#.c", ".*".repeat(stars))))
}

/// A queue declared, bound, published to and deleted; one of its bindings is to the exchange where others take so long.
fn come_and_go(client: &mut Client, number: usize) {
    let queue = format!("bystander{number}");
    call!(client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(client, 1, bind(&queue, "amq.topic", &queue) => QueueBindOk);
    call!(client, 1, bind(&queue, "amq.direct", &queue) => QueueBindOk);
    client.publish(1, "amq.direct", &queue, b"soon");
    call!(client, 1, purge(&queue) => QueuePurgeOk);
    assert_eq!(call!(client, 1, delete(&queue) => QueueDeleteOk).message_count, 0);
}

/// Counted by turns, whatever the machine's speed: a client that has to wait for a long look-up at each of its four
/// changes has a turn for every four such messages, at most.
#[test]
fn who_declares_binds_and_publishes_does_not_wait_for_messages_whose_way_is_long() {
    const KEYS: usize = 88;
    let broker = Broker::start();
    let mut owner = Client::with_channel(broker.amqp());
    call!(owner, 1, exclusive("q") => QueueDeclareOk);
    all(&mut owner, stars("q"));
    let (stop, far_ones) = (AtomicBool::new(false), AtomicUsize::new(0));
    let publish_far = || {
        let mut client = Client::with_channel(broker.amqp());
        call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
        let headers = far(KEYS);
        while !stop.load(Ordering::Relaxed) {
            client.publish_with(1, publish("amq.topic", "none"), &headers, b"to none");
            expect!(client, 1, BasicAck);
            far_ones.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut times = Vec::new();
    let begin = Instant::now();
    thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(publish_far)));
        let mut client = Client::with_channel(broker.amqp());
        harness::wait::until("both are under way", SERVED * 3, || {
            far_ones.load(Ordering::Relaxed) >= 2
        });
        while times.len() < 100 && begin.elapsed() < SERVED * 3 {
            let begin = Instant::now();
            come_and_go(&mut client, times.len());
            times.push(begin.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
    times.sort_unstable();
    let (turns, far_ones, took) = (times.len(), far_ones.into_inner(), begin.elapsed());
    let slowest = times.last().copied().unwrap_or_default();
    let middle = times.get(turns / 2).copied().unwrap_or_default();
    println!("{turns} turns of {middle:?}, at most {slowest:?}, beside {far_ones} messages in {took:?}");
    assert!(turns > far_ones, "{turns} turns beside {far_ones} messages");
    assert!(slowest < SERVED, "{slowest:?}");
    // That was nearly all that a message may take.
    owner.publish_with(1, publish("amq.topic", "none"), &far(KEYS + 4), b"too far");
    owner.channel_error(1, 406, &too_far("amq.topic"));
}

#[test]
fn a_dead_letter_whose_way_is_too_long_is_dropped_and_the_log_says_so() {
    let broker = Broker::start();
    let mut client = Client::with_channel(broker.amqp());
    let queue = |number| format!("q{number}");
    all(&mut client, (0..250).map(|number| exclusive(&queue(number))));
    all(
        &mut client,
        (0..250).map(|number| bind(&queue(number), "amq.topic", "#")),
    );
    let expires = QueueDeclare {
        arguments: table([
            ("x-dead-letter-exchange", FieldValue::from("amq.topic")),
            ("x-message-ttl", FieldValue::Int(0)),
        ]),
        ..exclusive("expires")
    };
    call!(client, 1, expires => QueueDeclareOk);
    client.publish_with(1, publish("", "expires"), &copies(5_000), b"too far");
    client.publish(1, "", "expires", b"not so far");
    let mut client = Client::with_channel(broker.amqp());
    harness::wait::until("the log says so", Duration::from_secs(10), || {
        let log = broker.stderr();
        log.contains("dead letters are dropped") && log.contains("takes more than 1000000 steps")
    });
    call!(client, 1, exclusive("still here") => QueueDeclareOk);
}
