//! Limits that publishers meet, changed while the broker runs: what is open stays open, and meets the new ones.

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::Frame;
use harness::wait::until;
use harness::{Broker, Client, call, expect};
use leveret_amqp::Method;
use leveret_amqp::method::*;
use tempfile::TempDir;

use crate::{SOON, write};

/// A broker with a file of settings.
struct Configured {
    folder: TempDir,
    broker: Broker,
}

impl Configured {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("leveret.toml");
        write(&file, settings);
        let broker = Broker::start_with(&["--config", &file.display().to_string()]);
        Self { folder, broker }
    }

    fn change(&self, settings: &str) {
        write(&self.folder.path().join("leveret.toml"), settings);
    }

    /// A field of the node in the HTTP API.
    fn node(&self, field: &str) -> serde_json::Value {
        Http::new(self.broker.http()).get("/api/nodes")[0][field].clone()
    }

    /// Waits until the alarm is as it should be, and the limit is what the file says.
    fn alarm(&self, (alarm, on): (&str, bool), (limit, bytes): (&str, u64)) {
        until(&format!("{alarm} is {on}"), SOON, || self.node(alarm) == on);
        assert_eq!(self.node(limit), bytes);
    }

    fn publisher(&self) -> Client {
        let mut publisher = Client::with_channel(self.broker.amqp());
        call!(publisher, 1, durable("q") => QueueDeclareOk);
        call!(publisher, 1, ConfirmSelect::default() => ConfirmSelectOk);
        publisher
    }
}

const MIB: u64 = 1 << 20;

/// Publishes what the broker no longer reads, and waits for the word of it.
fn is_blocked(publisher: &mut Client, reason: &str) {
    loop {
        publisher.publish(1, "", "q", b"waits");
        match publisher.frame() {
            // Read before the alarm was seen.
            Some(Frame::Method(1, Method::BasicAck(_))) => {}
            Some(Frame::Method(0, Method::ConnectionBlocked(blocked))) => {
                return assert_eq!(blocked.reason.to_str_lossy(), reason);
            }
            other => panic!("expected a confirm or a stop, got {other:?}"),
        }
    }
}

fn is_unblocked(publisher: &mut Client) {
    expect!(publisher, 0, ConnectionUnblocked);
    expect!(publisher, 1, BasicAck);
}

#[test]
fn another_memory_watermark_stops_and_releases_publishers() {
    let configured = Configured::start("memory_watermark = \"64MiB\"\n");
    let mut publisher = configured.publisher();
    // Below half of the mark nothing is moved to disk: all of it is in memory.
    for _ in 0..20 {
        publisher.publish(1, "", "q", &vec![7; MIB as usize]);
        expect!(publisher, 1, BasicAck);
    }
    configured.alarm(("mem_alarm", false), ("mem_limit", 64 * MIB));
    configured.change("memory_watermark = \"16MiB\"\n");
    configured.alarm(("mem_alarm", true), ("mem_limit", 16 * MIB));
    is_blocked(&mut publisher, "low on memory");
    configured.change("memory_watermark = \"32MiB\"\n");
    configured.alarm(("mem_alarm", false), ("mem_limit", 32 * MIB));
    is_unblocked(&mut publisher);
}

#[test]
fn only_a_publish_during_an_alarm_stops_a_connection() {
    let configured = Configured::start("memory_watermark = \"64MiB\"\n");
    let (mut earlier, mut first) = (configured.publisher(), configured.publisher());
    for _ in 0..20 {
        earlier.publish(1, "", "q", &vec![7; MIB as usize]);
        expect!(earlier, 1, BasicAck);
    }
    configured.change("memory_watermark = \"16MiB\"\n");
    configured.alarm(("mem_alarm", true), ("mem_limit", 16 * MIB));
    first.publish(1, "", "q", b"the first of its connection");
    let blocked = expect!(first, 0, ConnectionBlocked);
    assert_eq!(blocked.reason.to_str_lossy(), "low on memory");
    // One that has published before can consume and acknowledge, and so end the alarm.
    let delivery_tag = earlier.get(1, "q", false).expect("a message").method.delivery_tag;
    earlier.send(1, ack(delivery_tag));
    let left = call!(earlier, 1, passive("q") => QueueDeclareOk).message_count;
    assert_eq!(left, 19, "the first publish waits");
    for _ in 0..left {
        assert!(earlier.get(1, "q", true).is_some());
    }
    configured.alarm(("mem_alarm", false), ("mem_limit", 16 * MIB));
    is_unblocked(&mut first);
}

#[test]
fn another_disk_limit_stops_and_releases_publishers() {
    let configured = Configured::start("segment_size = \"1MiB\"\ndisk_free_limit = \"16MiB\"\n");
    let mut publisher = configured.publisher();
    publisher.publish_persistent(1, "", "q", b"first");
    expect!(publisher, 1, BasicAck);
    configured.alarm(("disk_free_alarm", false), ("disk_free_limit", 16 * MIB));
    // More than any disk has.
    configured.change("segment_size = \"1MiB\"\ndisk_free_limit = \"16TiB\"\n");
    configured.alarm(("disk_free_alarm", true), ("disk_free_limit", 16 << 40));
    is_blocked(&mut publisher, "low on disk");
    // Larger segments wait for the next start, and so does what the limit must be at least for them.
    configured.change("segment_size = \"128MiB\"\n");
    configured.alarm(("disk_free_alarm", false), ("disk_free_limit", 256 * MIB));
    is_unblocked(&mut publisher);
}

#[test]
fn another_message_size_counts_from_the_next_message_on() {
    let configured = Configured::start("max_message_size = \"2KiB\"\n");
    let mut publisher = configured.publisher();
    publisher.publish(1, "", "q", &[7; 2048]);
    expect!(publisher, 1, BasicAck);
    configured.change("max_message_size = \"1KiB\"\n");
    let takes_effect = || {
        configured
            .broker
            .stderr()
            .matches("settings=\"max_message_size\"")
            .count()
    };
    until("the smaller size is read", SOON, || takes_effect() == 1);
    publisher.publish(1, "", "q", &[7; 1025]);
    let text = "PRECONDITION_FAILED - message size 1025 is larger than configured max size 1024";
    publisher.channel_error(1, 406, text);
    let body = serde_json::json!({"routing_key": "q", "payload": "x".repeat(1025), "payload_encoding": "string", "properties": {}});
    let over_http =
        || Http::new(configured.broker.http()).request("POST", "/api/exchanges/%2F/amq.default/publish", Some(&body));
    assert_eq!(over_http().status, 400, "{}", over_http().body);
    configured.change("max_message_size = \"3KiB\"\n");
    until("the larger size is read", SOON, || takes_effect() == 2);
    publisher.open_channel(1);
    call!(publisher, 1, ConfirmSelect::default() => ConfirmSelectOk);
    publisher.publish(1, "", "q", &[7; 3072]);
    expect!(publisher, 1, BasicAck);
    assert_eq!(over_http().status, 200, "{}", over_http().body);
}

#[test]
fn open_transactions_count_as_messages_in_memory_but_alone_stop_nobody() {
    let configured = Configured::start("memory_watermark = \"64MiB\"\n");
    let mut publisher = configured.publisher();
    let mut transactional = Client::with_channel(configured.broker.amqp());
    call!(transactional, 1, TxSelect::default() => TxSelectOk);
    for _ in 0..20 {
        transactional.publish(1, "", "q", &vec![7; MIB as usize]);
    }
    call!(transactional, 1, passive("q") => QueueDeclareOk);
    configured.change("memory_watermark = \"16MiB\"\n");
    configured.alarm(("mem_alarm", true), ("mem_limit", 16 * MIB));
    is_blocked(&mut publisher, "low on memory");
    configured.change("memory_watermark = \"64MiB\"\n");
    is_unblocked(&mut publisher);
    for _ in 0..20 {
        transactional.publish(1, "", "q", &vec![7; MIB as usize]);
    }
    transactional.channel_error(
        1,
        406,
        "PRECONDITION_FAILED - uncommitted publishes of all transactions have reached half of the memory watermark",
    );
    publisher.publish(1, "", "q", b"goes on");
    expect!(publisher, 1, BasicAck);
}

#[test]
fn another_number_counts_for_the_next_one() {
    let configured = Configured::start("cluster_queue_limit = 2\n");
    let mut client = Client::with_channel(configured.broker.amqp());
    call!(client, 1, durable("one") => QueueDeclareOk);
    call!(client, 1, durable("two") => QueueDeclareOk);
    let limit = || configured.node("limits")["cluster_queue_limit"]["limit"].clone();
    configured.change("cluster_queue_limit = 1\n");
    until("the smaller number is read", SOON, || limit() == 1);
    client.send(1, durable("three"));
    let text = "PRECONDITION_FAILED - cannot declare queue 'three': queue limit in cluster (1) is reached";
    client.channel_error(1, 406, text);
    client.open_channel(1);
    let kept = call!(client, 1, durable("two") => QueueDeclareOk).queue;
    assert_eq!(kept.to_str_lossy(), "two", "what there is stays");
    configured.change("cluster_queue_limit = \"infinity\"\n");
    until("there is no limit", SOON, || limit() == "infinity");
    call!(client, 1, durable("three") => QueueDeclareOk);
}
