//! PULL: messages of PUSH sockets, published to a queue or an exchange.

use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use harness::wait::until;
use harness::zeromq::{Peer, settings};
use leveret_zmtp::SocketType;
use serde_json::{Value, json};

use crate::{declare, path, pull};

/// The time that figures and reactions may take.
const SOON: Duration = Duration::from_secs(10);

/// A queue, and a socket that publishes to it.
struct Place {
    api: Http,
    queue: String,
    port: u16,
}

impl Place {
    fn new(queue: Value, socket: Value) -> Place {
        Place::on(Broker::shared(), queue, socket)
    }

    fn on(broker: &Broker, queue: Value, mut socket: Value) -> Place {
        let api = Http::new(broker.http());
        let name = unique("pull");
        if !queue.is_null() {
            let put = api.request("PUT", &format!("/api/queues/%2F/{name}"), Some(&queue));
            assert_eq!(put.status, 201);
        }
        socket["queue"] = json!(name);
        let port = declare(&api, &name, &pull(socket));
        Place { api, queue: name, port }
    }

    fn peer(&self) -> Peer {
        Peer::connect(self.port, SocketType::Push)
    }

    fn messages(&self) -> u64 {
        let queue = self.api.get(&format!("/api/queues/%2F/{}", self.queue));
        queue["messages"].as_u64().unwrap_or_default()
    }

    /// So many messages come to lie in the queue.
    fn has(&self, count: u64) {
        until(&format!("{count} messages"), SOON, || self.messages() == count);
    }

    /// Takes so many messages, with their properties.
    fn take(&self, count: u64) -> Vec<Value> {
        let path = format!("/api/queues/%2F/{}/get", self.queue);
        let body = json!({"count": count, "ackmode": "ack_requeue_false", "encoding": "auto"});
        self.api
            .request("POST", &path, Some(&body))
            .json()
            .as_array()
            .expect("messages")
            .clone()
    }

    fn socket(&self) -> Value {
        self.api.get(&path(&self.queue))
    }
}

#[test]
fn messages_are_published_with_their_frames() {
    let place = Place::new(json!({}), json!({}));
    let mut peer = place.peer();
    peer.send(&[b"one"]);
    peer.send(&[b"a", b"", b"ccc"]);
    peer.send(&[b""]);
    place.has(3);
    let socket = place.socket();
    assert_eq!((&socket["peers"], &socket["messages_in"]), (&json!(1), &json!(3)));
    let taken = place.take(3);
    let bodies: Vec<_> = taken
        .iter()
        .map(|message| message["payload"].as_str().expect("a text"))
        .collect();
    assert_eq!(bodies, ["one", "accc", ""]);
    assert_eq!(taken[0]["properties"], json!({}), "nothing is added to one frame");
    assert_eq!(taken[1]["properties"]["headers"], json!({"x-zmq-frames": [1, 0, 3]}));
    assert_eq!(taken[0]["routing_key"], json!(place.queue));
}

#[test]
fn a_thousand_in_one_write_keep_their_order() {
    let place = Place::new(json!({}), json!({}));
    let mut peer = place.peer();
    peer.send_all((0..1000).map(|number: u32| number.to_string().into_bytes()));
    place.has(1000);
    let taken = place.take(1000);
    let numbers = taken
        .iter()
        .map(|message| message["payload"].as_str().expect("a text").parse());
    assert!(numbers.eq((0..1000).map(Ok::<u32, _>)));
}

#[test]
fn a_peer_is_a_connection_like_others() {
    let place = Place::new(json!({}), json!({}));
    let mut peer = place.peer();
    peer.send(&[b"one"]);
    place.has(1);
    let mut found = None;
    until("the connection is listed", SOON, || {
        let all = place.api.get("/api/connections");
        let ours = |row: &&Value| row["client_properties"]["socket"] == json!(place.queue);
        found = all.as_array().expect("rows").iter().find(ours).cloned();
        found.is_some()
    });
    let found = found.expect("a connection");
    for (field, expected) in [
        ("protocol", json!("ZMTP 3.1")),
        ("auth_mechanism", json!("NULL")),
        ("user", json!("guest")),
        ("vhost", json!("/")),
        ("channels", json!(1)),
        ("port", json!(place.port)),
        ("state", json!("running")),
    ] {
        assert_eq!(found[field], expected, "{field}");
    }
    assert_eq!(found["client_properties"]["product"], "ZeroMQ");
    assert_eq!(found["client_properties"]["socket_type"], "PUSH");
    let name = found["name"]
        .as_str()
        .expect("a name")
        .replace(' ', "%20")
        .replace('>', "%3E");
    assert_eq!(
        place
            .api
            .request("DELETE", &format!("/api/connections/{name}"), None)
            .status,
        204
    );
    assert!(peer.ends(SOON));
    until("it is gone", SOON, || place.socket()["peers"] == json!(0));
}

#[test]
fn peers_go_with_their_socket() {
    let place = Place::new(json!({}), json!({}));
    let mut peer = place.peer();
    peer.send(&[b"before"]);
    assert_eq!(place.api.request("DELETE", &path(&place.queue), None).status, 204);
    assert!(peer.ends(SOON));
    place.has(1);
}

#[test]
fn a_full_queue_makes_the_peer_wait_and_nothing_is_lost() {
    let limited = json!({"arguments": {"x-max-length": 10, "x-overflow": "reject-publish"}});
    let place = Place::new(limited, json!({}));
    let mut peer = place.peer();
    peer.send_all((0..100).map(|number: u32| number.to_string().into_bytes()));
    let mut found = Vec::new();
    until("all of them", SOON, || {
        let taken = place.take(100);
        found.extend(
            taken
                .iter()
                .map(|message| message["payload"].as_str().expect("a text").to_owned()),
        );
        found.len() >= 100
    });
    assert!(
        found.iter().map(|text| text.parse()).eq((0..100).map(Ok::<u32, _>)),
        "{found:?}"
    );
    assert_eq!(place.socket()["messages_dropped"], json!(0));
}

#[test]
fn without_its_queue_peers_wait_until_it_is_there() {
    let place = Place::new(Value::Null, json!({}));
    let refused = Peer::try_connect(place.port, settings(SocketType::Push))
        .map(drop)
        .expect_err("refused");
    assert_eq!(
        refused.kind(),
        std::io::ErrorKind::UnexpectedEof,
        "without a word: {refused}"
    );
    let queue = format!("/api/queues/%2F/{}", place.queue);
    assert_eq!(place.api.request("PUT", &queue, Some(&json!({}))).status, 201);
    let mut peer = place.peer();
    peer.send(&[b"one"]);
    place.has(1);
    // Gone amid the connection: messages are kept until it is there again.
    assert_eq!(place.api.request("DELETE", &queue, None).status, 204);
    peer.send(&[b"two"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(place.api.request("PUT", &queue, Some(&json!({}))).status, 201);
    place.has(1);
    assert_eq!(place.take(1)[0]["payload"], "two");
}

#[test]
fn sockets_that_do_not_fit_are_told() {
    let place = Place::new(json!({}), json!({}));
    for socket_type in [SocketType::Pair, SocketType::Pull, SocketType::Req] {
        let refused = Peer::try_connect(place.port, settings(socket_type))
            .map(drop)
            .expect_err("refused");
        let expected = format!("peer refused: socket type {socket_type} does not fit PULL");
        assert_eq!(refused.to_string(), expected);
    }
}
