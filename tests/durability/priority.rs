//! Priorities across `kill -9`: a long queue comes back in its order, whichever way the start finds it.

use std::fs;
use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::table;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::BasicProperties;
use leveret_amqp::method::*;

use crate::{SMALL, copy, drain, small};

/// Enough that each level has packed stretches on disk, some behind the checkpoint, and those that are taken out before
/// the end.
const COUNT: usize = 60_000;
const LATER: usize = 2_000;
const TAKEN: usize = 500;
const SOON: Duration = Duration::from_secs(30);

fn queue() -> QueueDeclare {
    QueueDeclare {
        arguments: table([("x-max-priority", 3.into())]),
        ..durable("q")
    }
}

fn priority(number: usize) -> u8 {
    (number * 7919 % 10 % 4) as u8
}

fn body(number: usize) -> Vec<u8> {
    format!("message number {number:06} {}", ".".repeat(100)).into_bytes()
}

fn publish_all(client: &mut Client, numbers: std::ops::Range<usize>) {
    let last = numbers.end as u64;
    for number in numbers {
        let properties = properties(&BasicProperties {
            priority: Some(priority(number)),
            delivery_mode: Some(2),
            ..BasicProperties::default()
        });
        client.publish_with(1, publish("", "q"), &properties, &body(number));
    }
    while expect!(client, 1, BasicAck).delivery_tag < last {}
}

#[test]
fn a_long_queue_comes_back_in_its_order() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, queue() => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publish_all(&mut client, 0..COUNT);
    let checkpoint = broker.data().join("checkpoint");
    until("a checkpoint", SOON, || checkpoint.exists());
    publish_all(&mut client, COUNT..COUNT + LATER);
    for _ in 0..TAKEN {
        client.get(1, "q", true).expect("a message");
    }
    let unsettled = [(); 3].map(|()| client.get(1, "q", false).expect("a message").body);
    // What nobody waits for is synced within 50 ms.
    std::thread::sleep(Duration::from_millis(500));
    broker.kill();

    let mut order: Vec<usize> = (0..COUNT + LATER).collect();
    order.sort_by_key(|number| (std::cmp::Reverse(priority(*number)), *number));
    let expected: Vec<Vec<u8>> = order.into_iter().skip(TAKEN).map(body).collect();
    assert!(unsettled.iter().eq(&expected[..3]));
    let without = Broker::start_on(
        |data| {
            copy(&broker.data(), data);
            fs::remove_file(data.join("checkpoint")).expect("it is there");
        },
        &SMALL,
    );
    let with = Broker::start_on(|data| copy(&broker.data(), data), &SMALL);
    for (broker, from_checkpoint) in [(with, true), (without, false)] {
        let said = broker.stderr();
        assert!(said.contains(&format!("from_checkpoint={from_checkpoint}")), "{said}");
        let mut client = Client::with_channel(broker.amqp());
        assert_eq!(
            call!(client, 1, queue() => QueueDeclareOk).message_count as usize,
            expected.len()
        );
        let found = drain(&mut client, "q");
        assert!(found.iter().take(3).all(|(_, redelivered)| *redelivered));
        let wrong = found
            .iter()
            .zip(&expected)
            .position(|(found, expected)| found.0 != *expected);
        assert_eq!(
            wrong, None,
            "the first that is not in its place; from_checkpoint={from_checkpoint}"
        );
    }
}
