//! The custom resources as a user writes them: Rust types, their CRDs, and the rules the API server enforces.
//!
//! In: YAML or JSON of the group `leveret.dev`. Out: typed specs for the pipeline, and the CRDs themselves.
//! Does not know about brokers, the pipeline, or a Kubernetes client.

pub mod broker;

pub mod workload;

pub mod secret;

pub mod exchange;

pub mod queue;

pub mod binding;

pub mod condition;

pub mod admission;

pub mod schema;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use binding::{Binding, BindingSpec, Destination};
pub use broker::{
    AllowedNamespaces, Broker, BrokerSpec, BrokerStatus, Engine, External, LabelSelector, NamespacesFrom,
};
pub use condition::{Condition, ObjectStatus};
pub use exchange::{Exchange, ExchangeSpec};
pub use queue::{DeadLetter, Deduplication, Overflow, Period, PeriodError, Queue, QueueSpec, QueueType};
pub use schema::{crd_yaml, crds};
pub use secret::SecretRef;

/// API group of all kinds.
pub const GROUP: &str = "leveret.dev";
/// API version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// Which `Broker` an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerRef {
    /// Name of the Broker.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Broker; default: the namespace of this object. Another namespace needs the Broker's
    /// `allowedNamespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// What happens to the object on the broker when the Queue is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QueueDeletionPolicy {
    #[default]
    DeleteIfEmpty,
    Delete,
    Retain,
}

/// What happens to the object on the broker when the Exchange is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExchangeDeletionPolicy {
    #[default]
    Delete,
    DeleteIfUnused,
    Retain,
}

/// What happens to the binding on the broker when the Binding is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindingDeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// Whether an object that was on the broker before the resource is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    #[default]
    IfEqual,
    Always,
    Never,
}

/// What to do when a field changes that a broker cannot change in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    #[default]
    Refuse,
    Recreate,
    Migrate,
}

pub(crate) fn default_vhost() -> String {
    "/".to_owned()
}

pub(crate) fn default_true() -> bool {
    true
}
