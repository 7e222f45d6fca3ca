//! The trap of every log that is cleaned up: one slow queue whose few messages lie in every file, between those of a
//! hundred fast queues. Disk use must follow what is live all the time.
//!
//! `LEVERET_SOAK_SECS` sets how long (default 20), `LEVERET_SOAK_SEGMENT` the size of a file of the log (default 4MiB).

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Broker, Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

const FAST: u64 = 100;
/// One in this number of messages goes to the slow queue.
const SLOW_SHARE: u64 = 10;
const SIZE: usize = 1024;
/// Messages under way.
const WINDOW: u64 = 1000;
/// Files of the log beyond twice the live octets. Publishers have to wait nine files beyond 1.9 times; besides there
/// are the rest of the one being written and the spare one.
const FILES: u64 = 12;

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// State shared by all threads.
#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    published: AtomicU64,
}

/// Publishes to all queues in turn, each message confirmed, until the end.
fn publish(address: SocketAddr, shared: &Shared) {
    let mut client = Client::with_channel(address);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let body = vec![b'x'; SIZE];
    let (mut sent, mut confirmed) = (0, 0);
    while !shared.ended.load(Ordering::Relaxed) {
        while sent < confirmed + WINDOW {
            if sent.is_multiple_of(SLOW_SHARE) {
                client.publish_persistent(1, "", "slow", &body);
            } else {
                client.publish_persistent(1, "", &format!("fast-{}", sent % FAST), &body);
            }
            sent += 1;
        }
        match client.frame() {
            Some(Frame::Method(1, Method::BasicAck(ack))) => confirmed = ack.delivery_tag,
            other => panic!("expected a confirm, got {other:?}"),
        }
        shared.published.store(confirmed, Ordering::Relaxed);
    }
}

/// Takes everything out of the fast queues, until the end.
fn consume_fast(address: SocketAddr, shared: &Shared) {
    let mut client = Client::with_channel(address);
    for number in 0..FAST {
        call!(client, 1, durable(&format!("fast-{number}")) => QueueDeclareOk);
    }
    call!(client, 1, prefetch(200) => BasicQosOk);
    for number in 0..FAST {
        client.send(
            1,
            BasicConsume {
                no_wait: true,
                ..consume(&format!("fast-{number}"), &format!("c-{number}"))
            },
        );
    }
    while !shared.ended.load(Ordering::Relaxed) {
        if let Ok(Some(Frame::Method(1, Method::BasicDeliver(deliver)))) = client.any_frame(Duration::from_millis(100))
            && deliver.delivery_tag.is_multiple_of(50)
        {
            client.send(1, ack_up_to(deliver.delivery_tag));
        }
    }
}

/// Takes a quarter of what comes to the slow queue.
fn consume_slow(address: SocketAddr, shared: &Shared) {
    let mut client = Client::with_channel(address);
    let mut taken = 0;
    while !shared.ended.load(Ordering::Relaxed) {
        while taken < shared.published.load(Ordering::Relaxed) / SLOW_SHARE / 4 {
            let Some(message) = client.get(1, "slow", false) else {
                break;
            };
            client.send(1, ack(message.method.delivery_tag));
            taken += 1;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The log's size and contents at one moment, octets.
struct Sample {
    /// Size of the files on disk.
    on_disk: u64,
    /// Size of the files, as the broker tells it.
    said: u64,
    /// The part of it that is needed.
    live: u64,
    /// Bodies of the messages in queues.
    bodies: u64,
    /// Appended since the start in order to free files.
    copied: u64,
    /// Appended since the start.
    appended: u64,
    /// Times that publishers had to wait for reclaim.
    crowded: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |octets: u64| octets as f64 / f64::from(1 << 20);
        for (name, octets) in [
            ("on disk", self.on_disk),
            ("said", self.said),
            ("live", self.live),
            ("bodies", self.bodies),
            ("copied", self.copied),
            ("appended", self.appended),
        ] {
            write!(out, ", {name} {:.1}", mebibytes(octets))?;
        }
        write!(out, " MiB, {} times crowded", self.crowded)
    }
}

impl Sample {
    fn take(broker: &Broker) -> Sample {
        let text = Http::anonymous(broker.metrics()).request("GET", "/metrics", None).body;
        let metric = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok())
                .unwrap_or_else(|| panic!("{name} is a metric")) as u64
        };
        Sample {
            on_disk: blocks(&broker.data()),
            said: metric("leveret_log_disk_bytes"),
            live: metric("leveret_log_live_bytes"),
            bodies: metric("rabbitmq_queue_messages_ready_bytes") + metric("rabbitmq_queue_messages_unacked_bytes"),
            copied: metric("leveret_log_copied_bytes_total"),
            appended: metric("leveret_log_appended_bytes_total"),
            crowded: metric("leveret_log_crowded_total"),
        }
    }
}

/// The files of a folder on disk, as `du` counts them.
fn blocks(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).expect("the data directory").flatten();
    // A file may go between the two looks.
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|data| data.blocks() * 512)
        .sum()
}

#[test]
fn disk_use_follows_what_is_live() {
    let seconds: u64 = setting("LEVERET_SOAK_SECS", "20")
        .parse()
        .expect("LEVERET_SOAK_SECS is a number");
    let segment = setting("LEVERET_SOAK_SEGMENT", "4MiB");
    let mebibytes: u64 = segment
        .trim_end_matches("MiB")
        .parse()
        .expect("LEVERET_SOAK_SEGMENT is in MiB");
    let broker = Broker::start_with(&["--segment-size", &segment]);
    let address = broker.amqp();
    let mut client = Client::with_channel(address);
    call!(client, 1, durable("slow") => QueueDeclareOk);
    let shared = Shared::default();
    let mut worst = (0.0, 0);
    thread::scope(|scope| {
        scope.spawn(|| consume_fast(address, &shared));
        thread::sleep(Duration::from_millis(500));
        scope.spawn(|| publish(address, &shared));
        scope.spawn(|| consume_slow(address, &shared));
        let start = Instant::now();
        let mut shown = 0;
        // On a machine that is busy with other things it takes longer to get enough for a verdict.
        let enough = || shared.published.load(Ordering::Relaxed) * SIZE as u64 > 20 * (mebibytes << 20);
        while start.elapsed().as_secs() < seconds || (!enough() && start.elapsed().as_secs() < 8 * seconds) {
            thread::sleep(Duration::from_millis(200));
            let sample = Sample::take(&broker);
            let now = start.elapsed().as_secs();
            if now >= shown {
                println!(
                    "{now} s, {} published{sample}",
                    shared.published.load(Ordering::Relaxed)
                );
                shown += (seconds / 20).max(1);
            }
            let over = sample.on_disk.saturating_sub(FILES * (mebibytes << 20)) as f64;
            let ratio = over / sample.live.max(1) as f64;
            if ratio > worst.0 {
                worst = (ratio, now);
            }
        }
        shared.ended.store(true, Ordering::Relaxed);
    });
    let (ratio, at) = worst;
    println!("at worst, {at} s after the start, beyond {FILES} files: {ratio:.2} times what is live");
    assert!(
        shared.published.load(Ordering::Relaxed) * SIZE as u64 > 20 * (mebibytes << 20),
        "too little for a verdict"
    );
    assert!(ratio <= 2.0, "{ratio:.2} times what is live, {at} s after the start");
}
