//! Two programs that know nothing of each other's code, and documents that both must agree with: the broker's own tests
//! hold its table against them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use harness::{Broker, place};
use serde_json::{Value, json};

fn document(name: &str) -> String {
    fs::read_to_string(place::repository().join("docs").join(name)).expect("a document")
}

#[test]
fn both_documents_agree_on_what_is_read_anew() {
    let rows: Value = serde_json::from_str(&document("settings.json")).expect("JSON");
    let rows = rows.as_array().expect("settings").clone();
    let keys = |live: bool| {
        rows.iter()
            .filter(move |row| row["live"] == live)
            .map(|row| row["key"].as_str().expect("a key").to_owned())
    };
    let text = document("settings.md");
    let listed = |end: &str| -> BTreeSet<String> {
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| `") && line.trim_end().ends_with(end));
        rows.filter_map(|row| row.split('`').nth(1).map(str::to_owned))
            .collect()
    };
    assert_eq!(keys(true).collect::<BTreeSet<_>>(), listed("| at once |"));
    let later: BTreeSet<String> = keys(false).collect();
    let services = |key: &String| key.ends_with("_listen");
    assert_eq!(
        later,
        listed("| at the next start |")
            .into_iter()
            .filter(|key| !services(key))
            .collect()
    );
}

/// Words of `leveret lint` for a Broker with these settings: the operator's own check.
fn lint(settings: &Value) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = json!({
        "apiVersion": "leveret.dev/v1alpha1", "kind": "Broker", "metadata": {"name": "main"},
        "spec": {"settings": settings},
    });
    fs::write(folder.path().join("a.yaml"), broker.to_string()).expect("a file");
    let output = Command::new(place::program("leveret", "LEVERET_BIN"))
        .arg("lint")
        .arg(folder.path())
        .output()
        .expect("leveret runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn both_programs_refuse_the_same_values_in_the_same_words() {
    let wrong = [
        ("frame_max", "4095B"),
        ("frame_max", "65MiB"),
        ("channel_max", "0"),
        ("channel_max", "65536"),
        ("heartbeat", "3601s"),
        ("heartbeat", "2h"),
        ("max_message_size", "1023"),
        ("memory_watermark", "91%"),
        ("memory_watermark", "0%"),
        ("memory_watermark", "15MiB"),
        ("segment_size", "3GiB"),
        ("flush_interval", "0ms"),
        ("lock_timeout", "601s"),
        ("threads", "257"),
        ("connection_max", "0"),
        ("connection_max", "4294967296"),
        ("max_header_size", "18446744073709551616"),
    ];
    let said: Vec<(String, String)> = std::thread::scope(|scope| {
        let ask = |(key, value): (&'static str, &'static str)| {
            let flag = format!("--{}={value}", key.replace('_', "-"));
            let folder = tempfile::tempdir().expect("a folder");
            let data = format!("--data-dir={}", folder.path().display());
            (Broker::refused(&[&data, &flag]).stderr, lint(&json!({key: value})))
        };
        let asked: Vec<_> = wrong.map(|case| scope.spawn(move || ask(case))).into_iter().collect();
        asked
            .into_iter()
            .map(|thread| thread.join().expect("both answer"))
            .collect()
    });
    for ((key, value), (broker, operator)) in wrong.iter().zip(said) {
        let words = |text: &str| {
            let from = text
                .find(&format!("setting {key}: '{value}' is not allowed; "))
                .unwrap_or_else(|| panic!("{text}"));
            text[from..].lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(words(&broker), words(&operator), "{key} {value}");
    }
}

#[test]
fn both_programs_take_the_same_values() {
    let right: BTreeMap<&str, &str> = [
        ("frame_max", "4 KiB"),
        ("channel_max", "65535"),
        ("heartbeat", "3600s"),
        ("max_message_size", "1024"),
        ("memory_watermark", "90%"),
        ("disk_free_limit", "3MiB"),
        ("segment_size", "1MiB"),
        ("flush_interval", "1ms"),
        ("lock_timeout", "0s"),
        ("threads", "1"),
        ("connection_max", "infinity"),
        ("log", "info,leveret_broker=debug"),
        ("log_format", "json"),
        ("guest_loopback_only", "false"),
    ]
    .into();
    let flags: Vec<String> = right
        .iter()
        .map(|(key, value)| format!("--{}={value}", key.replace('_', "-")))
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    drop(Broker::start_with(&flags));
    let mut settings = json!(right);
    settings["guest_loopback_only"] = json!(false);
    assert!(lint(&settings).contains("1 broker: fine"), "{}", lint(&settings));
}
