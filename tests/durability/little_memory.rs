//! A container with 256 MiB while publishers push more than that: the kernel never has to kill the broker, publishers
//! wait where they must, and memory is given back.
//!
//! `LEVERET_FLOOD_MIB` sets how much is pushed (default 448).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::control_group::ControlGroup;
use harness::history::Entry;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::Frame;
use harness::wait::{eventually, until};
use harness::{Broker, Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

/// The container's memory limit, MiB.
const GROUP: u64 = 256;
const PUBLISHERS: u32 = 4;
const SIZE: usize = 16 << 10;
/// Octets after which the consumer starts even if nobody had to wait: more than the container has.
const ENOUGH: u64 = 300 << 20;
/// Memory that a broker may keep for the next time, octets.
const GIVEN_BACK: u64 = 48 << 20;
/// Nothing awaited may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn flood_octets() -> u64 {
    let flood = std::env::var("LEVERET_FLOOD_MIB");
    flood.map_or(448, |flood| {
        flood.parse::<u64>().expect("LEVERET_FLOOD_MIB is a number")
    }) << 20
}

/// The broker's memory, and its alarm. A process that has to wait for its page cache to be written
/// may take long to answer.
fn memory(broker: &Broker) -> (u64, bool) {
    let api = Http::new(broker.http());
    let (answer, _) = eventually("an answer", PATIENCE, || api.try_request("GET", "/api/nodes", None));
    let node = &answer.json()[0];
    let alarm = node["mem_alarm"].as_bool().expect("a field of the node");
    (node["mem_used"].as_u64().expect("a field of the node"), alarm)
}

fn mebibytes(octets: u64) -> u64 {
    octets >> 20
}

/// Publishes its share as fast as the broker takes it, and returns when all of it has been taken.
fn publish(address: SocketAddr, publisher: u32, properties: &[u8], sent: &AtomicU64) {
    let mut client = Client::with_channel(address);
    for number in 0..flood_octets() / SIZE as u64 / u64::from(PUBLISHERS) {
        let body = Entry { publisher, number }.body(SIZE);
        client.publish_with(1, self::publish_to(), properties, &body);
        sent.fetch_add(SIZE as u64, Ordering::Relaxed);
    }
    client.send(1, passive("flood"));
    loop {
        match client.any_frame(PATIENCE).expect("publishers go on") {
            Some(Frame::Method(0, Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_))) => {}
            Some(Frame::Method(1, Method::QueueDeclareOk(_))) => return,
            other => panic!("{other:?}"),
        }
    }
}

fn publish_to() -> BasicPublish {
    harness::requests::publish("", "flood")
}

/// Takes everything, in order for each publisher.
fn consume_all(address: SocketAddr) {
    let mut client = Client::with_channel(address);
    call!(client, 1, prefetch(500) => BasicQosOk);
    call!(client, 1, consume("flood", "c") => BasicConsumeOk);
    let each = flood_octets() / SIZE as u64 / u64::from(PUBLISHERS);
    let mut next = [0; PUBLISHERS as usize];
    while next.iter().sum::<u64>() < each * u64::from(PUBLISHERS) {
        let delivery = client.delivery(1);
        let entry = Entry::parse(&delivery.body).expect("a body as it was sent");
        let next = &mut next[entry.publisher as usize];
        assert_eq!(entry.number, *next, "publisher {}", entry.publisher);
        *next += 1;
        if delivery.method.delivery_tag.is_multiple_of(100) || *next == each {
            client.send(1, ack_up_to(delivery.method.delivery_tag));
        }
    }
}

/// Pushes and drains; gives whether publishers had to wait before anything was consumed.
fn push_through(broker: &Broker, group: &ControlGroup, idle: u64, (what, properties): (&str, &[u8])) -> bool {
    let address = broker.amqp();
    let mut client = Client::with_channel(address);
    call!(client, 1, durable("flood") => QueueDeclareOk);
    let (sent, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let (waited, peak) = thread::scope(|scope| {
        let (sent, ended) = (&sent, &ended);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| scope.spawn(move || publish(address, publisher, properties, sent)))
            .collect();
        let peak = scope.spawn(move || {
            let (mut anonymous, mut cache) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                anonymous = anonymous.max(group.anonymous());
                cache = cache.max(group.cache());
                thread::sleep(Duration::from_millis(20));
            }
            (anonymous, cache)
        });
        until("publishers wait, or enough has been published", PATIENCE, || {
            memory(broker).1 || sent.load(Ordering::Relaxed) >= ENOUGH.min(flood_octets())
        });
        let waited = memory(broker).1;
        consume_all(address);
        for publisher in publishers {
            publisher.join().expect("a publisher ends");
        }
        ended.store(true, Ordering::Relaxed);
        (waited, peak.join().expect("figures"))
    });
    let took = start.elapsed();
    assert_eq!(group.killed(), 0, "the kernel killed the broker");
    assert!(!memory(broker).1, "nobody has to wait for an empty queue");
    let bound = idle + GIVEN_BACK;
    let given_back = until("memory is given back", PATIENCE, || memory(broker).0 < bound);
    println!(
        "{what}: {} MiB in {took:?}; resident {} MiB before, {} MiB {given_back:?} after; most: {} MiB without a file behind, {} MiB of cache",
        mebibytes(flood_octets()),
        mebibytes(idle),
        mebibytes(memory(broker).0),
        mebibytes(peak.0),
        mebibytes(peak.1),
    );
    assert!(peak.0 < (GROUP << 20) * 9 / 10, "{} MiB", mebibytes(peak.0));
    waited
}

#[test]
fn publishers_wait_before_the_kernel_kills() {
    let Some(group) = ControlGroup::with_memory(GROUP) else {
        return;
    };
    let wrapper = group.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut broker = Broker::start_through(&wrapper, |_| {}, &["--segment-size", "16MiB"]);
    let limit = Http::new(broker.http()).get("/api/nodes")[0]["mem_limit"].clone();
    assert_eq!(
        limit,
        (GROUP << 20) / 100 * 40,
        "the watermark follows the group's limit"
    );
    let idle = memory(&broker).0;
    push_through(&broker, &group, idle, ("persistent", &persistent()));
    let waited = push_through(&broker, &group, idle, ("transient", &no_properties()));
    assert!(waited, "what isn't on disk must not take all memory");
    assert!(broker.terminate(Duration::from_secs(20)).success());
}
