//! Bodies of requests: JSON objects, and what RabbitMQ expects in them.
//!
//! Comes in: bytes. Goes out: the fields, or 400 with RabbitMQ's words. Pure.

use super::error::{Failure, Result};
use super::json;
use leveret_amqp::{FieldTable, ShortString};
use serde_json::{Map, Value};

/// The object of a request's body.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body; nothing is an empty object.
    ///
    /// # Errors
    /// 400 `not_json` (RabbitMQ's word) for what isn't a JSON object; 400 for more values than are read.
    pub fn parse(body: &[u8]) -> Result<Self> {
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        if values(body) > VALUES {
            return Err(Failure::BadRequest(format!(
                "the body has too many values: at most {VALUES} are allowed"
            )));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            _ => Err(Failure::BadRequest("not_json".into())),
        }
    }

    /// The fields of an object within a body.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Refuses a body that lacks one of these.
    ///
    /// # Errors
    /// 400 with all that are missing.
    pub fn require(&self, names: &[&str]) -> Result<()> {
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !self.0.contains_key(**name))
            .map(|name| format!("{{key_missing,{name}}}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::BadRequest(format!("[{}]", missing.join(","))))
    }

    /// A field as it is.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A field, `null` if it isn't there.
    pub fn value(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// The whole object.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A field as JSON text; `null` if it isn't there.
    pub fn json(&self, name: &str) -> String {
        self.0.get(name).map_or("null".to_owned(), Value::to_string)
    }

    /// The fields of an object within.
    ///
    /// # Errors
    /// 400 if it is no object.
    pub fn object(&self, name: &str) -> Result<Self> {
        match self.get(name) {
            Some(Value::Object(fields)) => Ok(Self(fields.clone())),
            other => {
                let found = other.map_or("null".to_owned(), Value::to_string);
                Err(Failure::BadRequest(format!("{name}: not_object: {found}")))
            }
        }
    }

    /// True or false, also as text; false if it isn't there.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn bool(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(Failure::BadRequest(format!("{name}: not_boolean: {other}"))),
        }
    }

    /// A text, if it is there.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Failure::BadRequest(format!("{name}: not_string: {other}"))),
        }
    }

    /// A whole number, also as text; `None` if it isn't there.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let wrong = |value: &Value| Failure::BadRequest(format!("{name}: not_integer: {value}"));
        match self.get(name) {
            None => Ok(None),
            Some(value @ Value::String(text)) => text.parse().map(Some).map_err(|_| wrong(value)),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(value)),
        }
    }

    /// A text that AMQP takes as a name or key.
    ///
    /// # Errors
    /// 400 if it is no text or longer than 255 bytes.
    pub fn short(&self, name: &str) -> Result<Option<ShortString>> {
        self.text(name)?.map(short).transpose()
    }

    /// All fields, as a table.
    ///
    /// # Errors
    /// 400 for what AMQP has no type for.
    pub fn all(&self) -> Result<FieldTable> {
        Ok(json::table_of(&self.0)?)
    }

    /// A field table, empty if it isn't there.
    ///
    /// # Errors
    /// 400 for what AMQP has no type for.
    pub fn table(&self, name: &str) -> Result<FieldTable> {
        let wrong = |error: json::TableError| Failure::BadRequest(format!("{name}: {error}"));
        json::table(self.0.get(name)).map_err(wrong)
    }
}

/// Values of a body, at most. Each takes many times its octets once it is parsed.
pub const VALUES: usize = 16_384;

/// Octets of a document of definitions for each value that it may have: an entry of RabbitMQ's has some 15 for each.
const OCTETS: u64 = 50;

/// Values of a document of definitions, at most, where bodies may have so many bytes: with the usual 20 MB, those of
/// some 20,000 queues with their bindings.
pub fn definitions(largest: u64) -> usize {
    (largest / OCTETS) as usize
}

/// The values of a JSON text, roughly: counted where they begin, outside of texts.
pub fn values(body: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// A name of a URL or body as AMQP has it.
///
/// # Errors
/// 400 if it is longer than 255 bytes.
pub fn short(text: &str) -> Result<ShortString> {
    ShortString::try_from(text).map_err(|error| Failure::BadRequest(format!("'{text}': {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_very_many_values_are_not_taken_apart() {
        assert_eq!(values(br#"{"a": [1, {"b": 2}], "c": ",[{\",", "d": "\\"}"#), 6);
        let body = |count: usize| format!("{{\"x\": [{}]}}", vec!["1"; count].join(","));
        assert!(Fields::parse(body(VALUES - 1).as_bytes()).is_ok());
        let refused = Fields::parse(body(VALUES).as_bytes()).map(drop);
        let text = "the body has too many values: at most 16384 are allowed";
        assert_eq!(refused.expect_err("refused").to_string(), text);
        let text = format!("{{\"payload\": \"{}\"}}", ",[{".repeat(VALUES));
        assert!(Fields::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn wrong_fields_are_named() {
        let fields = Fields::parse(br#"{"durable": "yes", "auto_delete": "true", "count": -1, "arguments": 3}"#);
        let fields = fields.expect("an object");
        assert!(fields.bool("auto_delete").expect("true"));
        assert!(!fields.bool("internal").expect("false"));
        let text = |result: Result<()>| result.expect_err("refused").to_string();
        assert_eq!(text(fields.bool("durable").map(drop)), "durable: not_boolean: \"yes\"");
        assert_eq!(text(fields.number("count").map(drop)), "count: not_integer: -1");
        assert_eq!(
            text(fields.table("arguments").map(drop)),
            "arguments: '3' is not an object"
        );
        assert_eq!(text(fields.require(&["count", "ackmode"])), "[{key_missing,ackmode}]");
        assert_eq!(text(Fields::parse(b"{nope").map(drop)), "not_json");
        assert_eq!(text(Fields::parse(b"[]").map(drop)), "not_json");
        assert!(Fields::parse(b"").is_ok());
    }
}
