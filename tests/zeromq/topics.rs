//! XSUB and XPUB: messages of PUB sockets to SUB sockets, and to and from AMQP's clients.

use std::time::Duration;

use harness::Client;
use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::zeromq::{Peer, Received};
use harness::{Broker, call};
use leveret_amqp::method::*;
use leveret_zmtp::{Command, SocketType};
use serde_json::{Value, json};

use crate::{SOON, declare, figures};

/// An exchange with a socket on each side.
struct Place {
    api: Http,
    exchange: String,
    publishers: u16,
    subscribers: u16,
    client: Client,
}

impl Place {
    fn new(kind: &str, more: Value) -> Place {
        let (api, exchange) = (Http::new(Broker::shared().http()), unique("topics"));
        let mut client = Client::with_channel(Broker::shared().amqp());
        call!(client, 1, harness::requests::exchange(&exchange, kind) => ExchangeDeclareOk);
        let socket =
            |kind: &str| json!({"listen": "tcp://127.0.0.1:0", "type": kind, "exchange": exchange, "user": "guest"});
        let mut subscribers = socket("pub");
        for (field, value) in more.as_object().expect("fields") {
            subscribers[field] = value.clone();
        }
        Place {
            publishers: declare(&api, &format!("{exchange}-in"), &socket("sub")),
            subscribers: declare(&api, &exchange, &subscribers),
            api,
            exchange,
            client,
        }
    }

    fn publisher(&self) -> Peer {
        let mut peer = Peer::connect(self.publishers, SocketType::Pub);
        assert_eq!(
            peer.next(SOON),
            Some(Received::Subscribe(vec![])),
            "it asks for everything"
        );
        peer
    }

    /// A subscriber whose subscriptions are in place.
    fn subscriber(&self, topics: &[&[u8]]) -> Peer {
        let before = self.bindings();
        let mut peer = Peer::connect(self.subscribers, SocketType::Sub);
        for topic in topics {
            peer.command(&Command::Subscribe(topic));
        }
        self.bound(before + topics.len());
        peer
    }

    fn bindings(&self) -> usize {
        let path = format!("/api/exchanges/%2F/{}/bindings/source", self.exchange);
        self.api.get(&path).as_array().expect("bindings").len()
    }

    fn bound(&self, bindings: usize) {
        until(&format!("{bindings} bindings"), SOON, || self.bindings() == bindings);
    }
}

fn text(frames: &[Vec<u8>]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| std::str::from_utf8(frame).expect("a text"))
        .collect()
}

#[test]
fn subscribers_get_what_begins_with_their_prefixes_as_it_was_published() {
    let place = Place::new("x-prefix", json!({}));
    let mut stock = place.subscriber(&[b"stock.a", b"bond"]);
    let mut all = place.subscriber(&[b""]);
    let mut publisher = place.publisher();
    publisher.send(&[b"stock.abc", b"1", b""]);
    publisher.send(&[b"stock.b", b"2"]);
    publisher.send(&[b"bond"]);
    publisher.send(&[b"", b"4"]);
    assert_eq!(text(&stock.receive()), ["stock.abc", "1", ""]);
    assert_eq!(text(&stock.receive()), ["bond"], "one frame stays one");
    for expected in [&["stock.abc", "1", ""][..], &["stock.b", "2"], &["bond"], &["", "4"]] {
        assert_eq!(text(&all.receive()), expected);
    }
    stock.command(&Command::Cancel(b"stock.a"));
    place.bound(2);
    publisher.send(&[b"stock.abc", b"5"]);
    publisher.send(&[b"bond", b"6"]);
    assert_eq!(text(&stock.receive()), ["bond", "6"]);
    drop(stock);
    drop(all);
    place.bound(0);
}

#[test]
fn a_peer_of_the_older_version_subscribes_by_messages() {
    let place = Place::new("x-prefix", json!({}));
    let mut peer = Peer::connect(place.subscribers, SocketType::XSub);
    peer.send(&[b"\x01old"]);
    place.bound(1);
    let mut publisher = place.publisher();
    publisher.send(&[b"older", b"1"]);
    assert_eq!(text(&peer.receive()), ["older", "1"]);
    peer.send(&[b"\x00old"]);
    place.bound(0);
    peer.send(&[b"a message of its own, which goes nowhere"]);
    peer.send(&[b"\x01new"]);
    place.bound(1);
}

#[test]
fn amqp_publishes_to_subscribers_and_consumes_from_publishers() {
    let mut place = Place::new("x-prefix", json!({}));
    let mut peer = place.subscriber(&[b"a"]);
    let exchange = place.exchange.clone();
    place.client.publish(1, &exchange, "a.key", b"body");
    assert_eq!(text(&peer.receive()), ["a.key", "body"]);
    let queue = unique("from-publishers");
    call!(place.client, 1, exclusive(&queue) => QueueDeclareOk);
    call!(place.client, 1, bind(&queue, &exchange, "") => QueueBindOk);
    let mut publisher = place.publisher();
    let long = [b'k'; 300];
    publisher.send(&[&long, b"body"]);
    let mut message = None;
    until("the message has come", SOON, || {
        message = place.client.get(1, &queue, true);
        message.is_some()
    });
    let message = message.expect("a message");
    assert_eq!(message.method.routing_key.as_bytes(), &long[..255]);
    assert_eq!(message.body, [&long[..], b"body"].concat());
    let properties = leveret_amqp::BasicProperties::parse(&message.properties).expect("properties");
    let lengths = properties
        .headers
        .as_ref()
        .and_then(|headers| headers.get("x-zmq-frames"));
    let lengths: Vec<_> = lengths
        .and_then(|lengths| lengths.as_array())
        .expect("lengths")
        .to_vec();
    assert_eq!(
        lengths.iter().map(|length| length.as_i64()).collect::<Vec<_>>(),
        [Some(300), Some(4)]
    );
}

#[test]
fn exchanges_of_other_types_have_their_own_meaning() {
    let mut place = Place::new("topic", json!({}));
    let exchange = place.exchange.clone();
    let mut peer = Peer::connect(place.subscribers, SocketType::XSub);
    peer.command(&Command::Subscribe(b"*.b"));
    place.bound(1);
    place.client.publish(1, &exchange, "a.c", b"no");
    place.client.publish(1, &exchange, "a.b", b"yes");
    assert_eq!(text(&peer.receive()), ["a.b", "yes"]);
    peer.command(&Command::Subscribe(b""));
    place.bound(2);
    place.client.publish(1, &exchange, "a.b.c", b"all");
    assert_eq!(text(&peer.receive()), ["a.b.c", "all"]);
}

#[test]
fn a_subscriber_that_does_not_read_misses_messages_and_nobody_waits() {
    let mut place = Place::new("x-prefix", json!({"hwm": 10}));
    let mut slow = place.subscriber(&[b""]);
    let mut quick = place.subscriber(&[b"last"]);
    call!(place.client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    let exchange = place.exchange.clone();
    let body = vec![b'x'; 100_000];
    for number in 0..300_u64 {
        place.client.publish(1, &exchange, &format!("{number:03}"), &body);
    }
    place.client.publish(1, &exchange, "last", b"");
    assert_eq!(text(&quick.receive()), ["last", ""]);
    // Publishers hear nothing of it.
    let mut confirmed = 0;
    while confirmed < 301 {
        confirmed = harness::expect!(place.client, 1, BasicAck).delivery_tag;
    }
    until("some are counted as dropped", SOON, || {
        let dropped = figures(&place.api, &place.exchange)["messages_dropped"].as_u64();
        dropped.is_some_and(|dropped| dropped > 0)
    });
    // The oldest are there: it is the newest that were dropped, as ZeroMQ does.
    let mut received: Vec<String> = Vec::new();
    while let Some(Received::Message(frames)) = slow.next(Duration::from_millis(500)) {
        received.push(text(&frames[..1])[0].to_owned());
    }
    assert!(received.len() < 300 && received.is_sorted(), "{received:?}");
    let first: Vec<String> = (0..10).map(|number| format!("{number:03}")).collect();
    assert!(received.starts_with(&first), "{received:?}");
    place.client.publish(1, &exchange, "again", b"");
    assert_eq!(text(&slow.receive()), ["again", ""]);
}

#[test]
fn a_peer_goes_with_its_exchange_and_is_not_let_in_without_it() {
    let mut place = Place::new("x-prefix", json!({}));
    let mut peer = place.subscriber(&[b""]);
    let mut publisher = place.publisher();
    let exchange = place.exchange.clone();
    call!(place.client, 1, delete_exchange(&exchange) => ExchangeDeleteOk);
    assert!(peer.ends(Duration::from_secs(5)));
    publisher.send(&[b"topic", b"lost"]);
    assert!(publisher.ends(Duration::from_secs(5)));
    let refused = Peer::try_connect(place.subscribers, harness::zeromq::settings(SocketType::Sub));
    assert!(refused.is_err());
    call!(place.client, 1, harness::requests::exchange(&exchange, "x-prefix") => ExchangeDeclareOk);
    let mut peer = place.subscriber(&[b""]);
    let mut publisher = place.publisher();
    publisher.send(&[b"topic", b"there"]);
    assert_eq!(text(&peer.receive()), ["topic", "there"]);
}

#[test]
fn ten_thousand_subscriptions_of_one_peer_are_made_and_go_with_it() {
    let place = Place::new("x-prefix", json!({}));
    let topics: Vec<Vec<u8>> = (0..10_000)
        .map(|number: u32| format!("t{number:05}").into_bytes())
        .collect();
    let mut peer = Peer::connect(place.subscribers, SocketType::Sub);
    for topic in &topics {
        peer.command(&Command::Subscribe(topic));
    }
    peer.command(&Command::Subscribe(b"end"));
    let mut publisher = place.publisher();
    until("the last one is in place", SOON, || {
        publisher.send(&[b"end"]);
        peer.next(Duration::from_millis(100)).is_some()
    });
    publisher.send(&[b"t09999.x", b"1"]);
    let mut frames = peer.receive();
    while frames == [b"end".to_vec()] {
        frames = peer.receive();
    }
    assert_eq!(text(&frames), ["t09999.x", "1"]);
    drop(peer);
    place.bound(0);
}
