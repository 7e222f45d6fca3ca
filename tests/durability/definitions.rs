//! Definitions that a start loads, and such as were answered for, across `kill -9`.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::check::check;
use crate::refused_start::line;
use crate::small;

/// A hash of RabbitMQ's, and its password.
const HASH: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
const PASSWORD: &str = "test12";

/// A document with a user of all rights in `/`, and these queues.
fn document(queues: &[&str]) -> Value {
    let queue = |name: &&str| json!({"name": name, "vhost": "/", "durable": true, "arguments": {}});
    let queues: Vec<Value> = queues.iter().map(queue).collect();
    json!({
        "rabbit_version": "4.3.6",
        "vhosts": [{"name": "/"}],
        "users": [{"name": "admin", "password_hash": HASH, "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["administrator"], "limits": {}}],
        "permissions": [{"user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        "queues": queues,
    })
}

fn write(path: &Path, document: &Value) {
    fs::write(path, document.to_string()).expect("a file");
}

fn admin(broker: &Broker) -> Http {
    Http::with_credentials(broker.http(), "admin", PASSWORD)
}

fn queues(broker: &Broker) -> Vec<String> {
    let rows = admin(broker).get("/api/queues");
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn path_of(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn a_start_loads_definitions_before_it_serves_anybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = path_of(&folder, "definitions.json");
    write(Path::new(&path), &document(&["a", "b"]));
    let mut broker = Broker::start_with(&["--load-definitions", &path]);
    assert_eq!(queues(&broker), ["a", "b"]);
    let guest = Http::new(broker.http());
    assert_eq!(
        guest.request("GET", "/api/whoami", None).status,
        401,
        "no guest is made"
    );
    assert_eq!(admin(&broker).request("DELETE", "/api/queues/%2F/a", None).status, 204);
    broker.kill();
    let found = check(&[&broker.data().display().to_string(), "--json"]);
    let report: Value = serde_json::from_slice(&found.stdout).expect("a report");
    assert_eq!((&report["users"], &report["unknown_entries"]), (&json!(1), &json!(0)));
    // As in RabbitMQ: each start loads them.
    let broker = broker.restart();
    assert_eq!(queues(&broker), ["a", "b"]);
}

#[test]
fn what_is_unchanged_is_passed_over_and_brings_nothing_back() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, queue) in [("1.json", "a"), ("2.json", "b")] {
        write(&folder.path().join(name), &document(&[queue]));
    }
    let path = folder.path().to_str().expect("a path in UTF-8");
    let flags = ["--load-definitions", path, "--definitions-skip-if-unchanged", "true"];
    let mut broker = Broker::start_with(&flags);
    assert_eq!(queues(&broker), ["a", "b"]);
    assert_eq!(admin(&broker).request("DELETE", "/api/queues/%2F/a", None).status, 204);
    broker.kill();
    let mut broker = broker.restart();
    assert_eq!(queues(&broker), ["b"]);
    let exported = admin(&broker).get("/api/definitions");
    assert_eq!(
        exported["global_parameters"],
        json!([]),
        "the mark is of this broker alone"
    );
    broker.kill();
    write(&folder.path().join("3.json"), &document(&["c"]));
    let broker = broker.restart();
    assert_eq!(queues(&broker), ["a", "b", "c"]);
}

#[test]
fn a_start_with_wrong_definitions_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, good, bad) = (
        folder.path().join("data"),
        path_of(&folder, "1.json"),
        path_of(&folder, "2.json"),
    );
    write(Path::new(&good), &document(&["a"]));
    let wrong = json!({
        "queues": [{"name": "b", "vhost": "nowhere"}, {"name": "c", "vhost": "/", "arguments": {"x-max-length": "many"}}],
        "policies": [{"vhost": "/", "name": "p", "pattern": "(", "definition": {"max-length": 1}}],
        "users": [{"name": "old", "password_hash": HASH, "hashing_algorithm": "rabbit_password_hashing_md5", "tags": []}],
    });
    write(Path::new(&bad), &wrong);
    let definitions = folder.path().join("definitions");
    fs::create_dir(&definitions).expect("a folder");
    for file in [&good, &bad] {
        let name = Path::new(file).file_name().expect("a name");
        fs::rename(file, definitions.join(name)).expect("a file");
    }
    let place = definitions.to_str().expect("a path in UTF-8");
    let said = line(&data, &["--load-definitions", place]);
    for named in [
        format!("cannot load the definitions of {place}: Please create virtual host \"nowhere\""),
        format!("{place}/2.json: user 'old': hashing_algorithm"),
        format!("{place}/2.json: queue 'c' in vhost '/': "),
        format!("{place}/2.json: policy 'p' in vhost '/': Validation failed"),
    ] {
        assert!(said.contains(&named), "{named} in {said}");
    }
    let found = check(&[&data.display().to_string(), "--json"]);
    let report: Value = serde_json::from_slice(&found.stdout).expect("a report");
    assert_eq!(
        (&report["users"], &report["queues"]),
        (&json!(0), &json!([])),
        "nothing of them"
    );

    fs::write(definitions.join("2.json"), "{").expect("a file");
    let said = line(&data, &["--load-definitions", place]);
    assert!(said.ends_with("2.json: failed_to_parse_json"), "{said}");
    let said = line(
        &data,
        &["--load-definitions", place, "--management-http-max-body-size", "64KiB"],
    );
    assert!(said.ends_with("2.json: failed_to_parse_json"), "{said}");
    fs::write(definitions.join("2.json"), vec![b' '; 70_000]).expect("a file");
    let said = line(
        &data,
        &["--load-definitions", place, "--management-http-max-body-size", "64KiB"],
    );
    assert!(said.ends_with("2.json: larger than 65536 bytes"), "{said}");
    let nothing = path_of(&folder, "nothing");
    assert!(line(&data, &["--load-definitions", &nothing]).contains(&nothing));
}

#[test]
fn definitions_that_were_answered_for_are_there() {
    let mut broker = small();
    let answer = Http::new(broker.http()).request("POST", "/api/definitions", Some(&document(&["a", "b"])));
    assert_eq!(answer.status, 204, "{}", answer.body);
    broker.kill();
    let broker = broker.restart();
    assert_eq!(queues(&broker), ["a", "b"]);
}

/// One batch of the log: whoever comes back finds all of the users or none.
#[test]
fn users_of_a_document_survive_together() {
    const USERS: usize = 500;
    let user = |number: usize| json!({"name": format!("u{number}"), "password_hash": HASH, "tags": []});
    let users: Vec<Value> = (0..USERS).map(user).collect();
    let document = json!({"users": users});
    for millis in [0, 5, 10, 20, 40, 80] {
        let mut broker = small();
        let (http, document) = (Http::new(broker.http()), document.clone());
        let importing = thread::spawn(move || http.try_request("POST", "/api/definitions", Some(&document)));
        thread::sleep(Duration::from_millis(millis));
        broker.kill();
        let answered = importing
            .join()
            .expect("a request")
            .is_ok_and(|answer| answer.status == 204);
        let broker = broker.restart();
        let there = Http::new(broker.http())
            .get("/api/users")
            .as_array()
            .expect("rows")
            .len()
            - 1;
        assert!(there == USERS || (there == 0 && !answered), "{there} after {millis} ms");
    }
}
