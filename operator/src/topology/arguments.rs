//! The arguments of a declaration, in a form in which equal means equal to a broker.
//!
//! In: JSON tables. Out: `Arguments`. Does not know about which arguments there are.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// Most characters of arguments in a sentence.
const MOST_SHOWN: usize = 120;

/// The arguments of a declaration, in a canonical form: two tables that mean the same are equal.
///
/// AMQP has eight integer types and brokers do not tell them apart when they compare declarations, so an integer is an
/// integer here, and `1.0` is `1` (JSON has only one number type and some brokers list integers as floats).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct Arguments {
    /// Argument to its value as canonical JSON text.
    values: BTreeMap<String, String>,
}

impl Arguments {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        self.values.get(name).map(|text| parse(text))
    }

    pub fn insert(&mut self, name: &str, value: &Value) {
        self.values.insert(name.to_owned(), canonical(value));
    }

    pub fn remove(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// Arguments with their values, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.values.iter().map(|(name, text)| (name.as_str(), parse(text)))
    }
}

impl fmt::Display for Arguments {
    /// As `n=5, x-match="all"`: in the order of their names, with values as JSON has them. What is too long for a
    /// sentence is cut, and a number of the whole follows, so that two that differ read differently.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut whole = String::new();
        for (name, value) in &self.values {
            let comma = if whole.is_empty() { "" } else { ", " };
            write!(whole, "{comma}{}={value}", name.escape_debug())?;
        }
        match whole.char_indices().nth(MOST_SHOWN) {
            None => f.write_str(&whole),
            Some((end, _)) => {
                let shown = whole.get(..end).unwrap_or_default();
                write!(f, "{shown}... (#{:08x})", number(&whole))
            }
        }
    }
}

/// The same number for the same text, in every version (FNV-1a).
fn number(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

impl From<BTreeMap<String, Value>> for Arguments {
    fn from(values: BTreeMap<String, Value>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(name, value)| (name, canonical(&value)))
                .collect(),
        }
    }
}

impl From<Arguments> for BTreeMap<String, Value> {
    fn from(arguments: Arguments) -> Self {
        arguments
            .values
            .into_iter()
            .map(|(name, text)| (name, parse(&text)))
            .collect()
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn canonical(value: &Value) -> String {
    normal(value).to_string()
}

/// Integers written as floats become integers; the keys of tables are sorted.
fn normal(value: &Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53: exact")]
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT => Value::Number(Number::from(float as i64)),
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            Value::Object(
                sorted
                    .into_iter()
                    .map(|(key, value)| (key.clone(), normal(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// Arguments in a row of the management API. Erlang cannot tell an empty table from an empty list: RabbitMQ sometimes
/// writes `[]`.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub(super) enum Table {
    Map(BTreeMap<String, Value>),
    #[default]
    #[serde(deserialize_with = "anything")]
    Other,
}

fn anything<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| ())
}

impl From<Table> for Arguments {
    fn from(table: Table) -> Self {
        match table {
            Table::Map(map) => map.into(),
            Table::Other => Arguments::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(value: Value) -> Arguments {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn arguments_compare_by_meaning() {
        assert_eq!(arguments(json!({"a": 1, "b": 2.0})), arguments(json!({"b": 2, "a": 1})));
        assert_eq!(
            arguments(json!({"t": {"x": 1, "y": [1.0]}})),
            arguments(json!({"t": {"y": [1], "x": 1}}))
        );
        assert_ne!(arguments(json!({"a": 1})), arguments(json!({"a": "1"})));
        assert_ne!(arguments(json!({"a": 1.5})), arguments(json!({"a": 1})));
        assert_ne!(arguments(json!({"a": null})), arguments(json!({})));
    }

    #[test]
    fn arguments_are_told_apart_in_a_few_words() {
        let short = arguments(json!({"x-match": "all", "n": 5.0, "t": {"b": [1], "a": null}}));
        assert_eq!(short.to_string(), r#"n=5, t={"a":null,"b":[1]}, x-match="all""#);
        let long = |end: &str| arguments(json!({"text": "\u{e9}".repeat(1000) + end})).to_string();
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
        assert!(long("a").chars().count() < MOST_SHOWN + 20);
        assert_eq!(number(""), 0x811c_9dc5);
        assert_eq!(number("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn arguments_keep_their_values() {
        let value = json!({"i": 9_007_199_254_740_993_i64, "u": u64::MAX, "f": 1.5, "s": "x", "b": true, "n": null});
        assert_eq!(serde_json::to_value(arguments(value.clone())).unwrap(), value);
    }
}
