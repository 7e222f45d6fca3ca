//! `Binding`: what routes messages from an exchange to a queue or to another exchange.
//!
//! In: the manifest. Out: `BindingSpec`. Does not know about what the broker makes of it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{BrokerRef, Rule, Specifies, default_vhost};
use super::condition::ObjectStatus;
use super::schema::{self, rules};

/// Routes messages from an exchange to a queue or to another exchange.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "Binding",
    plural = "bindings",
    shortname = "lvbind",
    category = "leveret",
    namespaced,
    status = "BindingStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    selectable = ".spec.vhost",
    selectable = ".spec.source",
    doc = "Routes messages from an exchange to a queue or to another exchange",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"VHOST","type":"string","jsonPath":".spec.vhost"}"#,
    printcolumn = r#"{"name":"SOURCE","type":"string","jsonPath":".spec.source"}"#,
    printcolumn = r#"{"name":"KEY","type":"string","jsonPath":".spec.routingKey"}"#,
    printcolumn = r#"{"name":"QUEUE","type":"string","jsonPath":".spec.destination.queue"}"#,
    printcolumn = r#"{"name":"EXCHANGE","type":"string","jsonPath":".spec.destination.exchange"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BindingSpec {
    /// The Broker that has this binding. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    /// Virtual host. Cannot be changed.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::vhost_rules()))]
    pub vhost: String,
    /// Exchange that messages come from, by its name on the broker.
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = rules(&[SOURCE, schema::SHORT_STRING])))]
    pub source: String,
    /// Queue or exchange that messages go to.
    #[schemars(extend("x-kubernetes-validations" = rules(&[ONE_DESTINATION])))]
    pub destination: Destination,
    /// Routing key, or pattern where source is a topic exchange.
    #[serde(default)]
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub routing_key: String,
    /// Binding arguments, passed on verbatim; what a headers exchange matches.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "argument_schema")]
    pub arguments: BTreeMap<String, Value>,
    /// Effect of deleting this object on the broker: Delete, or Retain (the binding stays).
    #[serde(default)]
    pub deletion_policy: BindingDeletionPolicy,
}

impl Specifies for BindingSpec {}

/// State of a Binding, as the operator found or made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingStatus {
    #[serde(flatten)]
    pub object: ObjectStatus,
    /// The binding as it was last put on the broker; more than one while a new one replaces an old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "applied_schema")]
    pub applied: Option<Value>,
}

/// Effect on the broker of deleting the Binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindingDeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// Where a binding leads; exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Queue, by its name on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub queue: Option<String>,
    /// Exchange, by its name on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub exchange: Option<String>,
}

const SOURCE: Rule = (
    "self != ''",
    "source must name an exchange: every queue is bound to the default exchange already, by its own name",
);

const ONE_DESTINATION: Rule = (
    "has(self.queue) != has(self.exchange)",
    "destination must have exactly one of queue and exchange",
);

fn applied_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::object(serde_json::json!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        "x-kubernetes-list-type": "atomic",
    }))
}

fn argument_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::argument_schema(&[("x-match", "string")])
}
