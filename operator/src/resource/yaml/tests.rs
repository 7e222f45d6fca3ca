//! What is written is read by everybody the same.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::json;

use super::*;

/// Words that some reader takes for something else than a text, and their neighbours.
const TRAPS: [&str; 62] = [
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "Yes",
    "YES",
    "no",
    "No",
    "NO",
    "on",
    "On",
    "ON",
    "off",
    "Off",
    "OFF",
    "true",
    "TRUE",
    "false",
    "False",
    "null",
    "Null",
    "NULL",
    "~",
    "",
    "<<",
    "=",
    "1",
    "-1",
    "+1",
    "017",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "1_000.5",
    "1.5",
    "1.",
    ".5",
    "+.5",
    "1e5",
    "1.5e3",
    "1.5e+3",
    ".inf",
    "-.INF",
    ".nan",
    "1:30",
    "190:20:30",
    "1:30.5",
    "2001-01-01",
    "2001-12-14t21:59:43.10-05:00",
    "---",
    "...",
    "- a",
    "a: b",
    "a #b",
    "*",
    "&a",
    "!x",
    "%",
    "@",
    "0",
];

#[test]
fn words_that_are_read_differently() {
    for (word, old, new) in [
        ("y", Meaning::Bool(true), Meaning::Text),
        ("NO", Meaning::Bool(false), Meaning::Text),
        ("1_000", Meaning::Integer(1000), Meaning::Text),
        ("017", Meaning::Integer(15), Meaning::Integer(17)),
        ("0o17", Meaning::Text, Meaning::Integer(15)),
        ("0b11", Meaning::Integer(3), Meaning::Text),
        ("1e5", Meaning::Text, Meaning::Float(1e5)),
        ("1.5e3", Meaning::Text, Meaning::Float(1500.0)),
        ("1:30", Meaning::Other("a number to the base of 60"), Meaning::Text),
        ("2001-01-01", Meaning::Other("a date"), Meaning::Text),
        ("<<", Meaning::Other("a merge of maps"), Meaning::Text),
    ] {
        assert_eq!(difference(word), Some((old, new)), "{word}");
    }
    for word in [
        "true", "null", "", "5", "-5", "0", "0x1F", "1.5", "1.5e+3", ".inf", "order", "10s", "1.2.3", "a.b", "yep",
        "Nope",
    ] {
        assert_eq!(difference(word), None, "{word}");
    }
}

#[test]
fn a_document_looks_like_one_of_a_person() {
    let value = json!({
        "kind": "Queue",
        "spec": {"name": "no", "routingKey": "order.#", "messageTtl": "1h30m", "arguments": {"y": 1, "list": [1, {"a": "b c"}, [2]]}},
        "empty": {}, "none": [],
    });
    let text = "---\nempty: {}\nkind: Queue\nnone: []\nspec:\n  arguments:\n    list:\n    - 1\n    - a: \"b c\"\n    - - 2\n    \
                \"y\": 1\n  messageTtl: 1h30m\n  name: \"no\"\n  routingKey: order.#\n";
    assert_eq!(document(&value), text);
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&TRAPS[..]).prop_map(str::to_owned),
        "[-+]?[0-9_.:eExob]{1,8}",
        "[yYnNoOfFsSeE]{1,4}",
        "[a-z.*#: \\-\"'\\\\{}\\[\\]&!|>%@`,?]{0,8}",
        any::<String>(),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("a number", |value| value.is_finite())
            .prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((texts(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Words that stand without quotes.
fn plain(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for event in granit_parser::Parser::new_from_str(text) {
        let (event, _) = event.unwrap_or_else(|error| panic!("{error}: {text}"));
        if let granit_parser::Event::Scalar(word, granit_parser::ScalarStyle::Plain, ..) = event {
            words.push(word.into_owned());
        }
    }
    words
}

proptest! {
    #[test]
    fn nothing_that_is_written_can_be_mistaken(value in values()) {
        let text = document(&value);
        for word in plain(&text) {
            prop_assert_eq!(difference(&word), None, "{} in {}", word, text);
        }
        let read: Value = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        prop_assert!(same(&read, &value), "{}: {} is not {}", text, read, value);
    }
}

/// Equal; a number may have another form.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let near = |a: f64, b: f64| (a - b).abs() <= a.abs() * 1e-12;
            a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| near(a, b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        (a, b) => a == b,
    }
}

/// PyYAML is the reference of YAML 1.1.
#[test]
fn pyyaml_reads_the_same() {
    const READ: &str = "import sys, yaml, json\nprint(json.dumps([d for d in yaml.safe_load_all(sys.stdin.buffer)]))";
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let traps: Map<String, Value> = TRAPS.iter().map(|word| ((*word).to_owned(), json!(word))).collect();
    let mut all = vec![
        Value::Object(traps),
        json!([1e20, 1.5e-7, -0.5, 12_345_678_901_i64, "a\u{85}b", "\u{7f}\u{1F600}"]),
    ];
    for _ in 0..200 {
        let value = values().new_tree(&mut runner).expect("a value").current();
        all.push(value);
    }
    let text: String = all.iter().map(document).collect();
    let python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        return eprintln!("skipped: no python3");
    };
    let mut input = python.stdin.take().expect("stdin");
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = python.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("No module named 'yaml'") {
        return eprintln!("skipped: no PyYAML (python3-yaml)");
    }
    writing.join().expect("written").expect("written");
    assert!(output.status.success(), "{error}");
    let read: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(read.len(), all.len());
    for (read, value) in read.iter().zip(&all) {
        assert!(same(read, value), "{}: {read} is not {value}", document(value));
    }
}
