//! Starts that must not be: one clear line, an exit that is not 0, nothing changed.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use harness::broker_process::Refused;
use harness::requests::*;
use harness::{Broker, Client, call};

use crate::{copy, segments, small};

const ANYWHERE: [&str; 4] = ["--amqp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];

/// Starts on `data` with further arguments; gives the one line it says.
pub(crate) fn line(data: &Path, extra: &[&str]) -> String {
    let data = data.to_str().expect("a path in UTF-8");
    let arguments: Vec<&str> = ["--data-dir", data]
        .into_iter()
        .chain(ANYWHERE)
        .chain(extra.iter().copied())
        .collect();
    one_line(&Broker::refused(&arguments))
}

fn one_line(refused: &Refused) -> String {
    assert!(!refused.status.success(), "the exit says that it failed");
    let lines: Vec<&str> = refused
        .stderr
        .lines()
        .filter(|line| line.starts_with("leveret-broker: "))
        .collect();
    assert_eq!(lines.len(), 1, "one line: {}", refused.stderr);
    assert!(
        !refused.stderr.contains("panicked") && !refused.stderr.contains("RUST_BACKTRACE"),
        "{}",
        refused.stderr
    );
    lines[0].to_string()
}

#[test]
fn a_data_directory_in_use_is_left_alone() {
    let broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    let line = line(&broker.data(), &[]);
    assert!(line.contains(&format!("in use by process {}", broker.pid())), "{line}");
    assert!(
        line.contains(broker.data().to_str().expect("a path in UTF-8")),
        "{line}"
    );
    call!(client, 1, passive("q") => QueueDeclareOk);
}

#[test]
fn a_newer_format_is_left_alone() {
    let mut broker = small();
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    broker.kill();
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(&broker.data(), folder.path());
    let path = segments(folder.path()).pop().expect("a segment");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[8..12].copy_from_slice(&99u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).expect("it can be written");
    let line = line(folder.path(), &[]);
    assert!(line.contains("format 99") && line.contains("newer"), "{line}");
    assert!(fs::read(&path).expect("a segment") == bytes, "nothing was changed");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for flag in ["--amqp-listen", "--http-listen"] {
        let line = line(&folder.path().join("data"), &[flag, &address]);
        assert!(line.contains(&address) && line.contains("in use"), "{line}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("a file");
    let line = line(&file.join("data"), &[]);
    assert!(line.contains(file.to_str().expect("a path in UTF-8")), "{line}");
}

#[test]
fn a_directory_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).expect("its mode can be set");
    if fs::write(data.join("root may"), "x").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let line = line(&data, &[]);
    assert!(
        line.contains("permission") && line.contains(data.to_str().expect("a path in UTF-8")),
        "{line}"
    );
}

#[test]
fn a_wrong_setting_is_named_with_what_is_allowed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    for (flag, key, value) in [
        ("--heartbeat", "heartbeat", "soon"),
        ("--heartbeat", "heartbeat", "2h"),
        ("--frame-max", "frame_max", "1KiB"),
        ("--channel-max", "channel_max", "70000"),
        ("--segment-size", "segment_size", "-1"),
        ("--guest-loopback-only", "guest_loopback_only", "perhaps"),
        ("--log-format", "log_format", "xml"),
        ("--amqp-listen", "amqp_listen", "localhost"),
    ] {
        let line = line(&data, &[&format!("{flag}={value}")]);
        assert!(
            line.contains(key) && line.contains(value) && line.contains("allowed"),
            "{line}"
        );
    }
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_settings_file_is_checked_as_strictly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("broker.toml"));
    for (text, words) in [
        ("frobnicate = 1", vec!["frobnicate", "no such setting"]),
        ("heartbeat = \"2h\"", vec!["heartbeat", "2h", "allowed"]),
        ("heartbeat = [\"1s\", \"2s\"]", vec!["heartbeat"]),
        ("heartbeat = \n", vec!["broker.toml", "line 1"]),
    ] {
        fs::write(&file, text).expect("a file");
        let line = line(&data, &["--config", file.to_str().expect("a path in UTF-8")]);
        assert!(words.iter().all(|word| line.contains(word)), "{text:?}: {line}");
    }
    let absent = folder.path().join("absent.toml");
    let line = line(&data, &["--config", absent.to_str().expect("a path in UTF-8")]);
    assert!(line.contains("absent.toml"), "{line}");
}

#[test]
fn a_missing_data_directory_is_asked_for() {
    let line = one_line(&Broker::refused(&ANYWHERE));
    assert!(line.contains("--data-dir"), "{line}");
}
