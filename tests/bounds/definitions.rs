//! Definitions that are too large, too deep, too many, or that name places on the disk.
//!
//! In: a broker, in a small container where memory is the point. Out: an answer, a bystander who goes on, and no file
//! by a name of somebody's choice.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use harness::Broker;
use harness::http::Http;
use serde_json::{Value, json};

use crate::bystander::Bystander;
use crate::small_broker;

const LOGIN: &str = "authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n";

/// The begin of the answer to a head, before the body has come.
fn answer_to_head(address: SocketAddr, header: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket");
    let head = format!(
        "POST /api/definitions HTTP/1.1\r\nhost: x\r\n{LOGIN}content-type: application/json\r\n{header}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a new connection");
    let mut first = [0; 64];
    let read = stream.read(&mut first).unwrap_or(0);
    let text = String::from_utf8_lossy(&first[..read]).into_owned();
    (stream, text)
}

#[test]
fn a_hundred_megabytes_are_refused_before_they_are_read() {
    let Some((group, broker)) = small_broker(&[]) else {
        return;
    };
    let bystander = Bystander::start(broker.amqp());
    let before = group.anonymous();
    // Announced: nothing of it is read.
    let (_, answer) = answer_to_head(broker.http(), "content-length: 100000000");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Not announced: read as far as it may be.
    let mut sent = 0;
    let mut stream = TcpStream::connect(broker.http()).expect("the broker listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket");
    let head = format!("POST /api/definitions HTTP/1.1\r\nhost: x\r\n{LOGIN}transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a new connection");
    let chunk = [b"100000\r\n".to_vec(), vec![b'['; 1 << 20], b"\r\n".to_vec()].concat();
    while sent < 100 && stream.write_all(&chunk).is_ok() {
        sent += 1;
    }
    assert!(sent < 60, "{sent} MiB were taken");
    let most = group.anonymous().saturating_sub(before);
    assert!(most < 80 << 20, "{most} bytes");
    let seen = bystander.end();
    assert!(seen.slowest < Duration::from_secs(3), "{seen:?}");
    assert_eq!(group.killed(), 0);
}

#[test]
fn the_largest_definitions_are_answered_and_take_bounded_memory() {
    let Some((group, broker)) = small_broker(&["--management-http-max-body-size", "4MB"]) else {
        return;
    };
    let bystander = Bystander::start(broker.amqp());
    let http = Http::new(broker.http());
    let refused = |body: &Value, reason: &str| {
        let began = Instant::now();
        let answer = http.request("POST", "/api/definitions", Some(body));
        assert_eq!(answer.status, 400, "{}", answer.body);
        let found = answer.json()["reason"].as_str().expect("a reason").to_owned();
        assert!(found.contains(reason), "{reason} in {found}");
        assert!(answer.body.len() < 64 << 10 && began.elapsed() < Duration::from_secs(15));
    };
    // As many entries as may be, each wrong, and one more than that.
    refused(&json!({"queues": vec![json!(1); 79_000]}), "and 78900 more");
    refused(
        &json!({"queues": vec![json!(1); 81_000]}),
        "too many values: at most 80000 are read",
    );
    refused(&json!({"users": vec![json!({}); 38_000]}), "it has no name");
    // One entry as large as may be.
    let name = "n".repeat(3_900_000);
    refused(&json!({"global_parameters": [{"name": "x", "value": name}]}), "at most");
    // More passwords than are hashed.
    let user = |number: usize| json!({"name": format!("u{number}"), "password": "p", "tags": ""});
    refused(
        &json!({"users": (0..1001).map(user).collect::<Vec<_>>()}),
        "1001 passwords in clear text",
    );
    // As deep as may be.
    let deep = |levels: usize| -> Value {
        let text = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        serde_json::from_str(&text).expect("JSON")
    };
    refused(
        &json!({"parameters": [{"component": "c", "vhost": "/", "name": "n", "value": deep(100)}]}),
        "component c not found",
    );
    refused(
        &json!({"queues": [{"name": "q", "vhost": "/", "arguments": {"x": deep(100)}}]}),
        "queue 'q' in vhost '/'",
    );
    let (mut stream, _) = (TcpStream::connect(broker.http()).expect("the broker listens"), ());
    let body = format!("{{\"x\": {}", "[".repeat(70_000));
    let length = body.len();
    let head = format!(
        "POST /api/definitions HTTP/1.1\r\nhost: x\r\n{LOGIN}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a new connection");
    stream.write_all(body.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("failed_to_parse_json"),
        "{answer}"
    );
    let seen = bystander.end();
    assert!(seen.slowest < Duration::from_secs(3), "{seen:?}");
    assert_eq!(group.killed(), 0);
}

/// The files of a broker, without numbers in their names (docs/operations.md).
const FILES: [&str; 11] = [
    "data",
    "data/LOCK",
    "data/STORE",
    "data/checkpoint",
    "data/checkpoint.new",
    "data/gone-.log",
    "data/moving.log",
    "data/pages",
    "data/segment-.log",
    "data/spare.log",
    "stderr",
];

/// The paths below a folder that aren't a broker's.
fn strange(folder: &Path) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path
                .strip_prefix(folder)
                .expect("below it")
                .to_string_lossy()
                .into_owned();
            found.insert(name.replace(|c: char| c.is_ascii_digit(), ""));
            left.extend(path.is_dir().then_some(path));
        }
    }
    found.retain(|name| !FILES.contains(&name.as_str()));
    found
}

#[test]
fn names_that_lead_through_the_disk_lead_nowhere() {
    let broker = Broker::start();
    let http = Http::new(broker.http());
    let home = broker.data().parent().expect("a folder of its own").to_owned();
    let outside = home.parent().expect("a folder of all").join("leveret-escaped");
    let names = [
        "../../leveret-escaped",
        "..%2f..%2fleveret-escaped",
        "..",
        ".",
        "/etc/leveret-escaped",
        "a/../../leveret-escaped",
        "..\\leveret-escaped",
        "segment-1.log",
        "nul\u{0}/../../leveret-escaped",
    ];
    for name in names {
        let document = json!({
            "vhosts": [{"name": name}],
            "users": [{"name": name, "password_hash": "", "tags": []}],
            "permissions": [{"user": name, "vhost": name, "configure": "", "write": "", "read": ""}],
            "exchanges": [{"name": name, "vhost": name, "type": "topic", "durable": true}],
            "topic_permissions": [{"user": name, "vhost": name, "exchange": name, "write": "", "read": ""}],
            "queues": [{"name": name, "vhost": name, "durable": true}],
            "bindings": [{"source": name, "vhost": name, "destination": name, "destination_type": "queue", "routing_key": name}],
            "policies": [{"vhost": name, "name": name, "pattern": name, "definition": {"max-length": 1}}],
            "parameters": [{"vhost": name, "component": "shovel", "name": name, "value": {}}],
            "global_parameters": [{"name": name, "value": name}],
        });
        let answer = http.request("POST", "/api/definitions", Some(&document));
        // A pattern that is none is refused with all else; a name that is one is only a name.
        assert!(
            answer.status == 204 || answer.body.contains("policy"),
            "{name}: {}",
            answer.body
        );
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/api/vhosts/{escaped}"),
            format!("/api/users/{escaped}"),
            format!("/api/queues/%2F/{escaped}"),
        ] {
            let body = json!({"password": "x", "tags": ""});
            let body = if path.contains("users") { body } else { json!({}) };
            let answer = http.request("PUT", &path, Some(&body));
            assert!([201, 204].contains(&answer.status), "{path}: {}", answer.body);
        }
    }
    // Whatever is written by their names is written by now.
    assert_eq!(
        http.request("POST", "/api/definitions", Some(&json!({"vhosts": [{"name": "last"}]})))
            .status,
        204
    );
    assert_eq!(strange(&home), BTreeSet::new());
    assert!(!outside.exists() && !Path::new("/etc/leveret-escaped").exists());
}
