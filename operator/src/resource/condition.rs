//! Status of everything that stands on a broker, and the conditions in it, in the shape of `metav1.Condition`.
//!
//! In: what was written before. Out: typed status. Does not know about reasons; those are the pipeline's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of an object on a broker, as the operator found or made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// The generation of spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name on the broker of what this object owns there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Virtual host of what this object owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// When something was last done on the broker for this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_sync_time: Option<String>,
}

/// `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Ready, Reconciling, Stalled; of a Broker also Reachable, and Persistent where the operator runs it.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// One word of a closed list.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Explanation, with the broker's own words where it refused.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of spec that this condition is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When status last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
}
