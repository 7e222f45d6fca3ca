//! Peers of ZeroMQ's sockets: what they can make the broker hold before and after they have logged in.
//!
//! In: peers that never log in, flood, announce much, read nothing. Out: no more memory than their share, an end for
//! those who break the protocol, and a bystander on AMQP who goes on working.

use crate::bystander::Bystander;
use crate::small_broker;
use harness::Broker;
use harness::control_group::ControlGroup;
use harness::http::Http;
use harness::requests::unique;
use harness::wait::until;
use harness::zeromq::Peer;
use leveret_zmtp::{Command, SocketType};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// The greeting of a peer with mechanism NULL, 64 octets.
fn greeting() -> Vec<u8> {
    let mut octets = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1];
    octets.extend_from_slice(b"NULL");
    octets.resize(64, 0);
    octets
}

/// A socket of PULL on a queue: its port.
fn pull(broker: &Broker, queue: &Value, more: &Value) -> (Http, String, u16) {
    let api = Http::new(broker.http());
    let name = unique("zeromq");
    let put = |path: &str, body: &Value| {
        api.request("PUT", &format!("/api/{path}/%2F/{name}"), Some(body))
            .status
    };
    assert_eq!(put("queues", queue), 201);
    let mut value = json!({"listen": "tcp://127.0.0.1:0", "type": "pull", "queue": name, "user": "guest"});
    for (field, other) in more.as_object().expect("fields") {
        value[field] = other.clone();
    }
    assert_eq!(put("zeromq/sockets", &value), 201);
    let address = api.get(&format!("/api/zeromq/sockets/%2F/{name}"))["address"].clone();
    let port = address.as_str().and_then(|address| address.rsplit(':').next());
    let port = port.and_then(|port| port.parse().ok()).expect("a port");
    (api, name, port)
}

/// A broker of little memory with such a socket, and a bystander.
struct Scene {
    group: ControlGroup,
    broker: Broker,
    api: Http,
    name: String,
    port: u16,
    bystander: Bystander,
}

impl Scene {
    fn new(settings: &[&str], queue: Value, more: Value) -> Option<Scene> {
        let (group, broker) = small_broker(settings)?;
        let (api, name, port) = pull(&broker, &queue, &more);
        let bystander = Bystander::start(broker.amqp());
        Some(Scene {
            group,
            broker,
            api,
            name,
            port,
            bystander,
        })
    }

    fn figure(&self, field: &str) -> u64 {
        let socket = self.api.get(&format!("/api/zeromq/sockets/%2F/{}", self.name));
        socket[field].as_u64().expect("a number")
    }

    /// The bystander was served all the time, new peers are, and the broker was not killed.
    fn end(self) {
        let mut peer = Peer::connect(self.port, SocketType::Push);
        let before = self.figure("messages_in");
        peer.send(&[b"after"]);
        until("a new peer is served", SOON, || self.figure("messages_in") > before);
        let seen = self.bystander.end();
        assert!(seen.confirmed > 0 && seen.slowest < SOON, "{seen:?}");
        assert_eq!(self.group.killed(), 0);
        drop(self.broker);
    }
}

/// True if the broker has ended the connection. What it had said before is read.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// A peer that has greeted and begun a READY of 1,000 octets, and sends no more.
fn unfinished(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
    let ready = [&[6, 0, 0, 0, 0, 0, 0, 3, 0xe8][..], &[5], b"READY", &[0; 900]].concat();
    stream
        .write_all(&[greeting(), ready].concat())
        .expect("the broker reads");
    stream.set_nonblocking(true).expect("a TCP socket");
    stream
}

#[test]
fn peers_that_do_not_log_in_have_a_share_of_memory() {
    // The share is a quarter: 4 MiB, for connections of some 4 KiB each.
    let settings = ["--memory-watermark", "16MiB", "--handshake-timeout", "60s"];
    let Some(scene) = Scene::new(&settings, json!({}), json!({})) else {
        return;
    };
    let before = scene.group.anonymous();
    let mut strangers: Vec<TcpStream> = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        strangers.extend((0..1500).map(|_| unfinished(scene.port)));
        until("the oldest have to go", SOON, || {
            strangers.iter_mut().map(has_ended).filter(|ended| !ended).count() <= 1400
        });
        taken.push(scene.group.anonymous().saturating_sub(before));
    }
    assert!(
        !has_ended(strangers.last_mut().expect("3000 of them")),
        "the newest stay"
    );
    assert!(taken.iter().all(|bytes| *bytes < 12 << 20), "{taken:?}");
    drop(strangers);
    scene.end();
}

#[test]
fn half_open_peers_go_in_time() {
    let Some(scene) = Scene::new(&["--handshake-timeout", "2s"], json!({}), json!({})) else {
        return;
    };
    for _ in 0..2 {
        let mut strangers: Vec<TcpStream> = (0..1000)
            .map(|_| {
                let stream = TcpStream::connect(("127.0.0.1", scene.port)).expect("the broker listens");
                stream.set_nonblocking(true).expect("a TCP socket");
                stream
            })
            .collect();
        until("all have to go", SOON, || strangers.iter_mut().all(has_ended));
    }
    scene.end();
}

#[test]
fn lengths_beyond_all_bounds_cost_nothing() {
    let Some(scene) = Scene::new(&[], json!({}), json!({})) else {
        return;
    };
    let before = scene.group.anonymous();
    let lengths = [1 << 28, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX];
    for length in lengths {
        // Before the handshake is through, and after it.
        let mut stream = TcpStream::connect(("127.0.0.1", scene.port)).expect("the broker listens");
        let head = [&[6][..], &length.to_be_bytes()].concat();
        stream
            .write_all(&[greeting(), head].concat())
            .expect("the broker reads");
        stream.set_nonblocking(true).expect("a TCP socket");
        until("it has to go", SOON, || has_ended(&mut stream));
        for flags in [2, 3, 6] {
            let mut peer = Peer::connect(scene.port, SocketType::Push);
            peer.octets(&[&[flags][..], &length.to_be_bytes()].concat())
                .expect("sent");
            assert!(peer.ends(SOON), "{flags} {length}");
        }
    }
    assert!(scene.group.anonymous().saturating_sub(before) < 16 << 20);
    scene.end();
}

#[test]
fn messages_that_do_not_come_whole_have_a_share_of_memory() {
    // The share is a quarter: 12 MiB, room for two or three of 4 MiB.
    let Some(scene) = Scene::new(&["--memory-watermark", "48MiB"], json!({}), json!({})) else {
        return;
    };
    let before = scene.group.anonymous();
    let part = vec![0; 3 << 20];
    let mut taken = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..2 {
        for _ in 0..5 {
            let mut peer = Peer::connect(scene.port, SocketType::Push);
            let head = [&[2][..], &(4_u64 << 20).to_be_bytes()].concat();
            peer.stream().set_nonblocking(true).expect("a TCP socket");
            // As much as the system takes for a broker that doesn't read.
            let _ = peer.octets(&[&head[..], &part].concat());
            peers.push(peer);
        }
        std::thread::sleep(Duration::from_secs(1));
        taken.push(scene.group.anonymous().saturating_sub(before));
    }
    assert!(taken.iter().all(|bytes| *bytes < 64 << 20), "{taken:?}");
    // One who sends all of it has its turn: those that stand still go.
    let mut honest = Peer::connect(scene.port, SocketType::Push);
    honest.send(&[&vec![1; 4 << 20]]);
    until("it has its turn", Duration::from_secs(60), || {
        scene.figure("messages_in") == 1
    });
    drop(peers);
    scene.end();
}

#[test]
fn a_flood_of_messages_stops_at_the_memory_limit() {
    let Some(scene) = Scene::new(&["--memory-watermark", "48MiB"], json!({}), json!({})) else {
        return;
    };
    let begun = Instant::now();
    let floods: Vec<_> = (0..8)
        .map(|_| {
            let port = scene.port;
            std::thread::spawn(move || {
                let mut peer = Peer::connect(port, SocketType::Push);
                peer.stream()
                    .set_write_timeout(Some(Duration::from_secs(2)))
                    .expect("a timeout");
                // Messages without an octet, and of 200: each is an entry of the queue.
                let batch = [
                    &[0, 0].repeat(2000)[..],
                    &[&[0, 200][..], &[7; 200]].concat().repeat(2000),
                ]
                .concat();
                while begun.elapsed() < Duration::from_secs(20) && peer.octets(&batch).is_ok() {}
            })
        })
        .collect();
    for flood in floods {
        flood.join().expect("a thread");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "they were read on and on");
    assert_eq!(scene.group.killed(), 0);
    let contents = format!("/api/queues/%2F/{}/contents", scene.name);
    assert_eq!(scene.api.request("DELETE", &contents, None).status, 204);
    scene.end();
}

#[test]
fn frames_without_end_are_one_message_too_many() {
    let Some(scene) = Scene::new(&[], json!({}), json!({})) else {
        return;
    };
    // Of each message the last frame never comes.
    for frame in [&[1, 0][..], &[1, 1, 7]] {
        let mut peer = Peer::connect(scene.port, SocketType::Push);
        let sent = peer.octets(&frame.repeat(100_000));
        assert!(sent.is_err() || peer.ends(SOON));
    }
    scene.end();
}

#[test]
fn commands_without_end_are_answered_as_they_are_read() {
    let Some(scene) = Scene::new(&["--memory-watermark", "48MiB"], json!({}), json!({})) else {
        return;
    };
    let before = scene.group.anonymous();
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::connect(scene.port, SocketType::Push)).collect();
    let ping = [&[4, 23, 4][..], b"PING", &[0, 0], &[b'x'; 16]].concat();
    let unknown = [&[4, 5, 4][..], b"JUNK"].concat();
    for peer in &mut peers {
        let stream = peer.stream();
        stream
            .set_write_timeout(Some(Duration::from_millis(300)))
            .expect("a timeout");
        // None of the answers is read: at some time no more questions are.
        let mut sent = 0;
        while sent < 64 << 20 && peer.octets(&ping.repeat(20_000)).is_ok() {
            sent += ping.len() * 20_000;
        }
        assert!(sent < 64 << 20, "it is answered on and on");
    }
    let taken = scene.group.anonymous().saturating_sub(before);
    assert!(taken < 100 << 20, "{taken}");
    drop(peers);
    let mut peer = Peer::connect(scene.port, SocketType::Push);
    peer.octets(&unknown.repeat(100_000))
        .expect("what is not known is passed over");
    peer.send(&[b"and goes on"]);
    until("it goes on", SOON, || scene.figure("messages_in") == 1);
    scene.end();
}

#[test]
fn peers_of_a_full_queue_hold_one_batch_each() {
    let full = json!({"arguments": {"x-max-length": 1, "x-overflow": "reject-publish"}});
    let Some(scene) = Scene::new(&["--memory-watermark", "48MiB"], full, json!({})) else {
        return;
    };
    let before = scene.group.anonymous();
    let mut taken = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..2 {
        for _ in 0..25 {
            let mut peer = Peer::connect(scene.port, SocketType::Push);
            peer.stream()
                .set_write_timeout(Some(Duration::from_millis(100)))
                .expect("a timeout");
            let _ = peer.octets(&[&[0, 100][..], &[7; 100]].concat().repeat(100_000));
            peers.push(peer);
        }
        taken.push(scene.group.anonymous().saturating_sub(before));
    }
    assert!(taken.iter().all(|bytes| *bytes < 100 << 20), "{taken:?}");
    // With them go what they had sent and nobody took: the socket is closed, so that they need not wait for room.
    let socket = format!("/api/zeromq/sockets/%2F/{}", scene.name);
    assert_eq!(scene.api.request("DELETE", &socket, None).status, 204);
    until("all have gone", SOON, || {
        let all = scene.api.get("/api/connections");
        let is_peer = |row: &Value| row["protocol"] == "ZMTP 3.1";
        !all.as_array().expect("rows").iter().any(is_peer)
    });
    let seen = scene.bystander.end();
    assert!(seen.confirmed > 3 && seen.slowest < SOON, "{seen:?}");
    assert_eq!(scene.group.killed(), 0);
}

/// Another socket of the scene's vhost: its port.
fn socket(api: &Http, value: &Value) -> u16 {
    let path = format!("/api/zeromq/sockets/%2F/{}", unique("zeromq"));
    assert_eq!(api.request("PUT", &path, Some(value)).status, 201);
    let address = api.get(&path)["address"].clone();
    let port = address.as_str().and_then(|address| address.rsplit(':').next());
    port.and_then(|port| port.parse().ok()).expect("a port")
}

/// So many messages of 1 KiB from one peer.
fn messages(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| [&number.to_be_bytes()[..], &[7; 1016]].concat())
}

#[test]
fn consumers_that_read_nothing_hold_little_and_give_all_of_it_back() {
    const COUNT: usize = 40_000;
    let Some(scene) = Scene::new(&["--memory-watermark", "96MiB"], json!({}), json!({})) else {
        return;
    };
    let value = json!({"listen": "tcp://127.0.0.1:0", "type": "push", "queue": scene.name, "user": "guest"});
    let port = socket(&scene.api, &value);
    let before = scene.group.anonymous();
    let readers = [(); 2].map(|()| Peer::connect(port, SocketType::Pull));
    let mut sender = Peer::connect(scene.port, SocketType::Push);
    sender.send_all(messages(COUNT));
    until("all of them are in", SOON, || {
        scene.figure("messages_in") == COUNT as u64
    });
    let taken = scene.group.anonymous().saturating_sub(before);
    assert!(taken < 128 << 20, "{taken}");
    drop(readers);
    let queue = format!("/api/queues/%2F/{}", scene.name);
    until("those that were not written are back", SOON, || {
        let shown = scene.api.get(&queue);
        shown["consumers"] == json!(0) && shown["messages_unacknowledged"] == json!(0)
    });
    // Gone is what the system's buffers took: of each a few MiB.
    let left = scene.api.get(&queue)["messages"].as_u64().expect("a number");
    assert!(left > 0 && left < COUNT as u64, "{left}");
    let contents = format!("{queue}/contents");
    assert_eq!(scene.api.request("DELETE", &contents, None).status, 204);
    scene.end();
}

#[test]
fn subscribers_that_read_nothing_lose_what_is_beyond_their_hwm() {
    const COUNT: usize = 20_000;
    let Some(scene) = Scene::new(&["--memory-watermark", "96MiB"], json!({}), json!({})) else {
        return;
    };
    let exchange = unique("topics");
    let path = format!("/api/exchanges/%2F/{exchange}");
    let kind = json!({"type": "x-prefix"});
    assert_eq!(scene.api.request("PUT", &path, Some(&kind)).status, 201);
    let of = |role: &str| {
        json!({"listen": "tcp://127.0.0.1:0", "type": role, "exchange": exchange,
            "user": "guest", "hwm": 100})
    };
    let mut publish = of("xsub");
    publish.as_object_mut().expect("fields").remove("hwm");
    let (into, out) = (socket(&scene.api, &publish), socket(&scene.api, &of("xpub")));
    let before = scene.group.anonymous();
    let mut readers: Vec<Peer> = (0..100).map(|_| Peer::connect(out, SocketType::Sub)).collect();
    for reader in &mut readers {
        reader.command(&Command::Subscribe(b""));
    }
    let bindings = format!("/api/exchanges/%2F/{exchange}/bindings/source");
    until("all have subscribed", SOON, || {
        scene.api.get(&bindings).as_array().is_some_and(|all| all.len() == 100)
    });
    let mut sender = Peer::connect(into, SocketType::Pub);
    sender.send_all(messages(COUNT));
    let published = || scene.api.get(&path)["message_stats"]["publish_in"].as_u64();
    until("nobody is waited for", Duration::from_secs(60), || {
        published() == Some(COUNT as u64)
    });
    let taken = scene.group.anonymous().saturating_sub(before);
    assert!(taken < 128 << 20, "{taken}");
    drop(readers);
    scene.end();
}
