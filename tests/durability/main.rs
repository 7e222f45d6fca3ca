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

/// `leveret-broker check`: a data directory that nobody has open, verified and copied.
mod check;

/// A start from a checkpoint: it reads little, has everything, and finds damage in what it has not read.
mod checkpoint;

/// A torn tail, a flipped bit: the broker starts, says what it lost, and has everything else.
mod damage;

/// The trap of every log that is cleaned up: one slow queue whose few messages lie in every file, between those of a
/// hundred fast queues.
mod disk_use;

/// SIGTERM: what is synced is confirmed, connections are closed with 320, the exit is 0 and comes in bounded time.
mod drain;

/// `kill -9` while eight publishers wait for confirms and a consumer acknowledges: again and again, on the same files.
mod kill_during_publish;

/// A container with 256 MiB while publishers push more than that: the kernel never has to kill the broker, publishers
/// wait where they must, and memory is given back.
mod little_memory;

/// Publishers that wait for confirms and a consumer that acknowledges, until something happens to the broker; and the
/// look at what is there afterwards.
mod load;

/// Little disk space: publishers wait, consumers go on, and what they free lets the publishers go on too.
mod low_disk;

/// The power goes: everything that was not synced is lost, and every write and sync from then on fails.
mod power_cut;

/// Deliveries after the broker was killed.
mod redelivery;

/// Counts of returns, and what a quorum queue keeps.
mod returns;

/// Starts that must not be: one clear line, an exit that is not 0, nothing changed.
mod refused_start;

/// Time goes on without the broker, or another way than it thinks: it is stopped and continued, its clock jumps.
mod time_stops;

/// Dead letters and deadlines across `kill -9`.
mod dead_letter;

/// Policies across `kill -9`.
mod policy;

/// Definitions that are loaded.
mod definitions;

/// A queue's length limit across `kill -9`: it still holds, and what it dropped doesn't come back.
mod queue_limit;

/// Queues with priorities across `kill -9`.
mod priority;

/// Exchanges, queues and bindings after `kill -9` at the moment the last declaration was answered.
mod topology;

/// Transactions after the broker was killed: all that was committed, nothing of what was not, and of a commit that was
/// under way all messages or none.
mod transaction;

/// Data directories of each format, kept in `fixtures/`, opened by today's broker: everything is there.
mod upgrade;

/// Virtual hosts across `kill -9`, in the midst of their creation and deletion.
mod vhosts;

/// Users across a crash.
mod users;

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
