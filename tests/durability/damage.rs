//! A torn tail, a flipped bit: the broker starts, says what it lost, and has everything else.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use harness::http::Http;
use harness::requests::*;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;

use crate::{SMALL, copy, drain, segments, small};

/// The number of messages, each confirmed before the next is sent.
const COUNT: usize = 60;

fn body(number: usize) -> Vec<u8> {
    format!("message number {number:04} of the damaged log").into_bytes()
}

/// A broker killed with messages in `q`, all of them confirmed.
fn killed() -> Broker {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..COUNT {
        client.publish_persistent(1, "", "q", &body(number));
        harness::expect!(client, 1, BasicAck);
    }
    broker.kill();
    broker
}

/// The newest segment with anything in it, and where its last octet that is not zero stands.
fn tail(data: &Path) -> (PathBuf, u64) {
    let written = |path: &PathBuf| {
        let bytes = fs::read(path).expect("a segment");
        bytes
            .iter()
            .skip(64)
            .rposition(|octet| *octet != 0)
            .map(|at| at as u64 + 64)
    };
    let mut segments = segments(data).into_iter().rev();
    segments
        .find_map(|path| written(&path).map(|end| (path, end)))
        .expect("something was written")
}

fn found(broker: &Broker) -> Vec<Vec<u8>> {
    let mut client = Client::with_channel(broker.amqp());
    drain(&mut client, "q").into_iter().map(|(body, _)| body).collect()
}

#[test]
fn a_torn_tail_costs_only_what_was_torn() {
    let original = killed();
    let all: Vec<Vec<u8>> = (0..COUNT).map(body).collect();
    let (_, end) = tail(&original.data());
    for cut in [1, 2, 13, 40, 100, 350] {
        let broker = Broker::start_on(
            |data| {
                copy(&original.data(), data);
                let (path, _) = tail(data);
                let mut file = File::options().write(true).open(path).expect("a segment");
                file.seek(SeekFrom::Start(end + 1 - cut)).expect("a place in it");
                file.write_all(&vec![0; cut as usize]).expect("it can be written");
            },
            &SMALL,
        );
        let found = found(&broker);
        assert!(
            all.starts_with(&found),
            "{cut} octets cut: a beginning of what was sent"
        );
        let least = COUNT - 2 - cut as usize / 60;
        assert!(found.len() >= least, "{cut} octets cut, {} messages left", found.len());
    }
}

#[test]
fn a_file_cut_short_is_a_torn_tail_too() {
    let original = killed();
    let broker = Broker::start_on(
        |data| {
            copy(&original.data(), data);
            let (path, end) = tail(data);
            File::options()
                .write(true)
                .open(path)
                .expect("a segment")
                .set_len(end - 20)
                .expect("it can be cut");
        },
        &SMALL,
    );
    let found = found(&broker);
    assert!((0..COUNT).map(body).collect::<Vec<_>>().starts_with(&found) && found.len() + 2 >= COUNT);
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish_persistent(1, "", "q", b"after");
    harness::expect!(client, 1, BasicAck);
}

#[test]
fn a_flipped_bit_costs_one_message_and_is_reported() {
    let original = killed();
    let victim = body(30);
    let mut broker = Broker::start_on(
        |data| {
            copy(&original.data(), data);
            let holds = |path: &PathBuf| {
                let bytes = fs::read(path).expect("a segment");
                bytes.windows(victim.len()).position(|window| window == victim)
            };
            let (path, at) = segments(data)
                .into_iter()
                .find_map(|path| holds(&path).map(|at| (path, at)))
                .expect("it is there");
            let mut bytes = fs::read(&path).expect("a segment");
            bytes[at + 5] ^= 0x10;
            fs::write(&path, bytes).expect("it can be written");
        },
        &SMALL,
    );
    let stderr = broker.stderr();
    assert!(stderr.contains("damaged"), "it is said in the log: {stderr}");
    let answer = Http::new(broker.http()).request("GET", "/api/health/checks/log-damage", None);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["damage"].as_array().map(Vec::len), Some(1));
    let quarantine = broker.data().join("quarantine");
    assert!(
        fs::read_dir(&quarantine).is_ok_and(|mut entries| entries.next().is_some()),
        "the octets were kept"
    );
    let expected: Vec<Vec<u8>> = (0..COUNT).filter(|number| *number != 30).map(body).collect();
    assert_eq!(found(&broker), expected);
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, passive("q") => QueueDeclareOk);
}

#[test]
fn noise_in_place_of_the_log_stops_nobody() {
    let original = killed();
    let broker = Broker::start_on(
        |data| {
            copy(&original.data(), data);
            let (path, end) = tail(data);
            let mut bytes = fs::read(&path).expect("a segment");
            let noise = (0..end as usize - 64).map(|at| (at * 7919 % 251) as u8);
            bytes.splice(64..end as usize, noise);
            fs::write(&path, bytes).expect("it can be written");
        },
        &SMALL,
    );
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("new") => QueueDeclareOk);
    client.publish(1, "", "new", b"x");
    assert!(client.get(1, "new", true).is_some());
}
