//! `kill -9` while eight publishers wait for confirms and a consumer acknowledges: again and again, on the same files.
//!
//! `LEVERET_CRASH_ROUNDS` sets how often (default 10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::history::{Entry, Found, History, Publishes};
use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Broker, Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{drain, small};

/// How many publish at a time, and to how many queues.
const PUBLISHERS: u32 = 8;
const QUEUES: u32 = 4;

/// How many messages a publisher has under way.
const WINDOW: u64 = 50;

/// Acknowledgements are synced within 50 ms: one round's must be on disk before the next ends.
const LEAST: u64 = 150;

fn rounds() -> u64 {
    std::env::var("LEVERET_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().expect("LEVERET_CRASH_ROUNDS is a number"))
}

#[test]
fn no_confirmed_message_is_lost() {
    let mut broker = small();
    let mut declaring = Client::with_channel(broker.amqp());
    for queue in 0..QUEUES {
        call!(declaring, 1, durable(&name(queue)) => QueueDeclareOk);
    }
    drop(declaring);
    let (mut confirmed, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds() {
        let mut random = StdRng::seed_from_u64(round);
        let span = Duration::from_millis(random.random_range(LEAST..700));
        let history = load(&mut broker, round, span);
        let start = Instant::now();
        broker = broker.restart();
        slowest = slowest.max(start.elapsed());
        let mut client = Client::with_channel(broker.amqp());
        let mut found = Vec::new();
        for queue in 0..QUEUES {
            let queue = name(queue);
            let messages = drain(&mut client, &queue).into_iter();
            found.extend(messages.map(|(body, redelivered)| Found {
                queue: queue.clone(),
                body,
                redelivered,
            }));
        }
        match history.check(&found) {
            Ok(summary) => {
                confirmed += summary.confirmed;
                println!("round {round}, killed after {span:?}: {summary:?}");
            }
            Err(broken) => panic!("round {round}, killed after {span:?}:\n{}", first_lines(&broken)),
        }
    }
    println!(
        "{} rounds, {confirmed} confirmed messages, none lost; slowest start {slowest:?}",
        rounds()
    );
    assert!(confirmed > 0, "the publishers got confirms");
}

fn name(queue: u32) -> String {
    format!("crash-{queue}")
}

fn first_lines(text: &str) -> String {
    text.lines().take(30).collect::<Vec<_>>().join("\n")
}

/// Publishes and consumes for `span`, then kills the broker under it.
fn load(broker: &mut Broker, round: u64, span: Duration) -> History {
    let address = broker.amqp();
    let stopped = AtomicBool::new(false);
    let mut history = History::default();
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let publisher = u32::try_from(round).expect("few rounds") * PUBLISHERS + number;
                let client = Client::with_channel(address);
                scope.spawn(move || {
                    (
                        publisher,
                        number % QUEUES,
                        publish(client, publisher, &name(number % QUEUES)),
                    )
                })
            })
            .collect();
        let client = Client::with_channel(address);
        let consumer = scope.spawn(|| consume_some(client, &name(0), &stopped));
        thread::sleep(span);
        broker.kill();
        stopped.store(true, Ordering::Relaxed);
        for publisher in publishers {
            let (publisher, queue, publishes) = publisher.join().expect("a publisher ends");
            history.publishes.insert((publisher, name(queue)), publishes);
        }
        for (publisher, numbers) in consumer.join().expect("the consumer ends") {
            let publishes = history.publishes.get_mut(&(publisher, name(0)));
            publishes
                .expect("it was published in this round")
                .consumed
                .extend(numbers);
        }
    });
    history
}

/// Publishes until the broker is gone.
fn publish(mut client: Client, publisher: u32, queue: &str) -> Publishes {
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let mut publishes = Publishes::default();
    let mut random = StdRng::seed_from_u64(publisher.into());
    loop {
        while publishes.sent < publishes.confirmed.len() as u64 + WINDOW {
            let size = random.random_range(20..3000);
            let body = Entry {
                publisher,
                number: publishes.sent,
            }
            .body(size);
            publishes.sent += 1; // even a failed send may have left the machine
            if client.try_publish_persistent(1, "", queue, &body).is_err() {
                return publishes;
            }
        }
        match client
            .any_frame(Duration::from_secs(20))
            .expect("confirms go on as long as the broker lives")
        {
            Some(Frame::Method(1, Method::BasicAck(ack))) => {
                let last = ack.delivery_tag - 1; // tags count from 1, messages from 0
                let first = if ack.multiple {
                    publishes.confirmed.last().map_or(0, |last| last + 1)
                } else {
                    last
                };
                publishes.confirmed.extend(first.min(last)..=last);
            }
            Some(other) => panic!("expected a confirm, got {other:?}"),
            None => return publishes,
        }
    }
}

/// Takes messages and acknowledges most of them, until the broker is gone. Returns what it acknowledged.
fn consume_some(mut client: Client, queue: &str, stopped: &AtomicBool) -> BTreeMap<u32, BTreeSet<u64>> {
    let mut consumed: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    call!(client, 1, prefetch(20) => BasicQosOk);
    call!(client, 1, consume(queue, "some") => BasicConsumeOk);
    let (mut tag, mut body, mut size) = (0, Vec::new(), 0);
    while !stopped.load(Ordering::Relaxed) {
        match client.any_frame(Duration::from_millis(100)) {
            Ok(Some(Frame::Method(1, Method::BasicDeliver(deliver)))) => tag = deliver.delivery_tag,
            Ok(Some(Frame::Header { size: whole, .. })) => (size, body) = (whole, Vec::new()),
            Ok(Some(Frame::Body(1, part))) => body.extend_from_slice(&part),
            Ok(Some(other)) => panic!("expected a delivery, got {other:?}"),
            Ok(None) => break,
            Err(_) => continue,
        }
        if tag == 0 || body.len() as u64 != size || body.is_empty() {
            continue;
        }
        let entry = Entry::parse(&body).expect("a body as it was sent");
        body.clear();
        if tag.is_multiple_of(17) {
            continue; // some are never acknowledged
        }
        let mut out = Vec::new();
        leveret_amqp::put_ack(&mut out, 1, tag, false);
        consumed.entry(entry.publisher).or_default().insert(entry.number);
        if client.try_send_bytes(&out).is_err() {
            break;
        }
    }
    consumed
}
