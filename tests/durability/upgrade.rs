//! Data directories of each format, kept in `fixtures/`, opened by today's broker: everything is there.
//!
//! A fixture is what `kill -9` left of a broker that `fill` had worked on. `LEVERET_WRITE_FIXTURE=FILE.tar.gz` keeps
//! the directory that the test of today's format makes, for a release that changes the format. (`format-2-checkpoint`
//! is `format-2` after its broker has taken a checkpoint.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::http::Http;
use harness::requests::*;
use harness::scripted_client::{short, table};
use harness::wait::until;
use harness::{Broker, Client, call, expect, place};
use leveret_amqp::BasicProperties;
use leveret_amqp::method::*;
use serde_json::json;

use crate::drain;

/// Small segments, so that a small directory has many of them, some emptied and gone.
const SEGMENTS: [&str; 2] = ["--segment-size", "1MiB"];

/// Longer than anything stays unsynced that no client waits for.
const SYNCED: Duration = Duration::from_millis(400);

/// Orders published, each to two queues.
const ORDERS: usize = 30;
/// Messages of `open` that were fetched: two were acknowledged, one was given back, the others were never settled.
const FETCHED: usize = 10;
/// Messages of `sparse`, and how many of them lie between two that stayed.
const SPARSE: (usize, usize) = (60, 10);

fn order(number: usize) -> Vec<u8> {
    format!("order {number}").into_bytes()
}

fn long() -> Vec<u8> {
    (0..300_000usize).map(|at| (at / 1000) as u8).collect()
}

fn bulk(number: usize) -> Vec<u8> {
    vec![number as u8; 64 * 1024]
}

fn properties_of(number: usize) -> BasicProperties {
    BasicProperties {
        delivery_mode: Some(2),
        content_type: Some(short("text/plain")),
        message_id: Some(short(&format!("id-{number}"))),
        timestamp: Some(1_795_000_000 + number as u64),
        headers: Some(table([("number", (number as i64).into()), ("kind", "order".into())])),
        ..BasicProperties::default()
    }
}

fn confirmed(client: &mut Client, count: u64) {
    let mut last = 0;
    while last < count {
        last = last.max(expect!(client, 1, BasicAck).delivery_tag);
    }
}

fn declarations(client: &mut Client) {
    let unrouted = table([("alternate-exchange", "unrouted".into())]);
    let durable_exchange = |name: &str, kind: &str| ExchangeDeclare {
        durable: true,
        ..exchange(name, kind)
    };
    call!(client, 1, durable_exchange("unrouted", "fanout") => ExchangeDeclareOk);
    call!(client, 1, ExchangeDeclare { arguments: unrouted, ..durable_exchange("orders", "topic") } => ExchangeDeclareOk);
    call!(client, 1, ExchangeDeclare { internal: true, ..durable_exchange("audit", "headers") } => ExchangeDeclareOk);
    for queue in ["open", "audit", "sparse", "empty", "lost"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
    }
    call!(client, 1, QueueDeclare { auto_delete: true, ..durable("auto") } => QueueDeclareOk);
}

/// Policies put and removed: two of them stay.
fn policies(broker: &Broker) {
    let http = Http::new(broker.http());
    for (list, name, definition) in [
        (
            "policies",
            "kept",
            json!({"max-length": 1_000_000, "message-ttl": 315_360_000_000_u64}),
        ),
        ("operator-policies", "kept", json!({"expires": 315_360_000_000_u64})),
        ("policies", "removed", json!({"max-length": 0})),
    ] {
        let path = format!("/api/{list}/%2F/{name}");
        let body =
            json!({"pattern": "^em.ty$", "definition": definition, "priority": -1, "apply-to": "classic_queues"});
        assert_eq!(http.request("PUT", &path, Some(&body)).status, 201);
    }
    assert_eq!(http.request("DELETE", "/api/policies/%2F/removed", None).status, 204);
}

/// Policies as [`policies`] left them, or none in a directory of a format that had none.
fn check_policies(broker: &Broker, some: bool) {
    let queue = Http::new(broker.http()).get("/api/queues/%2F/empty");
    let fields = ["policy", "operator_policy", "effective_policy_definition"].map(|field| queue[field].clone());
    let effective =
        json!({"expires": 315_360_000_000_u64, "max-length": 1_000_000, "message-ttl": 315_360_000_000_u64});
    let expected = if some {
        json!(["kept", "kept", effective])
    } else {
        json!([null, null, {}])
    };
    assert_eq!(json!(fields), expected);
}

/// Everything a log can hold: topology made and undone, messages in every state.
fn fill(broker: &Broker) {
    let mut client = Client::with_channel(broker.amqp());
    declarations(&mut client);
    policies(broker);
    for queue in ["purged", "gone"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
    }
    call!(client, 1, bind("open", "orders", "order.#") => QueueBindOk);
    call!(client, 1, bind("open", "orders", "undone") => QueueBindOk);
    call!(client, 1, unbind("open", "orders", "undone") => QueueUnbindOk);
    call!(client, 1, bind_exchange("audit", "orders", "order.#") => ExchangeBindOk);
    let arguments = table([("x-match", "all".into()), ("kind", "order".into())]);
    call!(client, 1, QueueBind { arguments, ..bind("audit", "audit", "") } => QueueBindOk);
    call!(client, 1, bind("lost", "unrouted", "") => QueueBindOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..ORDERS {
        let key = format!("order.{number}");
        client.publish_with(
            1,
            publish("orders", &key),
            &properties(&properties_of(number)),
            &order(number),
        );
    }
    for queue in ["purged", "gone"] {
        client.publish_persistent(1, "", queue, b"not for long");
    }
    client.publish_persistent(1, "", "open", &long());
    client.publish_persistent(1, "", "open", b"");
    client.publish(1, "", "open", b"transient");
    client.publish_persistent(1, "orders", "nowhere", b"unrouted");
    confirmed(&mut client, ORDERS as u64 + 6);
    call!(client, 1, purge("purged") => QueuePurgeOk);
    call!(client, 1, delete("gone") => QueueDeleteOk);
    settle_some(&mut client);
    leave_little_of_much(broker);
    thread::sleep(SYNCED);
    until("a checkpoint", Duration::from_secs(30), || {
        broker.data().join("checkpoint").exists()
    });
}

fn settle_some(client: &mut Client) {
    let tags: Vec<u64> = (0..FETCHED)
        .map(|_| client.get(1, "open", false).expect("an order").method.delivery_tag)
        .collect();
    client.send(1, ack(tags[1]));
    client.send(1, ack(tags[3]));
    client.send(1, requeue(tags[5]));
    assert_eq!(client.get(1, "audit", true).expect("an order").body, order(0));
}

/// Fills segments and settles most of what is in them, so that the rest is copied and segments go.
fn leave_little_of_much(broker: &Broker) {
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..SPARSE.0 {
        client.publish_persistent(1, "", "sparse", &bulk(number));
    }
    confirmed(&mut client, SPARSE.0 as u64);
    for number in 0..SPARSE.0 {
        let tag = client.get(1, "sparse", false).expect("a message").method.delivery_tag;
        if !number.is_multiple_of(SPARSE.1) {
            client.send(1, ack(tag));
        }
    }
    call!(client, 1, passive("sparse") => QueueDeclareOk);
    until(
        "messages were copied and segments are gone",
        Duration::from_secs(30),
        || {
            metric(broker, "leveret_log_copied_bytes_total") > 0.0
                && metric(broker, "leveret_log_reclaimed_bytes_total") > 0.0
        },
    );
}

fn metric(broker: &Broker, name: &str) -> f64 {
    let text = Http::anonymous(broker.metrics()).request("GET", "/metrics", None).body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{name} is a metric"))
}

fn unpack(archive: &Path, data: &Path) {
    fs::create_dir_all(data).expect("a new folder");
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(data)
        .status();
    assert!(tar.expect("tar runs").success(), "{}", archive.display());
}

/// Topology and messages as [`fill`] left them. Consumes nothing.
fn check_all_is_there(broker: &Broker) {
    for complaint in ["damaged", "cannot be used"] {
        assert!(!broker.stderr().contains(complaint), "{}", broker.stderr());
    }
    let mut client = Client::with_channel(broker.amqp());
    declarations(&mut client); // as they were, or this is refused
    let counts = [
        ("open", ORDERS - 2 + 2),
        ("audit", ORDERS - 1),
        ("sparse", SPARSE.0 / SPARSE.1),
        ("lost", 1),
        ("empty", 0),
        ("purged", 0),
        ("auto", 0),
    ];
    for (queue, count) in counts {
        let found = call!(client, 1, passive(queue) => QueueDeclareOk).message_count;
        assert_eq!(found as usize, count, "messages in {queue}");
    }
    client.send(1, passive("gone"));
    assert_eq!(expect!(client, 1, ChannelClose).reply_code, 404, "it was deleted");
    client.close();
}

/// The messages that [`fill`] left in the queues, in order, with redelivered flags. Consumes everything.
fn check_messages(broker: &Broker) {
    let mut client = Client::with_channel(broker.amqp());
    let acked = [1, 3];
    for number in (0..ORDERS).filter(|number| !acked.contains(number)) {
        let found = client.get(1, "open", true).expect("an order");
        assert_eq!(found.body, order(number));
        assert_eq!(found.method.redelivered, number < FETCHED, "order {number}");
        assert_eq!(found.properties, properties(&properties_of(number)), "order {number}");
        assert_eq!(found.method.routing_key.to_str_lossy(), format!("order.{number}"));
        assert_eq!(found.method.exchange.to_str_lossy(), "orders");
    }
    let rest: Vec<Vec<u8>> = drain(&mut client, "open").into_iter().map(|(body, _)| body).collect();
    assert!(rest == [long(), Vec::new()], "a long message and an empty one");
    let audit = drain(&mut client, "audit");
    let expected: Vec<(Vec<u8>, bool)> = (1..ORDERS).map(|number| (order(number), false)).collect();
    assert_eq!(audit, expected);
    let sparse = drain(&mut client, "sparse");
    let expected: Vec<(Vec<u8>, bool)> = (0..SPARSE.0).step_by(SPARSE.1).map(|n| (bulk(n), true)).collect();
    assert!(
        sparse == expected,
        "what was fetched and not settled, after it was copied"
    );
    assert_eq!(drain(&mut client, "lost"), [(b"unrouted".to_vec(), false)]);
}

/// Routes as they were bound, and confirms as ever.
fn check_it_works_on(broker: &Broker) {
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish_with(
        1,
        publish("orders", "order.new"),
        &properties(&properties_of(0)),
        b"new",
    );
    client.publish_persistent(1, "orders", "undone", b"unrouted");
    confirmed(&mut client, 2);
    for (queue, body) in [("open", "new"), ("audit", "new"), ("lost", "unrouted")] {
        assert_eq!(
            client.get(1, queue, true).expect("routed as before").body,
            body,
            "{queue}"
        );
        assert!(client.get(1, queue, true).is_none(), "{queue} has no more");
    }
    client.publish(1, "audit", "", b"refused");
    loop {
        if let leveret_amqp::Method::ChannelClose(close) = client.method(1) {
            break assert_eq!(close.reply_code, 403, "it is internal");
        }
    }
}

fn opened(prepare: impl FnOnce(&Path), with_policies: bool) {
    let mut broker = Broker::start_on(prepare, &SEGMENTS);
    check_all_is_there(&broker);
    check_policies(&broker, with_policies);
    broker.kill();
    let mut broker = broker.restart();
    check_all_is_there(&broker);
    assert!(broker.terminate(Duration::from_secs(10)).success());
    let mut broker = broker.restart();
    check_all_is_there(&broker);
    check_policies(&broker, with_policies);
    check_messages(&broker);
    check_it_works_on(&broker);
    thread::sleep(SYNCED);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    for queue in ["open", "audit", "sparse", "lost"] {
        assert!(
            client.get(1, queue, true).is_none(),
            "what was consumed stays consumed: {queue}"
        );
    }
}

fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(place::repository().join("tests/durability/fixtures")).expect("the fixtures");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(".tar.gz"));
    found.sort();
    found
}

#[test]
fn directories_of_each_format_are_opened_whole() {
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 5, "each format has a fixture, the second two");
    for fixture in fixtures {
        println!("{}", fixture.display());
        let older = ["format-1", "format-2", "format-3"];
        let older = older.iter().any(|format| fixture.to_string_lossy().contains(format));
        opened(|data| unpack(&fixture, data), !older);
    }
}

#[test]
fn a_directory_of_todays_format_is_opened_whole() {
    let mut broker = Broker::start_with(&SEGMENTS);
    fill(&broker);
    broker.kill();
    if let Some(file) = std::env::var_os("LEVERET_WRITE_FIXTURE") {
        let mut tar = Command::new("tar");
        tar.args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--exclude=LOCK",
            "-cf",
            "-",
            "-C",
        ]);
        tar.arg(broker.data()).arg(".");
        let packed = tar.output().expect("tar runs");
        assert!(packed.status.success());
        let plain = Path::new(&file).with_extension("");
        fs::write(&plain, packed.stdout).expect("a file");
        let gzip = Command::new("gzip").args(["-9nf"]).arg(&plain).status();
        assert!(gzip.expect("gzip runs").success());
    }
    opened(|data| crate::copy(&broker.data(), data), true);
}
