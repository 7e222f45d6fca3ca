//! Settings of a broker that runs, and a data directory that somebody else still has.
//!
//! In: settings files that change, processes that end late. Out: what takes effect at once, what waits, and what is
//! said of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::broker_process::{binary, wait_for_exit};
use harness::http::Http;
use harness::wait::{eventually, until};
use harness::{Broker, Client, reaper};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Broker, operator and documents agree on what is a setting.
mod agreement;

/// Limits that publishers meet, changed while the broker runs: what is open stays open, and meets the new ones.
mod limits;

const SOON: Duration = Duration::from_secs(20);

/// Replaces the file in one piece, as a mounted ConfigMap changes.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("it can be written");
    fs::rename(&new, file).expect("it can be renamed");
}

fn says(broker: &Broker, what: &str) {
    until(what, SOON, || broker.stderr().contains(what));
}

#[test]
fn a_changed_file_takes_effect_without_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("leveret.toml");
    write(&file, "heartbeat = \"30s\"\nthreads = 2\n");
    let path = file.display().to_string();
    let broker = Broker::start_with(&["--config", &path, "--channel-max", "3000"]);
    let tuned = || Client::raw(broker.amqp()).log_in();
    assert_eq!(tuned().heartbeat, 30);
    let told = || Http::new(broker.http()).get("/api/settings");
    let started = told();
    let in_force = |key: &str| started["settings"][key].clone();
    assert_eq!(
        [in_force("heartbeat"), in_force("channel_max"), in_force("threads")],
        ["30s", "3000", "2"]
    );
    assert_eq!(in_force("log"), "info", "the default");
    assert_eq!(
        (&started["file"]["path"], &started["waiting"]),
        (&json!(path), &json!([]))
    );

    let open = Client::with_channel(broker.amqp());
    write(
        &file,
        "heartbeat = \"7s\"\nframe_max = \"8KiB\"\nchannel_max = 5\nlog = \"debug\"\nthreads = 3\n",
    );
    says(&broker, "settings were read again");
    let tune = tuned();
    assert_eq!((tune.heartbeat, tune.frame_max), (7, 8192));
    assert_eq!(
        tune.channel_max, 3000,
        "a flag goes before the file, then as at the start"
    );
    says(&broker, "settings=\"threads\"");
    open.close();
    says(&broker, "DEBUG");
    let taken = told();
    assert_eq!(
        (&taken["settings"]["heartbeat"], &taken["settings"]["threads"]),
        (&json!("7s"), &json!("2"))
    );
    assert_eq!(
        (&taken["settings"]["channel_max"], &taken["waiting"]),
        (&json!("3000"), &json!(["threads"]))
    );
    assert_ne!(taken["file"]["mark"], started["file"]["mark"]);
    assert!(taken["file"]["taken_at"].as_u64() > started["file"]["taken_at"].as_u64());

    // What is wrong changes nothing, not even what is right beside it.
    write(&file, "heartbeat = \"8s\"\nframe_max = \"1B\"\n");
    says(&broker, "setting frame_max: '1B' is not allowed");
    assert_eq!(tuned().heartbeat, 7);
    write(&file, "heartbeat = \"9s\"\nlog = \"no,such=filter=\"\n");
    says(&broker, "setting log: 'no,such=filter=' is not allowed");
    assert_eq!(tuned().heartbeat, 7);
    let refused = told();
    let why = refused["file"]["refused"].as_str().unwrap_or_default();
    assert!(
        why.contains("setting log: 'no,such=filter=' is not allowed"),
        "{refused}"
    );
    assert_eq!(refused["settings"], taken["settings"], "what was taken before stays");
    assert_eq!(refused["file"]["taken_at"], taken["file"]["taken_at"]);
    fs::remove_file(&file).expect("it was there");
    says(&broker, "No such file");

    write(&file, "heartbeat = \"9s\"\nthreads = 2\n");
    eventually("the heartbeat", SOON, || match tuned().heartbeat {
        9 => Ok(()),
        other => Err(other),
    });
    until("it says so", SOON, || told()["settings"]["heartbeat"] == "9s");
    let mended = told();
    assert_eq!(
        (&mended["settings"]["heartbeat"], &mended["waiting"]),
        (&json!("9s"), &json!([]))
    );
    assert!(mended["file"]["refused"].is_null(), "{mended}");
}

#[test]
fn a_start_waits_for_the_process_before_it() {
    let mut first = Broker::start();
    let (data, pid) = (first.data(), first.pid());
    let second = thread::spawn(move || {
        let shared = |folder: &Path| symlink(&data, folder).expect("a link to the same folder");
        Broker::start_on(shared, &["--lock-timeout", "20s"])
    });
    thread::sleep(Duration::from_millis(500));
    assert!(!second.is_finished(), "two brokers in one folder");
    first.kill();
    let second = second.join().expect("it starts");
    let waited = format!(
        "another process has the data directory; waiting until it has gone folder={}",
        second.data().display()
    );
    let log = second.stderr();
    assert!(log.contains(&waited) && log.contains(&format!("pid={pid}")), "{log}");
    Client::with_channel(second.amqp());
}

#[test]
fn a_waiting_start_ends_when_it_is_told_or_when_its_time_is_over() {
    let first = Broker::start();
    let data = first.data().display().to_string();
    let any = [
        "--data-dir",
        &data,
        "--amqp-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ];
    let refused = Broker::refused(&[&any[..], &["--lock-timeout", "300ms"]].concat());
    assert!(!refused.status.success());
    let holder = format!("in use by process {}", first.pid());
    assert!(refused.stderr.contains(&holder), "{}", refused.stderr);

    let mut waiting = Command::new(binary())
        .args(any)
        .args(["--lock-timeout", "60s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the broker runs");
    reaper::add(waiting.id(), None);
    thread::sleep(Duration::from_millis(500));
    let pid = i32::try_from(waiting.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(pid, Signal::TERM).expect("it was started here");
    let status = wait_for_exit(&mut waiting, Duration::from_secs(5));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
