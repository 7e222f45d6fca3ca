//! Queries of URLs as the HTTP API takes them: each is answered with JSON, or refused.
#![no_main]

use std::collections::HashMap;

use leveret_broker::admin::json::{quoted, unquoted};
use leveret_broker::admin::page::Query;
use leveret_broker::pieces::Pieces;
use libfuzzer_sys::fuzz_target;

/// Rows with names and a number within.
const ROWS: [(&str, u64); 5] = [("a1", 5), ("a2", 3), ("B1", 4), ("b.2", 1), ("c", 2)];

fuzz_target!(|text: &str| {
    let part = |part: &str| String::from_utf8_lossy(&unquoted(part)).into_owned();
    assert_eq!(unquoted(&quoted(text.as_bytes())), text.as_bytes());
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let parameters: HashMap<String, String> = pairs.map(|(name, value)| (part(name), part(value))).collect();
    let Ok(query) = Query::parse(&parameters) else { return };
    let mut out = Pieces::whole();
    let written = query.list(
        &mut out,
        ROWS.to_vec(),
        |row| row.0.into(),
        |row, object| {
            object.text("name", row.0);
            object.object("stats", |object| object.number("n", row.1));
        },
    );
    if written.is_ok() {
        serde_json::from_slice::<serde_json::Value>(&out.into_rest()).expect("JSON");
    }
});
