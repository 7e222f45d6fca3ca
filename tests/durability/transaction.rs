//! Transactions after the broker was killed: all that was committed, nothing of what was not, and of a
//! commit that was under way all messages or none.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use harness::requests::*;
use harness::scripted_client::Frame;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;
use leveret_amqp::{Method, put_method_frame};

use crate::{drain, small};

/// Messages that one transaction moves, and that there are to move in one round.
const GROUP: usize = 10;
const STOCK: u32 = 2000;

/// A client that has selected transactions.
fn transactional(broker: &Broker) -> Client {
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, TxSelect::default() => TxSelectOk);
    client
}

fn commit(client: &mut Client) {
    call!(client, 1, TxCommit::default() => TxCommitOk);
}

fn bodies(client: &mut Client, queue: &str) -> Vec<Vec<u8>> {
    drain(client, queue).into_iter().map(|(body, _)| body).collect()
}

#[test]
fn what_was_committed_is_there_and_nothing_else() {
    let mut broker = small();
    let mut client = transactional(&broker);
    call!(client, 1, durable("q") => QueueDeclareOk);
    for number in 0..3 {
        client.publish_persistent(1, "", "q", &[number]);
    }
    client.publish(1, "", "q", b"transient");
    commit(&mut client);
    let tags = [0, 1].map(|_| client.get(1, "q", false).expect("a message").method.delivery_tag);
    client.publish_persistent(1, "", "q", &[3]);
    client.send(1, ack(tags[0]));
    commit(&mut client);
    // From here on nothing counts.
    client.publish_persistent(1, "", "q", &[4]);
    client.send(1, ack(tags[1]));
    call!(client, 1, passive("q") => QueueDeclareOk);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(bodies(&mut client, "q"), [[1], [2], [3]]);
}

#[test]
fn a_large_transaction_is_whole() {
    let mut broker = small();
    let mut client = transactional(&broker);
    call!(client, 1, durable("q") => QueueDeclareOk);
    // Three times the size of a file of the log.
    for number in 0..48 {
        client.publish_persistent(1, "", "q", &vec![number; 256 << 10]);
    }
    commit(&mut client);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    let firsts: Vec<u8> = bodies(&mut client, "q").iter().map(|body| body[0]).collect();
    assert_eq!(firsts, (0..48).collect::<Vec<_>>());
}

/// Puts the numbers of a round in order into the queue that messages are moved out of.
fn fill(broker: &Broker) {
    let mut client = transactional(broker);
    for queue in ["from", "to"] {
        call!(client, 1, durable(queue) => QueueDeclareOk);
    }
    for number in 0..STOCK {
        client.publish_persistent(1, "", "from", &number.to_be_bytes());
    }
    commit(&mut client);
    client.close();
}

/// Moves messages, a group at a time, until the broker has gone or there are no more. Gives those whose move was
/// answered for.
fn moved(mut client: Client) -> BTreeSet<Vec<u8>> {
    let mut moved = BTreeSet::new();
    while let Some(group) = move_group(&mut client) {
        moved.extend(group);
    }
    moved
}

/// One transaction: takes messages, publishes them elsewhere, acknowledges them.
fn move_group(client: &mut Client) -> Option<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    for _ in 0..GROUP {
        put_method_frame(&mut requests, 1, &get("from").into());
    }
    client.try_send_bytes(&requests).ok()?;
    let mut group = Vec::new();
    while group.len() < GROUP {
        match client.frame()? {
            Frame::Body(_, body) => group.push(body.to_vec()),
            Frame::Method(_, Method::BasicGetEmpty(_)) => return None,
            _ => {}
        }
    }
    for body in &group {
        client.try_publish_persistent(1, "", "to", body).ok()?;
    }
    let mut end = Vec::new();
    put_method_frame(&mut end, 1, &ack_up_to(0).into());
    put_method_frame(&mut end, 1, &TxCommit::default().into());
    client.try_send_bytes(&end).ok()?;
    match client.frame()? {
        Frame::Method(_, Method::TxCommitOk(_)) => Some(group),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_that_was_cut_short_loses_nothing_and_is_no_half() {
    let mut broker = small();
    for round in 0..8 {
        fill(&broker);
        let client = transactional(&broker);
        let mover = thread::spawn(|| moved(client));
        thread::sleep(Duration::from_millis(5 + 17 * round));
        broker.kill();
        let moved = mover.join().expect("the mover ends");
        broker = broker.restart();
        let mut client = Client::with_channel(broker.amqp());
        let (from, to) = (bodies(&mut client, "from"), bodies(&mut client, "to"));
        let there: BTreeSet<_> = to.iter().cloned().collect();
        assert_eq!(there.len(), to.len(), "round {round}: nothing is there twice");
        assert!(moved.is_subset(&there), "round {round}: what was answered for is there");
        assert!(
            !from.iter().any(|body| moved.contains(body)),
            "round {round}: and isn't back"
        );
        let under_way = there.len() - moved.len();
        assert!(
            under_way == 0 || under_way == GROUP,
            "round {round}: {under_way} messages of one transaction"
        );
        let all: BTreeSet<_> = from.into_iter().chain(to).collect();
        assert_eq!(all.len(), STOCK as usize, "round {round}: nothing is lost");
    }
}
