//! What is idle takes little, and has grown unnoticed before.
//!
//! In: connections with a channel each, and queues, by the thousand. Out: a bound of memory for one of them.

use crate::many::all;
use crate::small_broker;
use harness::Client;
use harness::control_group::ControlGroup;
use harness::requests::*;
use std::thread;
use std::time::Duration;

/// Memory once what comes after the last answer is done.
fn settled(group: &ControlGroup) -> u64 {
    thread::sleep(Duration::from_millis(500));
    group.anonymous()
}

#[test]
fn an_idle_connection_takes_little() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let open = |count| -> Vec<Client> { (0..count).map(|_| Client::with_channel(broker.amqp())).collect() };
    let first = open(200);
    let before = settled(&group);
    let others = open(1000);
    let each = settled(&group).saturating_sub(before) / others.len() as u64;
    assert!(each < 4 << 10, "{each} bytes for a connection with a channel");
    drop((first, others));
}

#[test]
fn an_idle_queue_takes_little() {
    const QUEUES: usize = 5000;
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let mut client = Client::with_channel(broker.amqp());
    let mut declare_all = |what: &str, count| {
        all(
            &mut client,
            (0..count).map(|number| durable(&format!("{what}{number}"))),
        );
        settled(&group)
    };
    let before = declare_all("first", 500);
    let each = declare_all("others", QUEUES).saturating_sub(before) / QUEUES as u64;
    assert!(each < 1200, "{each} bytes for a queue");
}
