//! A document of definitions, taken apart.
//!
//! Comes in: JSON as RabbitMQ exports it. Goes out: its entries, or why it can't be read. Pure. Does not know what
//! there is already.

use crate::admin::body::{DEFINITIONS, values};
use crate::admin::error::{Failure, Result};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::{Map, Value};

/// A document. What it leaves out is empty, what isn't known is passed over, as in RabbitMQ.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    pub(super) vhosts: Vec<VirtualHost>,
    pub(super) users: Vec<User>,
    pub(super) permissions: Vec<Permission>,
    pub(super) topic_permissions: Vec<Permission>,
    pub(super) global_parameters: Vec<Parameter>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) policies: Vec<Map<String, Value>>,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
    pub(super) bindings: Vec<Binding>,
}

/// A virtual host.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct VirtualHost {
    pub(super) name: String,
    pub(super) limits: Value,
    pub(super) metadata: Map<String, Value>,
}

/// A user, as far as it must be known whether there is one of this name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    pub(super) name: String,
}

/// Permissions of a user in a vhost.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Permission {
    pub(super) user: String,
    pub(super) vhost: String,
}

/// A parameter; a global one has no vhost and no component.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parameter {
    pub(super) vhost: Option<String>,
    pub(super) component: String,
    pub(super) name: String,
    pub(super) value: Value,
}

/// An exchange.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Exchange {
    pub(super) name: String,
    pub(super) vhost: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) arguments: Value,
}

/// A queue.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Queue {
    pub(super) name: String,
    pub(super) vhost: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: Value,
}

/// A binding.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Binding {
    pub(super) source: String,
    pub(super) vhost: Option<String>,
    pub(super) destination: String,
    pub(super) destination_type: String,
    pub(super) routing_key: String,
    pub(super) arguments: Value,
}

impl Document {
    /// Reads a document; nothing is an empty one.
    ///
    /// # Errors
    /// 400 with RabbitMQ's words if it can't be read, or has too many values.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        if values(text) > DEFINITIONS {
            let text = format!("the definitions have too many values: at most {DEFINITIONS} are read");
            return Err(Failure::BadRequest(text));
        }
        const UNREAD: &str = "failed_to_parse_json";
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(Failure::BadRequest(UNREAD.into()));
        }
        serde_json::from_slice(text).map_err(|error| {
            Failure::BadRequest(match error.classify() {
                Category::Data => format!("{UNREAD}: {error}"),
                _ => UNREAD.to_owned(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_an_object_of_lists() {
        let text = br#"{"rabbit_version": "4.3.6", "queues": [{"name": "q", "vhost": "/", "arguments": []}], "x": 1}"#;
        let document = Document::parse(text).expect("a document");
        assert_eq!((document.queues.len(), document.exchanges.len()), (1, 0));
        assert!(Document::parse(b"").is_ok_and(|document| document.queues.is_empty()));
        let refused = |text: &[u8]| Document::parse(text).map(drop).expect_err("refused").to_string();
        for wrong in [&b"x"[..], b"[]", b"{\"queues\": ["] {
            assert_eq!(refused(wrong), "failed_to_parse_json");
        }
        let text = refused(br#"{"queues": [{"name": 3}]}"#);
        assert!(
            text.starts_with("failed_to_parse_json: invalid type: integer `3`, expected a string"),
            "{text}"
        );
        let many = format!("{{\"x\": [{}]}}", vec!["1"; DEFINITIONS].join(","));
        assert!(refused(many.as_bytes()).starts_with("the definitions have too many values"));
    }
}
