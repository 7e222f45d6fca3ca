//! Time goes on without the broker, or another way than it thinks: it is stopped and continued, its clock jumps. Nobody
//! is thrown out, nothing is lost or late.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::requests::*;
use harness::{Broker, Client, call, expect, skip};
use leveret_amqp::method::*;
use rustix::process::Signal;

use crate::{SMALL, load, small};

/// A client that keeps its side of the heartbeats, once a second at most, as long as the connection lives.
fn heartbeats(broker: &Broker, ended: &AtomicBool) -> Client {
    let mut client = Client::raw(broker.amqp());
    client.log_in();
    let tuned = ConnectionTuneOk {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 1,
    };
    client.send(0, tuned);
    client.open("/");
    client.open_channel(1);
    while !ended.load(Ordering::Relaxed) {
        client.send_heartbeat();
        thread::sleep(Duration::from_millis(300));
    }
    client
}

/// Publishers, a consumer and an idle client with heartbeats, while something happens to the broker's time.
fn undisturbed(broker: &Broker, happens: impl FnOnce()) {
    load::declare(broker.amqp());
    let ended = AtomicBool::new(false);
    let history = thread::scope(|scope| {
        let idle = scope.spawn(|| heartbeats(broker, &ended));
        let history = load::run(broker.amqp(), 0, happens);
        ended.store(true, Ordering::Relaxed);
        let mut idle = idle.join().expect("heartbeats are taken");
        call!(idle, 1, declare("still-there") => QueueDeclareOk);
        history
    });
    let sent: u64 = history.publishes.values().map(|publishes| publishes.sent).sum();
    let summary = load::check(broker.amqp(), &history, "the load");
    println!("{summary:?}");
    assert_eq!(summary.confirmed as u64, sent, "everything sent is confirmed");
}

#[test]
fn a_stopped_broker_goes_on_where_it_was() {
    let broker = small();
    undisturbed(&broker, || {
        // Longer than two heartbeats: whoever counts time instead of heartbeats would think the client dead.
        for pause in [10, 100, 4000, 300] {
            thread::sleep(Duration::from_millis(150));
            broker.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(pause));
            broker.signal(Signal::CONT);
        }
        thread::sleep(Duration::from_millis(200));
    });
}

#[test]
fn a_client_that_is_gone_is_noticed_after_a_stop() {
    let broker = small();
    let mut client = heartbeats(&broker, &AtomicBool::new(true));
    broker.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(500));
    broker.signal(Signal::CONT);
    let start = Instant::now();
    client.end();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
}

/// A library that lets a program see another time; Debian's package `faketime`.
fn fake_time() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    let found = folders.map(|folder| library(folder.path())).find(|path| path.is_file());
    if found.is_none() {
        skip(
            "REQUIRE_FAKETIME",
            "libfaketime is absent; install the package faketime",
        );
    }
    found
}

#[test]
fn a_clock_that_jumps_disturbs_nobody() {
    let Some(library) = fake_time() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let offset = folder.path().join("offset");
    fs::write(&offset, "+0").expect("a file");
    let variables = [
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        // Only the clock on the wall jumps, as when somebody sets it.
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let wrapper: Vec<&str> = ["env"]
        .into_iter()
        .chain(variables.iter().map(String::as_str))
        .collect();
    let mut broker = Broker::start_through(&wrapper, |_| {}, &SMALL);
    undisturbed(&broker, || {
        for jump in ["+3600", "-1d", "+10y", "+0"] {
            fs::write(&offset, jump).expect("a file");
            thread::sleep(Duration::from_millis(200));
            drop(Client::connect(broker.amqp())); // worth a line with the time
            thread::sleep(Duration::from_millis(200));
        }
    });
    let log = broker.stderr();
    assert!(
        log.lines().any(|line| line.starts_with("2036")),
        "the clock did jump: {log}"
    );
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("kept") => QueueDeclareOk);
    call!(client, 1, ConfirmSelect::default() => ConfirmSelectOk);
    client.publish_persistent(1, "", "kept", b"x");
    expect!(client, 1, BasicAck);
    fs::write(&offset, "-10y").expect("a file");
    broker.kill();
    let broker = broker.restart();
    let mut client = Client::with_channel(broker.amqp());
    assert_eq!(
        client.get(1, "kept", true).expect("a message").body,
        "x",
        "a start in the past"
    );
}
