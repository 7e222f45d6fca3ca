//! A document of definitions, taken apart.
//!
//! Comes in: JSON as RabbitMQ exports it. Goes out: its entries, and for each that is none the reason; or why nothing
//! of it can be read. Pure. Does not know what there is already.

use crate::accounts::Asked;
use crate::admin::body::{Fields, values};
use crate::admin::error::{Failure, Result};
use crate::admin::users;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Value};
use std::fmt::{self, Formatter};
use std::marker::PhantomData;

/// A document. What it leaves out is empty, what isn't known is passed over, as in RabbitMQ.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Document {
    rabbitmq_version: Value,
    rabbit_version: Value,
    pub(super) vhosts: List<VirtualHost>,
    pub(super) users: List<User>,
    pub(super) permissions: List<Permission>,
    pub(super) topic_permissions: List<Permission>,
    pub(super) global_parameters: List<Parameter>,
    pub(super) parameters: List<Parameter>,
    pub(super) policies: List<Map<String, Value>>,
    pub(super) exchanges: List<Exchange>,
    pub(super) queues: List<Queue>,
    pub(super) bindings: List<Binding>,
    leveret: Beside,
}

/// The entries of this broker that RabbitMQ must not read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Beside {
    users: List<User>,
    permissions: List<Permission>,
    topic_permissions: List<Permission>,
}

/// A list of a document: an entry that can't be read doesn't hide the faults of others.
pub struct List<T>(pub Vec<std::result::Result<T, Unread>>);

/// An entry that can't be read.
#[derive(Debug)]
pub struct Unread {
    /// Its name, or else its place in the list.
    pub name: String,
    /// The fault.
    pub fault: String,
}

/// A virtual host.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct VirtualHost {
    pub(super) name: String,
    pub(super) limits: Value,
    pub(super) metadata: Map<String, Value>,
}

/// A user.
pub struct User {
    pub(super) asked: Asked,
    /// True for a hash that doesn't say by which algorithm it was made.
    pub(super) implied: bool,
}

/// Permissions of a user in a vhost; topic permissions are for an exchange, and have no `configure`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Permission {
    pub(super) user: String,
    pub(super) vhost: String,
    pub(super) exchange: String,
    pub(super) configure: Option<String>,
    pub(super) write: Option<String>,
    pub(super) read: Option<String>,
}

/// A parameter; a global one has no vhost and no component.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Parameter {
    pub(super) vhost: Option<String>,
    pub(super) component: String,
    pub(super) name: String,
    pub(super) value: Value,
}

/// An exchange.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Exchange {
    pub(super) name: String,
    pub(super) vhost: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default = "yes")]
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) arguments: Value,
}

/// A queue.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Queue {
    pub(super) name: String,
    pub(super) vhost: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default = "yes")]
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: Value,
}

/// A binding.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Binding {
    pub(super) source: String,
    pub(super) vhost: Option<String>,
    pub(super) destination: String,
    pub(super) destination_type: String,
    pub(super) routing_key: String,
    pub(super) arguments: Value,
}

fn yes() -> bool {
    true
}

impl Document {
    /// Reads a document of so many values at most; nothing is an empty one.
    ///
    /// # Errors
    /// 400 with RabbitMQ's words if it can't be read, or has too many values.
    pub fn parse(text: &[u8], most: usize) -> Result<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        if values(text) > most {
            let text = format!("the definitions have too many values: at most {most} are read");
            return Err(Failure::BadRequest(text));
        }
        const UNREAD: &str = "failed_to_parse_json";
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(Failure::BadRequest(UNREAD.into()));
        }
        let read: serde_json::Result<Self> = serde_json::from_slice(text);
        let mut document = read.map_err(|error| {
            Failure::BadRequest(match error.classify() {
                Category::Data => format!("{UNREAD}: {error}"),
                _ => UNREAD.to_owned(),
            })
        })?;
        let beside = std::mem::take(&mut document.leveret);
        document.users.0.extend(beside.users.0);
        document.permissions.0.extend(beside.permissions.0);
        document.topic_permissions.0.extend(beside.topic_permissions.0);
        Ok(document)
    }

    /// True if a hash that doesn't say so was made with MD5: RabbitMQ had nothing else before 3.6.
    pub(super) fn implies_md5(&self) -> bool {
        let version = self.rabbitmq_version.as_str().or(self.rabbit_version.as_str());
        let mut parts = version.unwrap_or_default().split('.').map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (3, 6),
            _ => false,
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

/// Reads a list, entry by entry.
struct Entries<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Entries<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<List<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(value) = list.next_element::<Value>()? {
            let named = ["name", "user", "source"]
                .iter()
                .find_map(|key| value.get(key)?.as_str());
            let name = named.map_or_else(|| format!("number {}", entries.len() + 1), |name| format!("'{name}'"));
            let entry = T::deserialize(value).map_err(|error| Unread {
                name,
                fault: error.to_string(),
            });
            entries.push(entry);
        }
        Ok(List(entries))
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let fields = Fields::new(Map::deserialize(deserializer)?);
        let name = fields.text("name").map_err(D::Error::custom)?;
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| D::Error::custom("it has no name"))?.to_owned();
        let implied = fields.get("password_hash").is_some_and(|hash| hash != "");
        let implied = implied && fields.get("hashing_algorithm").is_none();
        let asked = users::asked(name, &fields).map_err(D::Error::custom)?;
        Ok(Self { asked, implied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Document> {
        Document::parse(text, 1000)
    }

    fn refused(text: &[u8]) -> String {
        parse(text).map(drop).expect_err("refused").to_string()
    }

    #[test]
    fn a_document_is_an_object_of_lists() {
        let text = br#"{"rabbit_version": "4.3.6", "queues": [{"name": "q", "vhost": "/", "arguments": []}], "x": 1}"#;
        let document = parse(text).expect("a document");
        assert_eq!((document.queues.0.len(), document.exchanges.0.len()), (1, 0));
        assert!(matches!(&document.queues.0[..], [Ok(queue)] if queue.durable && !queue.auto_delete));
        assert!(parse(b"").is_ok_and(|document| document.queues.0.is_empty()));
        for wrong in [&b"x"[..], b"[]", b"{\"queues\": ["] {
            assert_eq!(refused(wrong), "failed_to_parse_json");
        }
        let text = refused(br#"{"queues": {"name": 3}}"#);
        assert!(
            text.starts_with("failed_to_parse_json: invalid type: map, expected a list"),
            "{text}"
        );
        let many = format!("{{\"x\": [{}]}}", vec!["1"; 1000].join(","));
        assert!(refused(many.as_bytes()).starts_with("the definitions have too many values"));
        let deep = format!(
            "{{\"parameters\": [{{\"value\": {}{}}}]}}",
            "[".repeat(900),
            "]".repeat(900)
        );
        assert_eq!(refused(deep.as_bytes()), "failed_to_parse_json");
    }

    #[test]
    fn each_entry_that_cannot_be_read_is_known_by_its_name() {
        let text = br#"{"queues": [{"name": "q", "durable": 7}, {"name": "other"}, 3, {"name": 3}]}"#;
        let document = parse(text).expect("a document");
        let faults = document.queues.0.iter().filter_map(|entry| entry.as_ref().err());
        let faults: Vec<String> = faults
            .map(|unread| format!("{}: {}", unread.name, unread.fault))
            .collect();
        assert_eq!(
            faults,
            [
                "'q': invalid type: integer `7`, expected a boolean",
                "number 3: invalid type: integer `3`, expected struct Queue",
                "number 4: invalid type: integer `3`, expected a string",
            ]
        );
    }

    #[test]
    fn users_are_read_wherever_they_stand() {
        let user = |name: &str| format!(r#"{{"name": "{name}", "password_hash": "", "tags": []}}"#);
        let (a, b) = (user("a"), user("b"));
        let text = format!(r#"{{"users": [{a}], "leveret": {{"users": [{b}], "permissions": [{{"user": "b"}}]}}}}"#);
        let document = parse(text.as_bytes()).expect("a document");
        let names: Vec<&str> = document
            .users
            .0
            .iter()
            .flatten()
            .map(|user| user.asked.name.as_str())
            .collect();
        assert_eq!((names, document.permissions.0.len()), (vec!["a", "b"], 1));
        let wrong =
            br#"{"users": [{"name": "c"}, {"name": "", "tags": ""}, {"name": "d", "tags": "", "password": 3}]}"#;
        let document = parse(wrong).expect("a document");
        let faults = document.users.0.iter().filter_map(|entry| entry.as_ref().err());
        let faults: Vec<&str> = faults.map(|unread| unread.fault.as_str()).collect();
        assert_eq!(faults, ["tags_not_present", "it has no name", "password: not_string"]);
    }

    #[test]
    fn a_hash_without_an_algorithm_is_what_its_version_had() {
        let implied = |version: &str| {
            let text = format!(r#"{{"rabbit_version": "{version}"}}"#);
            parse(text.as_bytes()).is_ok_and(|document| document.implies_md5())
        };
        for (version, md5) in [
            ("3.5.7", true),
            ("2.8.1", true),
            ("3.6.0", false),
            ("4.3.6", false),
            ("", false),
        ] {
            assert_eq!(implied(version), md5, "{version}");
        }
    }
}
