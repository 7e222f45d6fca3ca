//! The part of a spec that policies and operator policies share: their names, which objects, and what they get.
//!
//! In: the manifest. Out: `PolicyRule`. Does not know about which keys a broker takes: those are its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::common::{AdoptionPolicy, default_vhost};
use super::schema::{self, rules};

/// The objects of a policy, and what they get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Name on the broker; default: metadata.name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub name: Option<String>,
    /// Virtual host. Cannot be changed.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::vhost_rules()))]
    pub vhost: String,
    /// Regular expression that the names of the objects match, anywhere unless it is anchored (^orders\.).
    #[schemars(length(max = 4096))]
    pub pattern: String,
    /// The objects: all (queues and exchanges), queues, classic_queues, quorum_queues, streams, exchanges.
    #[serde(default = "everything")]
    #[schemars(extend("enum" = APPLY_TO))]
    pub apply_to: String,
    /// The highest one that matches an object counts.
    #[serde(default)]
    pub priority: i32,
    /// Keys and values as the broker names them (max-length, message-ttl, dead-letter-exchange), passed on verbatim.
    #[schemars(schema_with = "definition")]
    pub definition: BTreeMap<String, Value>,
    /// Effect of deleting this object on the broker: Delete, or Retain (it stays).
    #[serde(default)]
    pub deletion_policy: PolicyDeletionPolicy,
    /// Takes over one that was there before: IfEqual, Always (it is changed), Never.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// Effect on the broker of deleting a Policy or OperatorPolicy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyDeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// RabbitMQ's words.
const APPLY_TO: [&str; 6] = [
    EVERYTHING,
    "queues",
    "classic_queues",
    "quorum_queues",
    "streams",
    "exchanges",
];
const EVERYTHING: &str = "all";

fn everything() -> String {
    EVERYTHING.to_owned()
}

fn definition(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::object(json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    }))
}
