//! `leveret-broker check`: a data directory that nobody has open, verified and copied.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::requests::*;
use harness::{Broker, Client, call};
use leveret_amqp::method::*;

use crate::{copy, drain, segments, small};

/// A broker killed with ten messages in `orders`, one of them delivered.
fn killed() -> Broker {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    for name in ["orders", "empty"] {
        call!(client, 1, durable(name) => QueueDeclareOk);
    }
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    for number in 0..10 {
        client.publish_persistent(1, "", "orders", format!("order {number}").as_bytes());
        harness::expect!(client, 1, BasicAck);
    }
    broker.kill();
    broker
}

pub(crate) fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(harness::broker_process::binary());
    command.arg("check").args(arguments).output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_whole_directory_is_intact_and_its_contents_are_told() {
    let broker = killed();
    let data = broker.data().display().to_string();
    let before: Vec<_> = segments(&broker.data())
        .iter()
        .map(|path| fs::read(path).expect("bytes"))
        .collect();
    let output = check(&[&data, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let queues = report["queues"].as_array().expect("a list");
    let counts: Vec<_> = queues
        .iter()
        .map(|queue| (queue["name"].as_str(), queue["messages"].as_u64()))
        .collect();
    assert_eq!(counts, [(Some("empty"), Some(0)), (Some("orders"), Some(10))]);
    let after: Vec<_> = segments(&broker.data())
        .iter()
        .map(|path| fs::read(path).expect("bytes"))
        .collect();
    assert!(before == after, "a check changes nothing");
    let plain = text(&check(&[&data]));
    assert!(plain.contains("orders") && plain.ends_with("intact\n"), "{plain}");
}

#[test]
fn damage_is_named_and_a_copy_without_it_is_served() {
    let broker = killed();
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = folder.path().join("damaged");
    copy(&broker.data(), &damaged);
    flip(&damaged, b"order 4");
    let clean = folder.path().join("clean");
    let (from, to) = (damaged.display().to_string(), clean.display().to_string());
    let output = check(&[&from, "--repair", &to]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("damaged:") && text(&output).contains("copied: 9 messages"),
        "{}",
        text(&output)
    );
    assert_eq!(check(&[&to]).status.code(), Some(0));
    let again = check(&[&from, "--repair", &to]);
    assert!(
        again.status.code() == Some(1) && text(&again).contains("not empty"),
        "{}",
        text(&again)
    );
    let served = Broker::start_on(|data| copy(&clean, data), &[]);
    let bodies: Vec<_> = drain(&mut Client::with_channel(served.amqp()), "orders")
        .into_iter()
        .map(|(body, _)| body)
        .collect();
    let expected: Vec<_> = (0..10)
        .filter(|n| *n != 4)
        .map(|n| format!("order {n}").into_bytes())
        .collect();
    assert_eq!(bodies, expected);
}

/// Flips a bit of the record with this body.
fn flip(data: &Path, body: &[u8]) {
    for path in segments(data) {
        let mut bytes = fs::read(&path).expect("bytes");
        if let Some(at) = bytes.windows(body.len()).position(|window| window == body) {
            bytes[at] ^= 4;
            fs::write(&path, bytes).expect("written");
            return;
        }
    }
    panic!("no such body in {}", data.display());
}

#[test]
fn a_directory_in_use_or_absent_is_refused_by_name() {
    let broker = small();
    let output = check(&[&broker.data().display().to_string()]);
    assert!(
        output.status.code() == Some(1) && text(&output).contains("is in use by process"),
        "{}",
        text(&output)
    );
    let output = check(&["/no/such/folder"]);
    assert!(
        output.status.code() == Some(1) && text(&output).contains("/no/such/folder"),
        "{}",
        text(&output)
    );
    assert!(!Path::new("/no/such/folder").exists());
}
