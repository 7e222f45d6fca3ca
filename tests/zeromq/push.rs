//! PUSH: messages of a queue, to PULL sockets.

use std::time::Duration;

use harness::Client;
use harness::http::Http;
use harness::requests::*;
use harness::wait::until;
use harness::zeromq::Peer;
use harness::{Broker, call};
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
use leveret_zmtp::SocketType;
use serde_json::json;

use crate::{SOON, declare, figures};

/// A queue that AMQP's clients publish to, and a socket that hands out its messages.
struct Place {
    api: Http,
    queue: String,
    port: u16,
    client: Client,
}

impl Place {
    fn new() -> Place {
        let (api, queue) = (Http::new(Broker::shared().http()), unique("push"));
        let mut client = Client::with_channel(Broker::shared().amqp());
        call!(client, 1, durable(&queue) => QueueDeclareOk);
        let value = json!({"listen": "tcp://127.0.0.1:0", "type": "push", "queue": queue, "user": "guest"});
        let port = declare(&api, &queue, &value);
        Place {
            api,
            queue,
            port,
            client,
        }
    }

    fn peer(&self) -> Peer {
        Peer::connect(self.port, SocketType::Pull)
    }

    /// Publishes numbers as bodies of so many octets.
    fn publish(&mut self, numbers: std::ops::Range<u32>, size: usize) {
        for number in numbers {
            let mut body = number.to_be_bytes().to_vec();
            body.resize(size, b'x');
            self.client.publish(1, "", &self.queue, &body);
        }
    }

    /// Messages that wait, and messages that peers have not taken.
    fn counts(&self) -> (u64, u64) {
        let queue = self.api.get(&format!("/api/queues/%2F/{}", self.queue));
        let count = |field: &str| queue[field].as_u64().unwrap_or_default();
        (count("messages_ready"), count("messages_unacknowledged"))
    }
}

fn number(frames: &[Vec<u8>]) -> u32 {
    assert_eq!(frames.len(), 1);
    u32::from_be_bytes(*frames[0].first_chunk().expect("a number"))
}

#[test]
fn what_is_written_is_acknowledged() {
    let mut place = Place::new();
    place.publish(0..50, 10);
    let mut peer = place.peer();
    place.publish(50..100, 10);
    for expected in 0..100 {
        assert_eq!(number(&peer.receive()), expected);
    }
    until("all are acknowledged", SOON, || place.counts() == (0, 0));
    let socket = figures(&place.api, &place.queue);
    assert_eq!((&socket["messages_out"], &socket["peers"]), (&json!(100), &json!(1)));
}

#[test]
fn frames_come_as_a_header_says_and_large_ones_whole() {
    let mut place = Place::new();
    let mut peer = place.peer();
    let mut headers = FieldTable::new();
    let lengths = [2_i64, 0, 300_000].map(FieldValue::Long).to_vec();
    headers.set(ShortString::from_static("x-zmq-frames"), FieldValue::Array(lengths));
    let properties = BasicProperties {
        headers: Some(headers),
        ..BasicProperties::default()
    };
    let body = [&b"ab"[..], &[b'z'; 300_000]].concat();
    let publish = publish("", &place.queue);
    place.client.publish_with(1, publish, &properties.to_bytes(), &body);
    let expected = vec![b"ab".to_vec(), vec![], vec![b'z'; 300_000]];
    assert!(peer.receive() == expected);
    place.publish(7..8, 400_000);
    assert_eq!(number(&peer.receive()), 7);
}

#[test]
fn peers_get_messages_in_turn() {
    let mut place = Place::new();
    let mut peers = [place.peer(), place.peer()];
    place.publish(0..10, 4);
    let mut all: Vec<u32> = Vec::new();
    for peer in &mut peers {
        all.extend((0..5).map(|_| number(&peer.receive())));
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..10));
}

/// Messages in the system's buffers are gone with the peer: ZMTP has no acknowledgements. All behind them come back.
#[test]
fn what_a_peer_was_not_sent_comes_back_in_order() {
    let mut place = Place::new();
    let mut peer = place.peer();
    // Far more than what the system takes for a peer that doesn't read.
    place.publish(0..300, 100_000);
    until("some are on their way", SOON, || place.counts().1 > 0);
    assert_eq!(number(&peer.receive()), 0);
    drop(peer);
    until("all are back", SOON, || place.counts().1 == 0);
    let waiting = place.counts().0 as u32;
    assert!((1..300).contains(&waiting), "{waiting} of 300 are left");
    let first = 300 - waiting;
    let consume = BasicConsume {
        queue: ShortString::truncated(&place.queue),
        no_ack: true,
        ..BasicConsume::default()
    };
    call!(place.client, 1, consume => BasicConsumeOk);
    for expected in first..300 {
        let content = place.client.delivery(1);
        let found = u32::from_be_bytes(*content.body.first_chunk().expect("a number"));
        assert_eq!(found, expected);
        // Those that waited for the peer in its outbox have been delivered; those in the queue haven't.
        assert!(expected > first || content.method.redelivered);
    }
}

#[test]
fn a_peer_goes_when_its_queue_goes() {
    let mut place = Place::new();
    let mut peer = place.peer();
    call!(place.client, 1, delete(&place.queue) => QueueDeleteOk);
    assert!(peer.ends(Duration::from_secs(5)));
}
