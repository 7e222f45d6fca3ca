//! File descriptors: taken by clients, by a long backlog, or by others, they end neither the log nor the broker.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::{Broker, Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::bystander::Bystander;

/// Ten of these bodies fill a segment.
const BODY: usize = 100 << 10;
const SMALL_SEGMENTS: [&str; 2] = ["--segment-size", "1MiB"];

/// A broker that may have so many files open, and not one more.
fn broker_with(descriptors: u32) -> Broker {
    let limit = format!("ulimit -n {descriptors}; exec \"$@\"");
    Broker::start_through(&["sh", "-c", &limit, "sh"], |_| {}, &SMALL_SEGMENTS)
}

/// A client that publishes to a queue with confirms.
struct Publisher {
    client: Client,
    queue: String,
    published: u64,
}

impl Publisher {
    fn new(broker: &Broker) -> Publisher {
        let mut client = Client::with_channel(broker.amqp());
        let queue = unique("descriptors");
        call!(client, 1, durable(&queue) => QueueDeclareOk);
        call!(client, 1, ConfirmSelect { no_wait: false } => ConfirmSelectOk);
        Publisher {
            client,
            queue,
            published: 0,
        }
    }

    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let body = vec![self.published as u8; BODY];
            self.client.publish_persistent(1, "", &self.queue, &body);
            self.published += 1;
        }
    }

    /// Waits until all that it has published is confirmed.
    fn confirmed(&mut self) {
        let mut up_to = 0;
        while up_to < self.published {
            match self.client.method(1) {
                Method::BasicAck(ack) => up_to = ack.delivery_tag,
                other => panic!("expected a confirm, got {other:?}"),
            }
        }
    }
}

fn metric(broker: &Broker, name: &str) -> f64 {
    let text = Http::new(broker.http()).request("GET", "/metrics", None).body;
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name}"))
}

/// Files that the broker has open below its data directory, and all that it has.
fn open_files(broker: &Broker) -> (usize, usize) {
    let entries = fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("a process");
    let targets: Vec<_> = entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect();
    let data = broker.data();
    (
        targets.iter().filter(|target| target.starts_with(&data)).count(),
        targets.len(),
    )
}

/// Processor time that the broker has used.
fn processor_time(broker: &Broker) -> Duration {
    let stat = fs::read_to_string(Path::new("/proc").join(broker.pid().to_string()).join("stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or_default()
    };
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// One file for each segment ended the broker at the limit, without any attacker.
#[test]
fn a_long_backlog_takes_no_more_descriptors_than_a_short_one() {
    let mut broker = broker_with(64);
    let mut publisher = Publisher::new(&broker);
    publisher.publish(100);
    publisher.confirmed();
    let short = open_files(&broker);
    for _ in 0..7 {
        publisher.publish(100);
        publisher.confirmed();
    }
    let long = open_files(&broker);
    assert!(metric(&broker, "leveret_log_segments") >= 75.0, "a long backlog");
    assert!(
        long.0 <= short.0 + 16 && long.0 < 30,
        "{short:?} files at first, {long:?} later"
    );
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    for number in 0..publisher.published {
        let got = client
            .get(1, &publisher.queue, true)
            .expect("what was confirmed is there");
        assert!(got.body[..] == vec![number as u8; BODY]);
    }
    assert!(open_files(&broker).0 < 30);
    assert_eq!(metric(&broker, "leveret_log_descriptor_waits_total"), 0.0);
}

/// The log could not create its next file, and the broker ended.
#[test]
fn idle_connections_leave_descriptors_to_the_log() {
    let broker = broker_with(256);
    let mut publisher = Publisher::new(&broker);
    let bystander = Bystander::start(broker.amqp());
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        idle.extend(TcpStream::connect(broker.http()));
        idle.extend(TcpStream::connect(broker.amqp()));
    }
    until("connections are refused", Duration::from_secs(10), || {
        broker
            .stderr()
            .contains("all file descriptors that are for connections are taken")
    });
    publisher.publish(300);
    publisher.confirmed();
    let (_, open) = open_files(&broker);
    assert!(open < 256, "{open} files");
    assert!(bystander.end().confirmed > 0);
    let told = broker.stderr().matches("connections refused").count();
    assert!(told <= 3, "{told} lines for hundreds of connections");
    // A few go: there is room for a question, and not so much that the alarm is over.
    idle.truncate(idle.len() - 440);
    let mut nodes = None;
    until("the API answers", Duration::from_secs(10), || {
        nodes = Http::new(broker.http()).try_request("GET", "/api/nodes", None).ok();
        nodes.is_some()
    });
    let nodes = nodes.expect("an answer").json();
    assert_eq!(
        (&nodes[0]["fd_total"], &nodes[0]["sockets_total"]),
        (&256.into(), &128.into())
    );
    assert!(
        nodes[0]["sockets_used"].as_u64().is_some_and(|used| used <= 128),
        "{nodes}"
    );
    drop(idle);
    until("the alarm is over", Duration::from_secs(10), || {
        Http::new(broker.http()).get("/api/nodes")[0]["file_descriptor_alarm"] == false
    });
    assert!(metric(&broker, "leveret_connections_refused_total{reason=\"descriptors\"}") >= 100.0);
    drop(Client::with_channel(broker.amqp()));
}

/// Nobody but the system is at fault: it gives no descriptor for a while.
#[test]
fn without_descriptors_the_log_waits_and_goes_on() {
    let broker = Broker::start_with(&SMALL_SEGMENTS);
    let mut publisher = Publisher::new(&broker);
    publisher.publish(5);
    publisher.confirmed();
    let pid = Pid::from_raw(broker.pid() as i32);
    let before = rustix::process::getrlimit(Resource::Nofile);
    let lowered = prlimit(
        pid,
        Resource::Nofile,
        Rlimit {
            current: Some(8),
            maximum: before.maximum,
        },
    );
    let full = lowered.expect("the broker is of this user");
    publisher.publish(200);
    until("the log waits", Duration::from_secs(10), || {
        broker.stderr().contains("waits for a file descriptor")
    });
    let used = processor_time(&broker);
    let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(broker.amqp())).collect();
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_time(&broker) - used;
    assert!(used < Duration::from_millis(500), "{used:?} of one second: a busy loop");
    drop(waiting);
    prlimit(pid, Resource::Nofile, full).expect("as before");
    publisher.confirmed();
    until("it says so", Duration::from_secs(10), || {
        broker.stderr().contains("has its file descriptors again")
    });
    assert!(metric(&broker, "leveret_log_descriptor_waits_total") >= 1.0);
}
