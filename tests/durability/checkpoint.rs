//! A start from a checkpoint: it reads little, has everything, and finds damage in what it has not read.

use std::fs;
use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::wait::{eventually, until};
use harness::{Broker, Client, call};
use leveret_amqp::method::*;

use crate::{SMALL, copy, drain, segments, small};

const COUNT: usize = 120;
const SOON: Duration = Duration::from_secs(20);

/// Large enough that an idle broker takes a checkpoint.
fn body(number: usize) -> Vec<u8> {
    let mut body = format!("message number {number:04}").into_bytes();
    body.resize(60_000, b'.');
    body
}

/// A broker killed after a checkpoint, with a few more messages behind it and the first two acknowledged.
fn killed() -> Broker {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..COUNT - 5 {
        client.publish_persistent(1, "", "q", &body(number));
        harness::expect!(client, 1, BasicAck);
    }
    let checkpoint = broker.data().join("checkpoint");
    until("a checkpoint", SOON, || checkpoint.exists());
    for number in COUNT - 5..COUNT {
        client.publish_persistent(1, "", "q", &body(number));
        harness::expect!(client, 1, BasicAck);
    }
    for _ in 0..2 {
        client.get(1, "q", true).expect("a message");
    }
    // What nobody waits for is synced within 50 ms.
    std::thread::sleep(Duration::from_millis(500));
    broker.kill();
    broker
}

fn bodies(broker: &Broker) -> Vec<Vec<u8>> {
    let mut client = Client::with_channel(broker.amqp());
    drain(&mut client, "q").into_iter().map(|(body, _)| body).collect()
}

#[test]
fn a_start_from_a_checkpoint_has_everything() {
    let original = killed();
    let broker = Broker::start_on(|data| copy(&original.data(), data), &SMALL);
    assert!(broker.stderr().contains("from_checkpoint=true"), "{}", broker.stderr());
    let expected: Vec<_> = (2..COUNT).map(body).collect();
    assert!(bodies(&broker) == expected);
    for lost in ["checkpoint", "pages"] {
        let start = |data: &std::path::Path| {
            copy(&original.data(), data);
            fs::remove_file(data.join(lost)).expect("it is there");
        };
        let broker = Broker::start_on(start, &SMALL);
        assert!(broker.stderr().contains("from_checkpoint=false"), "{}", broker.stderr());
        assert!(bodies(&broker) == expected, "without {lost}");
    }
}

#[test]
fn damage_before_the_checkpoint_is_found_and_costs_one_message() {
    let original = killed();
    let victim = b"message number 0007";
    let broker = Broker::start_on(
        |data| {
            copy(&original.data(), data);
            let path = &segments(data)[0];
            let mut bytes = fs::read(path).expect("a segment");
            let at = bytes
                .windows(victim.len())
                .position(|window| window == victim)
                .expect("it is there");
            bytes[at + 100] ^= 1;
            fs::write(path, bytes).expect("it can be written");
        },
        &SMALL,
    );
    assert!(broker.stderr().contains("from_checkpoint=true"), "{}", broker.stderr());
    let http = Http::new(broker.http());
    let (answer, _) = eventually("the damage is found", SOON, || {
        let answer = http.request("GET", "/api/health/checks/log-damage", None);
        if answer.status == 503 {
            Ok(answer)
        } else {
            Err(answer.status)
        }
    });
    let damage = answer.json()["damage"].clone();
    assert!(
        damage[0]["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("segment-0000000001.log")),
        "{damage}"
    );
    let metrics = http.request("GET", "/metrics", None);
    let text = metrics.body;
    assert!(text.contains("leveret_log_corrupt_records_total 1"), "{text}");
    let expected: Vec<_> = (2..COUNT).filter(|number| *number != 7).map(body).collect();
    assert_eq!(bodies_of_one_less(&broker, expected.len()), expected.len());
    assert!(broker.data().join("quarantine").exists());
}

/// Consumes this number of messages, and sees that nothing follows. (The queue counts the damaged one until its turn
/// comes.)
fn bodies_of_one_less(broker: &Broker, count: usize) -> usize {
    let mut client = Client::with_channel(broker.amqp());
    let mut found = 0;
    while client.get(1, "q", true).is_some() {
        found += 1;
    }
    assert!(found <= count);
    found
}
