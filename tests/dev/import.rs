//! `leveret import`: what is imported is what stands on the broker that it came from.

use std::process::Output;

use harness::broker_process::Broker;
use harness::http::Http;
use harness::place;
use serde_json::{Value, json};

use crate::plan::{command, utf8};
use crate::{folder, text};

fn leveret(words: &[&str]) -> Output {
    command(None, words)
}

/// A file of the example: something of everything that has a counterpart, as its tool writes it.
fn example(name: &str) -> String {
    let path = place::repository().join("examples/moving").join(name);
    std::fs::read_to_string(path).expect("an example")
}

fn definitions() -> Value {
    serde_json::from_str(&example("definitions.json")).expect("JSON")
}

/// Imports files into a folder: lint finds nothing in it, and on the broker nothing is to be done.
fn comes_back(broker: &Broker, files: &[(&str, &str)], extra: &[&str], objects: usize) {
    let from = folder(files);
    let into = folder(&[]);
    let into = into.path().join("yaml");
    let imported = leveret(&[&["import", utf8(from.path()), "--output", utf8(&into)], extra].concat());
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    let linted = leveret(&["lint", utf8(&into)]);
    assert_eq!(linted.status.code(), Some(0), "{}", text(&linted.stderr));
    let planned = command(Some(broker.http()), &["plan", utf8(&into)]);
    let said = text(&planned.stdout);
    assert_eq!(planned.status.code(), Some(0), "{said} {}", text(&planned.stderr));
    assert!(said.contains(&format!("0 refused, {objects} as declared")), "{said}");
}

#[test]
fn definitions_that_a_broker_has_loaded_change_nothing_on_it() {
    let broker = Broker::start();
    let api = Http::new(broker.http());
    let loaded = api.request("POST", "/api/definitions", Some(&definitions()));
    assert_eq!(loaded.status, 204, "{}", loaded.body);
    comes_back(&broker, &[("definitions.json", &definitions().to_string())], &[], 9);
    for (path, vhost, objects) in [("%2F", "/", 1), ("Shop%20EU", "Shop EU", 8)] {
        let own = api.get(&format!("/api/definitions/{path}"));
        comes_back(
            &broker,
            &[("of-one.json", &own.to_string())],
            &["--vhost", vhost],
            objects,
        );
    }
}

#[test]
fn users_that_a_broker_has_loaded_change_nothing_on_it() {
    let broker = Broker::start();
    let api = Http::new(broker.http());
    let mut document = definitions();
    document["users"] = json!([
        {"name": "Till", "password_hash": "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=",
            "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["management"],
            "limits": {"max-connections": 5, "max-channels": -1}},
        {"name": "locked", "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": [],
            "limits": {}}]);
    document["permissions"] = json!([
        {"user": "Till", "vhost": "/", "configure": "^a", "write": "", "read": ".*"},
        {"user": "Till", "vhost": "Shop EU", "configure": "", "write": "", "read": ".*"}]);
    document["topic_permissions"] = json!([
        {"user": "Till", "vhost": "Shop EU", "exchange": "Orders", "write": "^{username}\\.", "read": ".*"}]);
    let loaded = api.request("POST", "/api/definitions", Some(&document));
    assert_eq!(loaded.status, 204, "{}", loaded.body);
    let files = [("d.json", &*document.to_string())];
    comes_back(&broker, &files, &["--password-hashes"], 11);
    let from = folder(&files);
    let careful = leveret(&["import", utf8(from.path())]);
    assert_eq!(careful.status.code(), Some(2), "{}", text(&careful.stderr));
    assert!(
        !text(&careful.stdout).contains("aGFzaGhh"),
        "no hash that was not asked for"
    );
}

#[test]
fn users_whose_passwords_were_set_here_come_back_from_the_export() {
    let broker = Broker::start();
    let api = Http::new(broker.http());
    let body = json!({"password": "geheim", "tags": "management"});
    assert_eq!(api.request("PUT", "/api/users/till", Some(&body)).status, 201);
    let body = json!({"configure": "", "write": "", "read": ".*"});
    assert_eq!(api.request("PUT", "/api/permissions/%2F/till", Some(&body)).status, 201);
    let document = api.get("/api/definitions");
    let known = document.pointer("/leveret/users/0/name");
    assert_eq!(known, Some(&json!("till")), "{document}");
    let files = [("d.json", &*document.to_string())];
    // It, and guest.
    comes_back(&broker, &files, &["--password-hashes"], 2);
    let from = folder(&files);
    let careful = leveret(&["import", utf8(from.path())]);
    let said = text(&careful.stderr);
    assert_eq!(careful.status.code(), Some(2), "{said}");
    assert!(said.contains("leveret.users[0]: user 'till': password: "), "{said}");
    let hash = document
        .pointer("/leveret/users/0/password_hash")
        .and_then(Value::as_str);
    let hash = hash.expect("a hash");
    assert!(!text(&careful.stdout).contains(hash) && !said.contains(hash));
}

#[test]
fn manifests_and_state_of_the_same_broker_change_nothing_on_it() {
    let broker = Broker::start();
    let loaded = Http::new(broker.http()).request("POST", "/api/definitions", Some(&definitions()));
    assert_eq!(loaded.status, 204, "{}", loaded.body);
    for (file, objects) in [("topology.yaml", 9), ("terraform.tfstate", 8)] {
        comes_back(&broker, &[(file, &example(file))], &[], objects);
    }
}

#[test]
fn what_is_left_out_is_named_and_the_exit_code_says_so() {
    let shovel = json!({"queues": [], "users": [{"name": "app", "password_hash": "c2VjcmV0"}],
        "parameters": [{"vhost": "/", "component": "shovel", "name": "move", "value": {"src-uri": "amqp://a:secret@b"}}],
        "exchanges": [{"vhost": "/", "name": "x", "type": "direct", "durable": true, "auto_delete": false,
            "arguments": {}, "colour": "red"}]});
    let from = folder(&[("d.json", &shovel.to_string())]);
    let imported = leveret(&["import", utf8(from.path())]);
    let said = text(&imported.stderr);
    assert_eq!(imported.status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    for (place, what) in [
        ("parameters[0]: ", "shovel 'move': Leveret runs no shovels"),
        ("exchanges[0]: ", "exchange 'x': colour: is not known here"),
    ] {
        let told = lines.iter().any(|line| line.contains(place) && line.contains(what));
        assert!(told, "{what}: {said}");
    }
    assert!(
        lines.iter().all(|line| line.starts_with("leveret: left out: ")),
        "{said}"
    );
    assert!(!said.contains("secret") && !said.contains("c2VjcmV0"), "{said}");
    assert!(
        text(&imported.stdout).contains("kind: Exchange"),
        "{}",
        text(&imported.stdout)
    );
}

#[test]
fn strangers_files_are_read_in_bounded_time_and_memory() {
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let twice = "{\"queues\": [], \"queues\": []}";
    for (name, content, why) in [
        ("deep.json", deep.as_str(), "nested more than 64 deep"),
        ("twice.json", twice, "stands there twice"),
        ("words.json", "nothing like it", "is no manifest"),
    ] {
        let from = folder(&[(name, content)]);
        let imported = leveret(&["import", utf8(&from.path().join(name))]);
        let said = text(&imported.stderr);
        assert!(matches!(imported.status.code(), Some(1 | 2)), "{said}");
        assert!(said.contains(why) && !said.contains("panicked"), "{said}");
    }
    let large = folder(&[]);
    let file = std::fs::File::create(large.path().join("large.json")).expect("a file");
    file.set_len(65 << 20).expect("a file without blocks");
    let refused = leveret(&["import", utf8(large.path())]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("larger than 64 MiB"),
        "{}",
        text(&refused.stderr)
    );
}
