//! Rights: those that AMQP's clients need for the same.

use harness::Broker;
use harness::http::Http;
use harness::requests::unique;
use harness::zeromq::{Peer, settings};
use leveret_zmtp::SocketType;
use serde_json::json;

use crate::{SOON, declare};

/// A user with these rights (configure, write, read).
fn user(api: &Http, [configure, write, read]: [&str; 3]) -> String {
    let name = unique("user");
    let user = json!({"password": "secret", "tags": ""});
    assert_eq!(
        api.request("PUT", &format!("/api/users/{name}"), Some(&user)).status,
        201
    );
    let rights = json!({"configure": configure, "write": write, "read": read});
    let put = api.request("PUT", &format!("/api/permissions/%2F/{name}"), Some(&rights));
    assert!([201, 204].contains(&put.status));
    name
}

/// True if a peer of the user is let in by a socket.
fn is_let_in(api: &Http, socket_type: SocketType, mut value: serde_json::Value, user: &str) -> bool {
    value["listen"] = json!("tcp://127.0.0.1:0");
    value["user"] = json!(user);
    let port = declare(api, &unique("rights"), &value);
    match Peer::try_connect(port, settings(socket_type)) {
        // What is refused after the handshake ends soon.
        Ok(mut peer) => !peer.ends(std::time::Duration::from_millis(300)),
        Err(_) => false,
    }
}

#[test]
fn each_type_needs_the_right_of_amqp() {
    let api = Http::new(Broker::shared().http());
    let (queue, exchange) = (unique("rights"), unique("rights"));
    assert_eq!(
        api.request("PUT", &format!("/api/queues/%2F/{queue}"), Some(&json!({})))
            .status,
        201
    );
    let kind = json!({"type": "x-prefix"});
    assert_eq!(
        api.request("PUT", &format!("/api/exchanges/%2F/{exchange}"), Some(&kind))
            .status,
        201
    );
    let writer = user(&api, ["", ".*", ""]);
    let reader = user(&api, ["", "", ".*"]);
    let types = [
        (
            SocketType::Push,
            json!({"type": "pull", "queue": queue}),
            &writer,
            &reader,
        ),
        (
            SocketType::Pull,
            json!({"type": "push", "queue": queue}),
            &reader,
            &writer,
        ),
        (
            SocketType::Pub,
            json!({"type": "sub", "exchange": exchange}),
            &writer,
            &reader,
        ),
        (
            SocketType::Sub,
            json!({"type": "pub", "exchange": exchange}),
            &reader,
            &writer,
        ),
        (
            SocketType::Req,
            json!({"type": "router", "queue": queue}),
            &writer,
            &reader,
        ),
        (
            SocketType::Rep,
            json!({"type": "dealer", "queue": queue}),
            &reader,
            &writer,
        ),
    ];
    // Who is refused is kept waiting for a while: all at the same time.
    std::thread::scope(|scope| {
        for (socket_type, value, let_in, refused) in types {
            let api = Http::new(Broker::shared().http());
            scope.spawn(move || {
                assert!(is_let_in(&api, socket_type, value.clone(), let_in), "{value}");
                assert!(!is_let_in(&api, socket_type, value.clone(), refused), "{value}");
            });
        }
    });
}

/// A worker that may read the queue and not publish is cut off when it answers.
#[test]
fn a_worker_needs_the_right_to_answer() {
    let broker = Broker::shared();
    let api = Http::new(broker.http());
    let queue = unique("rights");
    assert_eq!(
        api.request("PUT", &format!("/api/queues/%2F/{queue}"), Some(&json!({})))
            .status,
        201
    );
    let socket =
        |kind: &str, user: &str| json!({"listen": "tcp://127.0.0.1:0", "type": kind, "queue": queue, "user": user});
    let reader = user(&api, ["", "", ".*"]);
    let clients = declare(&api, &unique("clients"), &socket("router", "guest"));
    let workers = declare(&api, &unique("workers"), &socket("dealer", &reader));
    let mut client = Peer::connect(clients, SocketType::Req);
    let mut worker = Peer::connect(workers, SocketType::Rep);
    client.send(&[b"", b"question"]);
    let asked = worker.receive();
    worker.send(&[&asked[0], b"", b"answer"]);
    assert!(worker.ends(SOON));
}
