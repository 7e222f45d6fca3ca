//! Objects that were found in files.
//!
//! In: nothing. Out: `Found`, and what there is to say of one. Does not know about files.

use serde_json::{Map, Value};

use crate::rabbitmq::Translation;

/// An object that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// `FILE:LINE`, or a file and the place in it.
    pub(super) place: String,
    /// The object as a person calls it.
    pub(super) what: String,
    /// Name, namespace, labels and annotations of a manifest; empty for what is none.
    pub(super) metadata: Map<String, Value>,
    pub(super) translation: Translation,
}

impl Found {
    /// A line on it.
    pub(super) fn line(&self, why: &str) -> String {
        let words = [self.place.as_str(), self.what.as_str(), why];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(": ")
    }

    /// Its Broker by its own words.
    pub(super) fn home(&self) -> String {
        let broker = self.translation.spec.get("brokerRef").unwrap_or(&Value::Null);
        address(broker, text(&self.metadata, "namespace"))
    }
}

/// A text in a table, or an empty one.
pub(super) fn text<'a>(table: &'a Map<String, Value>, field: &str) -> &'a str {
    table.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A Broker as it is called from `namespace`.
pub(super) fn address(broker: &Value, namespace: &str) -> String {
    let text = |field: &str| broker.get(field).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or(namespace);
    format!("{namespace}/{}", text("name").unwrap_or_default())
}
