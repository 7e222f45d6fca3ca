//! Durable PUSH sockets, and ends of the broker.

use std::time::{Duration, Instant};

use harness::Broker;
use harness::http::Http;
use harness::wait::until;
use harness::zeromq::{Peer, settings};
use leveret_zmtp::SocketType;
use serde_json::{Value, json};

use crate::{SOON, declare, path, port};

/// A broker of the test's own with a durable queue, and a durable socket on a port that stays.
struct Place {
    broker: Broker,
    port: u16,
}

impl Place {
    fn new() -> Place {
        let broker = Broker::start();
        let api = Http::new(broker.http());
        assert_eq!(
            api.request("PUT", "/api/queues/%2F/jobs", Some(&json!({"durable": true})))
                .status,
            201
        );
        // A port of the system's choice, named from then on: it is the same after a restart.
        let mut value =
            json!({"listen": "tcp://127.0.0.1:0", "type": "pull", "queue": "jobs", "user": "guest", "durable": true});
        let port = declare(&api, "in", &value);
        value["listen"] = json!(format!("tcp://127.0.0.1:{port}"));
        assert_eq!(declare(&api, "in", &value), port);
        Place { broker, port }
    }

    fn api(&self) -> Http {
        Http::new(self.broker.http())
    }

    fn messages(&self) -> u64 {
        self.api().get("/api/queues/%2F/jobs")["messages"]
            .as_u64()
            .unwrap_or_default()
    }

    /// Takes so many messages, in portions that fit an answer, and gives their numbers.
    fn numbers(&self, count: usize) -> Vec<u32> {
        let body = json!({"count": 10_000, "ackmode": "ack_requeue_false", "encoding": "auto"});
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let taken = self
                .api()
                .request("POST", "/api/queues/%2F/jobs/get", Some(&body))
                .json();
            let taken = taken.as_array().expect("messages").clone();
            assert!(!taken.is_empty(), "{} of {count}", numbers.len());
            let number = |message: &Value| message["payload"].as_str()?.parse::<u32>().ok();
            numbers.extend(taken.iter().filter_map(number));
        }
        numbers
    }

    /// Connects as ZeroMQ's sockets do: again and again.
    fn reconnect(&self) -> Peer {
        let begin = Instant::now();
        loop {
            match Peer::try_connect(self.port, settings(SocketType::Push)) {
                Ok(peer) => return peer,
                Err(error) => assert!(begin.elapsed() < SOON, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// No message is acknowledged in ZMTP. But what has been counted has been stored, and nothing is missing before it.
#[test]
fn after_a_crash_the_first_messages_are_there_without_a_gap() {
    let mut place = Place::new();
    let mut peer = place.reconnect();
    let mut sent = 0_u32;
    let mut seen = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        peer.send_all((sent..sent + 100).map(|number| number.to_string().into_bytes()));
        sent += 100;
        if sent.is_multiple_of(1000) {
            seen = place.messages();
        }
    }
    place.broker.kill();
    place.broker = place.broker.restart();
    let stored = place.messages();
    assert!(
        seen > 0 && stored >= seen && stored <= u64::from(sent),
        "{seen} seen, {stored} stored, {sent} sent"
    );
    let numbers = place.numbers(stored as usize);
    assert!(
        numbers.iter().copied().eq(0..stored as u32),
        "{} of {stored}",
        numbers.len()
    );
}

#[test]
fn a_peer_comes_back_after_a_restart_and_goes_on() {
    let mut place = Place::new();
    let mut peer = place.reconnect();
    peer.send(&[b"1"]);
    until("it has come", SOON, || place.messages() == 1);
    place.broker.terminate(Duration::from_secs(20));
    assert!(peer.ends(SOON));
    place.broker = place.broker.restart();
    let mut peer = place.reconnect();
    peer.send(&[b"2"]);
    until("both are there", SOON, || place.messages() == 2);
    assert_eq!(place.numbers(2), [1, 2]);
    assert_eq!(port(&place.api().get(&path("in"))), place.port);
}
