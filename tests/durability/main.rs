//! Survival of: the end of the process at any moment, damage to its files, an orderly stop.
//!
//! In: brokers of each test's own, on data directories of their own. Out: every promise about confirmed messages and
//! topology, kept. The faults of a disk are played through inside the store's own tests.
//! Does not know about how the log is laid out, but for the few octets it changes by hand.

use std::fs;
use std::path::{Path, PathBuf};

use harness::requests::{consume_no_ack, passive};
use harness::scripted_client::Frame;
use harness::{Broker, Client, call};
use leveret_amqp::Method;
use leveret_amqp::method::*;

mod check;

mod checkpoint;

mod damage;

mod disk_use;

mod drain;

mod kill_during_publish;

mod little_memory;

mod load;

mod low_disk;

mod power_cut;

mod redelivery;

mod refused_start;

mod time_stops;

mod topology;

mod transaction;

mod upgrade;

/// Small segments: the log goes through many, and a start writes little.
const SMALL: [&str; 2] = ["--segment-size", "4MiB"];

fn small() -> Broker {
    Broker::start_with(&SMALL)
}

/// Everything that is ready in a queue, taken out of it in order.
fn drain(client: &mut Client, queue: &str) -> Vec<(Vec<u8>, bool)> {
    let count = call!(client, 1, passive(queue) => QueueDeclareOk).message_count;
    client.open_channel(2);
    client.send(
        2,
        BasicConsume {
            no_wait: true,
            ..consume_no_ack(queue, "drain")
        },
    );
    let mut found = Vec::new();
    let mut redelivered = false;
    while found.len() < count as usize {
        match client.frame() {
            Some(Frame::Method(2, Method::BasicDeliver(deliver))) => redelivered = deliver.redelivered,
            Some(Frame::Header { size, .. }) if size > 0 => {
                found.push((Vec::with_capacity(size as usize), redelivered))
            }
            Some(Frame::Header { .. }) => found.push((Vec::new(), redelivered)),
            Some(Frame::Body(2, part)) => found
                .last_mut()
                .expect("a header came first")
                .0
                .extend_from_slice(&part),
            other => panic!("expected a delivery, got {other:?}"),
        }
        // The last one is whole once its body is: ask for more as long as it is not.
        while let Some((body, _)) = found.last_mut().filter(|(body, _)| body.len() < body.capacity()) {
            match client.frame() {
                Some(Frame::Body(2, part)) => body.extend_from_slice(&part),
                other => panic!("expected a body, got {other:?}"),
            }
        }
    }
    call!(client, 2, ChannelClose { reply_code: 200, ..ChannelClose::default() } => ChannelCloseOk);
    found
}

/// The files of the log, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data).expect("the data directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("segment-"))
    });
    files.sort();
    files
}

/// Copies a data directory nobody writes to.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("the data directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
}
