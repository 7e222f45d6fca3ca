//! The course of a connection: heartbeats, back-pressure, what is durable, and the end of the broker.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use harness::wait::until;
use harness::zeromq::{Peer, Received};
use leveret_zmtp::{Command, SocketType};
use serde_json::{Value, json};

use crate::{declare, path, pull};

const SOON: Duration = Duration::from_secs(10);

/// A durable queue, and a socket that publishes to it: its name and port.
fn socket(api: &Http, more: Value) -> (String, u16) {
    let name = unique("course");
    let durable = json!({"durable": true});
    assert_eq!(
        api.request("PUT", &format!("/api/queues/%2F/{name}"), Some(&durable))
            .status,
        201
    );
    let mut value = json!({"queue": name});
    for (field, other) in more.as_object().expect("fields") {
        value[field] = other.clone();
    }
    let port = declare(api, &name, &pull(value));
    (name, port)
}

fn messages(api: &Http, queue: &str) -> u64 {
    api.get(&format!("/api/queues/%2F/{queue}"))["messages"]
        .as_u64()
        .unwrap_or_default()
}

#[test]
fn a_ping_is_answered() {
    let api = Http::new(Broker::shared().http());
    let (_, port) = socket(&api, json!({}));
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.command(&Command::Ping {
        ttl: 0,
        context: b"LOL",
    });
    assert_eq!(peer.next(SOON), Some(Received::Pong(b"LOL".to_vec())));
}

#[test]
fn a_peer_that_outlives_its_own_time_is_gone() {
    let api = Http::new(Broker::shared().http());
    let (name, port) = socket(&api, json!({}));
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.command(&Command::Ping { ttl: 5, context: b"" });
    assert_eq!(peer.next(SOON), Some(Received::Pong(Vec::new())));
    let begun = Instant::now();
    assert!(peer.ends(SOON));
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    until("it has gone", SOON, || api.get(&path(&name))["peers"] == json!(0));
}

#[test]
fn a_silent_peer_is_pinged_and_stays_if_it_answers() {
    let api = Http::new(Broker::shared().http());
    let (_, port) = socket(&api, json!({"heartbeat": 1}));
    let mut peer = Peer::connect(port, SocketType::Push);
    for _ in 0..3 {
        assert_eq!(peer.next(SOON), Some(Received::Ping(Vec::new())));
        peer.command(&Command::Pong { context: b"" });
    }
    assert!(peer.ends(SOON), "it answers no more");
}

#[test]
fn durable_messages_survive_a_kill() {
    let mut broker = Broker::start_to_stay(&[]);
    let api = Http::new(broker.http());
    let (name, port) = socket(&api, json!({"durable": true}));
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.send_all((0..1000).map(|number: u32| number.to_string().into_bytes()));
    until("all are there", SOON, || messages(&api, &name) == 1000);
    // What is read after them was read after they were safe.
    peer.command(&Command::Ping {
        ttl: 0,
        context: b"safe",
    });
    assert_eq!(peer.next(SOON), Some(Received::Pong(b"safe".to_vec())));
    broker.kill();
    let broker = broker.restart();
    let api = Http::new(broker.http());
    assert_eq!(messages(&api, &name), 1000);
    until("the socket is there", SOON, || {
        api.request("GET", &path(&name), None).status == 200
    });
    // It listens where it did, if it says where; any free port was another one.
    assert_eq!(api.get(&path(&name))["state"], "running");
}

#[test]
fn a_stop_takes_what_was_sent_before_it() {
    let mut broker = Broker::start_to_stay(&[]);
    let api = Http::new(broker.http());
    let (name, port) = socket(&api, json!({"durable": true}));
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.send_all((0..5000).map(|number: u32| number.to_string().into_bytes()));
    assert!(broker.terminate(SOON).success());
    assert!(peer.ends(SOON));
    let broker = broker.restart();
    assert_eq!(messages(&Http::new(broker.http()), &name), 5000);
}

#[test]
fn a_peer_is_not_read_while_memory_is_short() {
    let broker = Broker::start_with(&["--memory-watermark", "16MiB"]);
    let api = Http::new(broker.http());
    let (name, port) = socket(&api, json!({}));
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.stream()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let body = vec![7; 64 * 1024];
    let mut sent = 0;
    let stopped = loop {
        match peer.try_send(&[&body]) {
            Ok(()) => sent += body.len(),
            Err(error) => break error,
        }
        assert!(sent < 256 << 20, "it is read on and on");
    };
    assert!(
        [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&stopped.kind()),
        "{stopped}"
    );
    until("the connection is blocked", SOON, || {
        let all = api.get("/api/connections");
        all.as_array()
            .expect("rows")
            .iter()
            .any(|row| row["state"] == "blocked")
    });
    // With room it goes on: part of a message has been sent, so only that it is read again can be seen.
    let before = api.get(&path(&name))["bytes_in"].as_u64();
    assert_eq!(
        api.request("DELETE", &format!("/api/queues/%2F/{name}/contents"), None)
            .status,
        204
    );
    until("it is read again", SOON, || {
        api.get(&path(&name))["bytes_in"].as_u64() > before
    });
}

#[test]
fn what_is_too_large_ends_the_connection() {
    let api = Http::new(Broker::shared().http());
    let (name, port) = socket(&api, json!({"max-message": 1000, "max-frames": 3}));
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.send(&[&[1; 1000]]);
    peer.send(&[b"a", b"b", b"c"]);
    until("both are there", SOON, || messages(&api, &name) == 2);
    for wrong in [&[&[1_u8; 1001][..]][..], &[b"a", b"b", b"c", b"d"]] {
        let mut peer = Peer::connect(port, SocketType::Push);
        peer.send(wrong);
        assert!(peer.ends(SOON));
    }
    // Announced, and never sent.
    let mut peer = Peer::connect(port, SocketType::Push);
    peer.octets(&[2, 0x80, 0, 0, 0, 0, 0, 0, 0]).expect("sent");
    assert!(peer.ends(SOON));
    assert_eq!(messages(&api, &name), 2);
}

#[test]
fn whoever_speaks_something_else_is_cut_off() {
    let api = Http::new(Broker::shared().http());
    let (_, port) = socket(&api, json!({}));
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // The greeting, which both sides send at once, and the end.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() <= 64, "{answer:?}");
}
