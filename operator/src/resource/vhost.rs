//! `Vhost`: a virtual host on a broker.
//!
//! In: the manifest. Out: `VhostSpec`. Does not know about what the broker makes of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AdoptionPolicy, BrokerRef, Rule, Specifies};
use super::condition::ObjectStatus;
use super::queue::QueueType;
use super::schema::{self, rules};

/// A virtual host on a broker.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "Vhost",
    plural = "vhosts",
    shortname = "lvv",
    category = "leveret",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    doc = "A virtual host on a broker",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"VHOST","type":"string","priority":1,"jsonPath":".status.name"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct VhostSpec {
    /// The Broker that has this virtual host. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    /// Name on the broker; default: metadata.name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[NOT_DEFAULT, schema::SHORT_STRING])))]
    pub name: Option<String>,
    /// Its purpose; the broker shows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 255))]
    pub description: String,
    /// Words by which a person finds it among others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules(&[TAGS])), inner(length(min = 1, max = 63)))]
    pub tags: Vec<String>,
    /// Type of the queues that are declared without one; default: as the broker is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_queue_type: Option<QueueType>,
    /// The most that there may be in it. What is not here has no limit.
    #[serde(default, skip_serializing_if = "VhostLimits::is_none")]
    pub limits: VhostLimits,
    /// Effect of deleting this object on the broker: DeleteIfEmpty (refused while anything stands in the virtual host),
    /// Delete (with everything in it), Retain (it stays).
    #[serde(default)]
    pub deletion_policy: VhostDeletionPolicy,
    /// Takes over a virtual host that was there before: IfEqual, Always (its properties are changed), Never.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

impl VhostSpec {
    /// The name on the broker of the resource called `metadata_name`.
    pub fn broker_name<'a>(&'a self, metadata_name: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(metadata_name)
    }
}

impl Specifies for VhostSpec {
    const RULES: &'static [Rule] = &[schema::FIXED_NAME];
}

/// The most that there may be in a virtual host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VhostLimits {
    /// Most connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_connections: Option<i64>,
    /// Most queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_queues: Option<i64>,
}

impl VhostLimits {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Effect on the broker of deleting the Vhost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VhostDeletionPolicy {
    #[default]
    DeleteIfEmpty,
    Delete,
    Retain,
}

const NOT_DEFAULT: Rule = (
    "self != '/'",
    "the virtual host / is always there: it is the broker's own",
);

const TAGS: Rule = (
    "self.all(tag, tag.matches('^[^,\\\\s]+$'))",
    "a tag has no comma and no space in it",
);
