//! ROUTER and DEALER: requests and replies, between ZeroMQ's sockets and AMQP's clients in all four ways.

use std::time::Duration;

use bytes::Bytes;
use harness::Client;
use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::zeromq::{Peer, settings};
use harness::{Broker, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, ShortString};
use leveret_zmtp::{ClientSettings, SocketType};
use serde_json::{Value, json};

use crate::{SOON, declare, figures};

/// A queue of requests with a socket on each side.
struct Place {
    api: Http,
    queue: String,
    clients: u16,
    workers: u16,
    amqp: Client,
}

impl Place {
    fn new(router: Value) -> Place {
        Place::with(&QueueDeclare::default(), router)
    }

    fn with(queue: &QueueDeclare, router: Value) -> Place {
        let (api, name) = (Http::new(Broker::shared().http()), unique("requests"));
        let mut amqp = Client::with_channel(Broker::shared().amqp());
        let declared = QueueDeclare {
            queue: ShortString::truncated(&name),
            ..queue.clone()
        };
        call!(amqp, 1, declared => QueueDeclareOk);
        let socket = |kind: &str| json!({"listen": "tcp://127.0.0.1:0", "type": kind, "queue": name, "user": "guest"});
        let mut clients = socket("router");
        for (field, value) in router.as_object().expect("fields") {
            clients[field] = value.clone();
        }
        Place {
            clients: declare(&api, &name, &clients),
            workers: declare(&api, &format!("{name}-work"), &socket("dealer")),
            api,
            queue: name,
            amqp,
        }
    }

    fn client(&self, socket_type: SocketType) -> Peer {
        Peer::connect(self.clients, socket_type)
    }

    fn worker(&self, socket_type: SocketType) -> Peer {
        Peer::connect(self.workers, socket_type)
    }

    /// The next request, for a worker of AMQP's.
    fn request(&mut self) -> (BasicProperties, Bytes) {
        let mut request = None;
        until("a request", SOON, || {
            request = self.amqp.get(1, &self.queue, true);
            request.is_some()
        });
        let request = request.expect("a request");
        let properties = BasicProperties::parse(&request.properties).expect("properties");
        (properties, request.body)
    }

    /// Answers as a worker of AMQP's.
    fn reply(&mut self, request: &BasicProperties, correlated: bool, body: &[u8]) {
        let properties = BasicProperties {
            correlation_id: request.correlation_id.clone().filter(|_| correlated),
            ..BasicProperties::default()
        };
        let reply_to = request.reply_to.as_ref().expect("reply-to").to_str_lossy().into_owned();
        self.amqp
            .publish_with(1, publish("", &reply_to), &properties.to_bytes(), body);
    }
}

/// Frames as texts.
fn text(frames: &[Vec<u8>]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| std::str::from_utf8(frame).expect("a text"))
        .collect()
}

#[test]
fn a_worker_of_amqp_answers_in_any_order() {
    let mut place = Place::new(json!({}));
    let mut client = place.client(SocketType::Dealer);
    client.send(&[b"envelope", b"id", b"", b"first"]);
    client.send(&[b"", b"second", b"frame"]);
    client.send(&[b"third", b"without an empty frame"]);
    let requests = [place.request(), place.request(), place.request()];
    let bodies = requests.each_ref().map(|(_, body)| &body[..]);
    assert_eq!(bodies, [&b"first"[..], b"secondframe", b"thirdwithout an empty frame"]);
    place.reply(&requests[2].0, true, b"3");
    assert_eq!(text(&client.receive()), ["3"]);
    place.reply(&requests[1].0, true, b"2");
    assert_eq!(text(&client.receive()), ["", "2"]);
    place.reply(&requests[0].0, false, b"1");
    assert_eq!(
        text(&client.receive()),
        ["envelope", "id", "", "1"],
        "without correlation-id: the oldest"
    );
    place.reply(&requests[0].0, true, b"again");
    until("a reply to nothing is counted", SOON, || {
        figures(&place.api, &place.queue)["messages_dropped"] == json!(1)
    });
}

#[test]
fn req_and_rep_talk_through_the_broker() {
    let place = Place::new(json!({}));
    let mut worker = place.worker(SocketType::Rep);
    let named = ClientSettings {
        identity: Bytes::from_static(b"asker"),
        ..settings(SocketType::Req)
    };
    let mut client = Peer::try_connect(place.clients, named).expect("let in");
    for round in 0..20_u8 {
        client.send(&[b"", &[round], b"two"]);
        let asked = worker.receive();
        // What REP keeps for the answer ends with the empty frame.
        assert_eq!(
            (asked.len(), &asked[1][..], &asked[2][..]),
            (5, &b"asker"[..], &b""[..])
        );
        assert_eq!(asked[3..], [vec![round], b"two".to_vec()]);
        worker.send(&[&asked[0], &asked[1], b"", b"answer", &[round]]);
        assert_eq!(client.receive(), [vec![], b"answer".to_vec(), vec![round]]);
    }
    let rows = place.api.get(&format!("/api/queues/%2F/{}", place.queue));
    assert_eq!(rows["messages"], json!(0), "all are acknowledged");
}

#[test]
fn a_client_of_amqp_is_answered_by_a_worker() {
    let mut place = Place::new(json!({}));
    let mut worker = place.worker(SocketType::Dealer);
    let replies = unique("replies");
    call!(place.amqp, 1, exclusive(&replies) => QueueDeclareOk);
    let properties = BasicProperties {
        correlation_id: Some(ShortString::from_static("mine")),
        reply_to: Some(ShortString::truncated(&replies)),
        ..BasicProperties::default()
    };
    let queue = place.queue.clone();
    place
        .amqp
        .publish_with(1, publish("", &queue), &properties.to_bytes(), b"question");
    let asked = worker.receive();
    assert_eq!(
        (asked.len(), &asked[1][..], &asked[2][..]),
        (3, &b""[..], &b"question"[..])
    );
    worker.send(&[&asked[0], b"", b"answer", b"more"]);
    let mut answer = None;
    until("the answer", SOON, || {
        answer = place.amqp.get(1, &replies, true);
        answer.is_some()
    });
    let answer = answer.expect("an answer");
    let properties = BasicProperties::parse(&answer.properties).expect("properties");
    assert_eq!(properties.correlation_id, Some(ShortString::from_static("mine")));
    assert_eq!(&answer.body[..], b"answermore");
    // Nobody waits for an answer to this one: it is acknowledged all the same.
    place.amqp.publish(1, "", &queue, b"tell nobody");
    let asked = worker.receive();
    worker.send(&[&asked[0], b"", b"answer"]);
    until("it is acknowledged", SOON, || {
        place.api.get(&format!("/api/queues/%2F/{queue}"))["messages"] == json!(0)
    });
    worker.send(&[b"no token", b"", b"answer"]);
    until("it is dropped", SOON, || {
        figures(&place.api, &format!("{queue}-work"))["messages_dropped"] == json!(1)
    });
}

#[test]
fn a_worker_that_dies_gives_its_request_back() {
    let place = Place::new(json!({}));
    let mut worker = place.worker(SocketType::Rep);
    let mut client = place.client(SocketType::Req);
    client.send(&[b"", b"question"]);
    assert_eq!(worker.receive().last().expect("a body"), b"question");
    drop(worker);
    let mut other = place.worker(SocketType::Router);
    let asked = other.receive();
    assert_eq!(asked.last().expect("a body"), b"question");
    other.send(&[&asked[0], b"", b"answer"]);
    assert_eq!(text(&client.receive()), ["", "answer"]);
}

#[test]
fn a_worker_has_one_request_at_a_time() {
    let place = Place::new(json!({}));
    let mut workers = [place.worker(SocketType::Rep), place.worker(SocketType::Rep)];
    let mut client = place.client(SocketType::Dealer);
    for number in 0..3_u8 {
        client.send(&[b"", &[number]]);
    }
    let asked = workers.each_mut().map(|worker| worker.receive());
    assert!(
        workers
            .iter_mut()
            .all(|worker| worker.next(Duration::from_millis(100)).is_none())
    );
    let mut bodies: Vec<u8> = asked.iter().map(|frames| frames[2][0]).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [0, 1]);
    workers[1].send(&[&asked[1][0], b"", b"answer"]);
    assert_eq!(workers[1].receive()[2], [2]);
    assert_eq!(text(&client.receive()), ["", "answer"]);
}

#[test]
fn a_request_that_nobody_answers_comes_back_empty_in_its_time() {
    let place = Place::new(json!({"timeout": 300, "errors": true}));
    let mut client = place.client(SocketType::Req);
    client.send(&[b"", b"question"]);
    assert_eq!(client.next(Duration::from_millis(100)), None);
    assert_eq!(text(&client.receive()), ["", ""]);
    client.send(&[b"", b"another"]);
    assert_eq!(text(&client.receive()), ["", ""]);
    assert_eq!(figures(&place.api, &place.queue)["messages_dropped"], json!(2));
}

#[test]
fn a_request_that_leads_nowhere_comes_back_empty_if_asked_for() {
    let mut place = Place::with(
        &QueueDeclare {
            arguments: harness::scripted_client::table([
                ("x-max-length", 1.into()),
                ("x-overflow", "reject-publish".into()),
            ]),
            ..QueueDeclare::default()
        },
        json!({"errors": true}),
    );
    let mut client = place.client(SocketType::Dealer);
    for body in [b"1", b"2"] {
        client.send(&[b"", body]);
    }
    assert_eq!(text(&client.receive()), ["", ""], "the queue is full");
    let queue = place.queue.clone();
    call!(place.amqp, 1, delete(&queue) => QueueDeleteOk);
    client.send(&[b"id", b"", b"3"]);
    assert_eq!(text(&client.receive()), ["id", "", ""], "the queue has gone");
}

#[test]
fn a_client_that_asks_for_too_much_waits() {
    let mut place = Place::new(json!({"hwm": 5}));
    let mut client = place.client(SocketType::Dealer);
    for number in 0..20_u8 {
        client.send(&[b"", &[number]]);
        // One after the other: a batch that has been read is taken whole.
        std::thread::sleep(Duration::from_millis(2));
    }
    let count = |place: &Place| place.api.get(&format!("/api/queues/%2F/{}", place.queue))["messages"].as_u64();
    std::thread::sleep(Duration::from_millis(200));
    assert!(
        count(&place).is_some_and(|count| (5..20).contains(&count)),
        "{:?}",
        count(&place)
    );
    for number in 0..20_u8 {
        let (request, body) = place.request();
        assert_eq!(&body[..], [number]);
        place.reply(&request, true, &[number]);
        assert_eq!(client.receive(), [vec![], vec![number]]);
    }
}
