//! `Exchange`: an exchange on a broker.
//!
//! In: the manifest. Out: `ExchangeSpec`. Does not know about what the broker makes of it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{AdoptionPolicy, BrokerRef, Rule, Specifies, UpdatePolicy, default_true, default_vhost};
use super::condition::ObjectStatus;
use super::schema::{self, rules};

/// An exchange on a broker.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "Exchange",
    plural = "exchanges",
    shortname = "lvx",
    category = "leveret",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    selectable = ".spec.vhost",
    doc = "An exchange on a broker",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"VHOST","type":"string","jsonPath":".spec.vhost"}"#,
    printcolumn = r#"{"name":"TYPE","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"EXCHANGE","type":"string","priority":1,"jsonPath":".status.name"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = Value::Array(schema::shorthand_rules(&[("alternateExchange", "alternate-exchange")]))))]
pub struct ExchangeSpec {
    /// The Broker that has this exchange. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    /// Name on the broker; default: metadata.name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::own_name_rules()))]
    pub name: Option<String>,
    /// Virtual host. Cannot be changed.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::vhost_rules()))]
    pub vhost: String,
    /// direct, fanout, topic, headers, or x-... where the broker has it.
    #[serde(default = "default_type", rename = "type")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[TYPE])))]
    pub exchange_type: String,
    /// Survives a restart of the broker.
    #[serde(default = "default_true")]
    pub durable: bool,
    /// The broker deletes the exchange when its last binding goes.
    #[serde(default)]
    pub auto_delete: bool,
    /// Only other exchanges may publish to it, clients may not.
    #[serde(default)]
    pub internal: bool,
    /// Exchange that gets the messages that no binding takes (alternate-exchange).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub alternate_exchange: Option<String>,
    /// Any other exchange arguments, passed on verbatim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "argument_schema")]
    pub arguments: BTreeMap<String, Value>,
    /// Effect of deleting this object on the broker: Delete, DeleteIfUnused (refused while something is bound to it),
    /// Retain (the exchange stays).
    #[serde(default)]
    pub deletion_policy: ExchangeDeletionPolicy,
    /// Takes over an exchange that was there before: IfEqual, Always (whatever its properties), Never.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// Answer to a change of type, durable, autoDelete, internal or arguments: Refuse (the only one in this
    /// version).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::ONLY_REFUSE])))]
    pub update_policy: UpdatePolicy,
}

impl ExchangeSpec {
    /// The name on the broker of the resource called `metadata_name`.
    pub fn broker_name<'a>(&'a self, metadata_name: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(metadata_name)
    }
}

impl Specifies for ExchangeSpec {
    const RULES: &'static [Rule] = &schema::NAMED;
}

/// Effect on the broker of deleting the Exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExchangeDeletionPolicy {
    #[default]
    Delete,
    DeleteIfUnused,
    Retain,
}

const TYPE: Rule = (
    "self in ['direct', 'fanout', 'topic', 'headers'] || self.startsWith('x-')",
    "type must be direct, fanout, topic, headers, or begin with x-",
);

fn default_type() -> String {
    "direct".to_owned()
}

fn argument_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::argument_schema(&[("alternate-exchange", "string")])
}
