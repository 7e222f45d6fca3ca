//! Little disk space: publishers wait, consumers go on, and what they free lets the publishers go on too. No space at
//! all: the broker stops before it says anything untrue, and has everything when there is room again.

use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::history::Entry;
use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{Frame, table};
use harness::volume::Volume;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::Method;
use leveret_amqp::method::*;
use serde_json::json;

use crate::load;

const MIB: u64 = 1 << 20;

/// Free space below which publishers are stopped.
const LIMIT: u64 = 16 * MIB;

const SETTINGS: [&str; 4] = ["--segment-size", "1MiB", "--disk-free-limit", "16MiB"];

/// Messages that a publisher at full speed has under way: few enough for the sockets to hold those that nobody reads.
const WINDOW: u64 = 64;

/// The time until an alarm must be noticed.
const SOON: Duration = Duration::from_secs(10);

fn on(volume: &Volume) -> Broker {
    with_memory(volume, "1GiB")
}

fn with_memory(volume: &Volume, watermark: &str) -> Broker {
    let settings = [&SETTINGS[..], &["--memory-watermark", watermark]].concat();
    Broker::start_on(|data: &Path| volume.link(data), &settings)
}

/// The disk alarm, as all places tell it that have it.
fn says_it_is_short(broker: &Broker) -> bool {
    let api = Http::new(broker.http());
    let node = &api.get("/api/nodes")[0];
    let alarm = node["disk_free_alarm"].as_bool().expect("a field of the node");
    assert_eq!(node["disk_free_limit"], LIMIT);
    let metrics = Http::anonymous(broker.metrics()).request("GET", "/metrics", None).body;
    let metric = format!("rabbitmq_alarms_free_disk_space_watermark {}", u8::from(alarm));
    assert!(metrics.lines().any(|line| line == metric), "{metric}");
    let limit = format!("rabbitmq_disk_space_available_limit_bytes {LIMIT}");
    assert!(metrics.lines().any(|line| line == limit), "{limit}");
    for check in ["alarms", "local-alarms"] {
        let answer = api.request("GET", &format!("/api/health/checks/{check}"), None);
        if alarm {
            let names = json!([{"node": node["name"], "resource": "disk"}]);
            assert_eq!((answer.status, &answer.json()["alarms"]), (503, &names), "{check}");
        } else {
            assert_eq!(answer.status, 200, "{check}");
        }
    }
    alarm
}

/// Publishes with a confirm for each message until the connection is blocked; gives how many were confirmed.
fn publish_until_blocked(client: &mut Client, queue: &str) -> u64 {
    for number in 0.. {
        let body = Entry { publisher: 0, number }.body(64 << 10);
        client.publish_persistent(1, "", queue, &body);
        match client.frame() {
            Some(Frame::Method(1, Method::BasicAck(_))) => {}
            Some(Frame::Method(0, Method::ConnectionBlocked(blocked))) => {
                assert_eq!(blocked.reason.to_str_lossy(), "low on disk");
                // What was read before counts; its confirm may still be on its way.
                let confirmed = matches!(
                    client.any_frame(Duration::from_millis(500)),
                    Ok(Some(Frame::Method(1, Method::BasicAck(_))))
                );
                return number + u64::from(confirmed);
            }
            other => panic!("expected a confirm or a stop, got {other:?}"),
        }
    }
    unreachable!("a small disk ends");
}

#[test]
fn publishers_wait_for_what_consumers_free() {
    let Some(volume) = Volume::in_memory(64) else { return };
    let broker = on(&volume);
    assert!(!says_it_is_short(&broker));
    let mut publisher = Client::with_channel(broker.amqp());
    call!(publisher, 1, durable("q") => QueueDeclareOk);
    call!(publisher, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let before = publish_until_blocked(&mut publisher, "q");
    assert!(says_it_is_short(&broker));
    assert!(before * 64 * 1024 > 32 * MIB, "only {before} messages fit");
    assert!(volume.free() > LIMIT / 2, "{} are left", volume.free());
    let api = Http::new(broker.http());
    let refused = json!({"routing_key": "q", "payload": "x", "payload_encoding": "string", "properties": {}});
    let answer = api.request("POST", "/api/exchanges/%2F/amq.default/publish", Some(&refused));
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (503, &json!("blocked")),
        "{}",
        answer.body
    );
    // What is sent now stays in the socket.
    for number in before..before + 5 {
        let body = Entry { publisher: 0, number }.body(1000);
        publisher.publish_persistent(1, "", "q", &body);
    }
    publisher.quiet(Duration::from_millis(300));
    let mut consumer = Client::with_channel(broker.amqp());
    let waiting = call!(consumer, 1, passive("q") => QueueDeclareOk).message_count;
    assert!(
        (before..=before + 1).contains(&waiting.into()),
        "{before} confirmed, {waiting} there"
    );
    call!(consumer, 1, prefetch(10) => BasicQosOk);
    call!(consumer, 1, consume("q", "c") => BasicConsumeOk);
    // The message that was on its way when the connection was stopped may come again in the count, but not in the
    // queue.
    for number in 0..u64::from(waiting) + 5 {
        let delivery = consumer.delivery(1);
        let entry = Entry::parse(&delivery.body).expect("a body as it was sent");
        if number < before {
            assert_eq!(entry.number, number);
        }
        consumer.send(1, ack(delivery.method.delivery_tag));
    }
    expect!(publisher, 0, ConnectionUnblocked);
    let mut confirmed = before;
    while confirmed < before + 5 {
        confirmed = confirmed.max(expect!(publisher, 1, BasicAck).delivery_tag);
    }
    assert!(!says_it_is_short(&broker));
    let log = broker.stderr();
    assert!(
        log.contains("low on disk: publishers are stopped") && log.contains("enough disk space again"),
        "{log}"
    );
}

#[test]
fn publishers_go_on_only_when_nothing_is_short_any_more() {
    let Some(volume) = Volume::in_memory(64) else { return };
    let broker = with_memory(&volume, "16MiB");
    let mut publisher = Client::with_channel(broker.amqp());
    call!(publisher, 1, declare("memory") => QueueDeclareOk);
    let body = vec![7; 1 << 20];
    let mut sent = 0;
    loop {
        publisher.publish(1, "", "memory", &body);
        sent += 1;
        match publisher.any_frame(Duration::from_millis(20)) {
            Ok(Some(Frame::Method(0, Method::ConnectionBlocked(blocked)))) => {
                break assert_eq!(blocked.reason.to_str_lossy(), "low on memory");
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => assert!(sent < 100, "16 MiB are the limit"),
        }
    }
    volume.fill_but(LIMIT / 2);
    until("somebody else's files are noticed", SOON, || {
        says_both_are_short(&broker)
    });
    let mut consumer = Client::with_channel(broker.amqp());
    call!(consumer, 1, consume_no_ack("memory", "c") => BasicConsumeOk);
    for _ in 0..sent - 1 {
        consumer.delivery(1);
    }
    until("there is memory again", SOON, || {
        !Http::new(broker.http()).get("/api/nodes")[0]["mem_alarm"]
            .as_bool()
            .expect("a field")
    });
    publisher.quiet(Duration::from_millis(500));
    volume.clear();
    expect!(publisher, 0, ConnectionUnblocked);
    consumer.delivery(1);
    assert!(!says_it_is_short(&broker));
}

fn says_both_are_short(broker: &Broker) -> bool {
    let alarms = Http::new(broker.http())
        .request("GET", "/api/health/checks/alarms", None)
        .json();
    alarms["alarms"].as_array().is_some_and(|alarms| alarms.len() == 2)
}

#[test]
fn eight_publishers_at_full_speed_do_not_outrun_the_alarm() {
    const PUBLISHERS: u32 = 8;
    let Some(volume) = Volume::in_memory(160) else { return };
    let mut broker = on(&volume);
    let address = broker.amqp();
    let mut client = Client::with_channel(address);
    call!(client, 1, durable("q") => QueueDeclareOk);
    let publishers: Vec<(Client, u64)> = thread::scope(|scope| {
        let flood = |publisher| move || flood(Client::with_channel(address), publisher);
        let threads: Vec<_> = (0..PUBLISHERS).map(|publisher| scope.spawn(flood(publisher))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a publisher ends"))
            .collect()
    });
    assert!(broker.exits(Duration::ZERO).is_none(), "{}", broker.stderr());
    let (free, total) = (volume.free(), publishers.iter().map(|(_, sent)| sent).sum::<u64>());
    println!("{total} messages sent, {free} octets left of the limit of {LIMIT}");
    assert!(free > LIMIT / 4 && says_it_is_short(&broker), "{free} are left");
    // What nobody had read waits in the sockets until there is room for it.
    let mut next = [0; PUBLISHERS as usize];
    call!(client, 1, consume_no_ack("q", "c") => BasicConsumeOk);
    for _ in 0..total {
        let entry = Entry::parse(&client.delivery(1).body).expect("a body as it was sent");
        let next = &mut next[entry.publisher as usize];
        assert_eq!(entry.number, *next, "publisher {}", entry.publisher);
        *next += 1;
    }
    until("what was consumed is free again", SOON, || !says_it_is_short(&broker));
}

/// Publishes until the broker stops reading; gives back the connection, and how many messages were sent.
fn flood(mut client: Client, publisher: u32) -> (Client, u64) {
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let (mut number, mut confirmed) = (0, 0);
    loop {
        while number < confirmed + WINDOW {
            let body = Entry { publisher, number }.body(16 << 10);
            client.publish_persistent(1, "", "q", &body);
            number += 1;
        }
        match client.frame() {
            Some(Frame::Method(1, Method::BasicAck(ack))) => confirmed = ack.delivery_tag,
            Some(Frame::Method(0, Method::ConnectionBlocked(blocked))) => {
                assert_eq!(blocked.reason.to_str_lossy(), "low on disk");
                return (client, number);
            }
            other => panic!("expected a confirm or a stop, got {other:?}"),
        }
    }
}

/// Declares queues with large arguments, which the log has to take whether there is space or not, until the broker is
/// gone.
fn use_up(client: &mut Client) {
    let filling = "x".repeat(30_000);
    for number in 0..4000 {
        let arguments = table([("x-filling", filling.as_str().into())]);
        let queue = QueueDeclare {
            arguments,
            no_wait: true,
            ..durable(&format!("filling-{number}"))
        };
        let mut out = Vec::new();
        leveret_amqp::put_method_frame(&mut out, 1, &queue.into());
        if client.try_send_bytes(&out).is_err() {
            return;
        }
    }
}

/// A start on a full disk may work as far as there is nothing to write; or it says why it doesn't.
fn start_without_space(broker: Broker) {
    match broker.try_restart() {
        Ok(mut broker) => broker.kill(),
        Err(refused) => {
            let last = refused.stderr.lines().last().unwrap_or_default();
            assert!(last.contains("No space left on device"), "{}", refused.stderr);
        }
    }
}

#[test]
fn a_full_disk_stops_the_broker_and_loses_nothing() {
    let Some(volume) = Volume::on_disk(96) else { return };
    let mut broker = on(&volume);
    let address = broker.amqp();
    load::declare(address);
    let mut declaring = Client::with_channel(address);
    let history = load::run(address, 0, || {
        thread::sleep(Duration::from_millis(500));
        volume.fill_but(0);
        use_up(&mut declaring);
        let status = broker.exits(Duration::from_secs(20));
        assert_eq!(status.expect("a broker that can't write stops").code(), Some(1));
    });
    let log = broker.stderr();
    assert!(
        log.contains("the log has failed") && log.contains("No space left"),
        "{log}"
    );
    start_without_space(broker);
    volume.clear();
    let broker = on(&volume);
    let summary = load::check(broker.amqp(), &history, "a full disk");
    println!("{summary:?}");
    assert!(summary.confirmed > 0);
}
