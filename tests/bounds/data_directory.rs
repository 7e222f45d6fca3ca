//! The data directory: nobody else reads it, and what others have put in it changes nothing outside.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use harness::requests::*;
use harness::{Broker, Client, call};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// Any user of the machine could read all messages.
#[test]
fn messages_are_readable_by_the_broker_alone() {
    let open_to_all = |data: &Path| {
        fs::create_dir(data).expect("a folder");
        fs::set_permissions(data, Permissions::from_mode(0o755)).expect("its mode");
    };
    let broker = Broker::start_on(open_to_all, &[]);
    let mut client = Client::with_channel(broker.amqp());
    call!(client, 1, durable("q") => QueueDeclareOk);
    assert_eq!(mode(&broker.data()), 0o700);
    for entry in fs::read_dir(broker.data()).expect("a folder") {
        let path = entry.expect("a name").path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
}

/// A link's target was written over; a pipe or folder ended the broker at its first write.
#[test]
fn odd_files_are_refused_at_start_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("target");
    fs::write(&target, "precious").expect("a file");
    type Make<'a> = &'a dyn Fn(&Path);
    let odd: [(&str, Make<'_>); 3] = [
        ("LOCK", &|path| symlink(&target, path).expect("a link")),
        ("segment-0000000016.log", &|path| {
            fs::create_dir(path).expect("a folder")
        }),
        ("pages", &|path| drop(UnixListener::bind(path).expect("a socket"))),
    ];
    for (name, make) in odd {
        let data = tempfile::tempdir().expect("a folder");
        let path = data.path().join(name);
        make(&path);
        let arguments = [
            "--amqp-listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
            "--data-dir",
        ];
        let refused = Broker::refused(&[&arguments[..], &[data.path().to_str().expect("a path in UTF-8")]].concat());
        let line = refused.stderr.lines().find(|line| line.starts_with("leveret-broker: "));
        assert!(
            line.is_some_and(|line| line.contains(name) && line.contains("not a file")),
            "{refused:?}"
        );
        assert_eq!(
            fs::read_dir(data.path()).expect("a folder").count(),
            1,
            "nothing was made"
        );
    }
    assert_eq!(fs::read_to_string(&target).expect("a file"), "precious");
}
