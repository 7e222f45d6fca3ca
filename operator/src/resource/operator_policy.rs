//! `OperatorPolicy`: limits that the queues whose names match cannot exceed.
//!
//! In: the manifest. Out: `OperatorPolicySpec`. Does not know about what the broker makes of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{BrokerRef, Rule, Specifies};
use super::condition::ObjectStatus;
use super::policy_rule::PolicyRule;
use super::schema::{self, rules};

/// Limits that the queues whose names match cannot exceed.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "OperatorPolicy",
    plural = "operatorpolicies",
    shortname = "lvop",
    category = "leveret",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    selectable = ".spec.vhost",
    doc = "Limits that the queues whose names match cannot exceed",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"VHOST","type":"string","jsonPath":".spec.vhost"}"#,
    printcolumn = r#"{"name":"PATTERN","type":"string","jsonPath":".spec.pattern"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"APPLY-TO","type":"string","priority":1,"jsonPath":".spec.applyTo"}"#,
    printcolumn = r#"{"name":"PRIORITY","type":"integer","priority":1,"jsonPath":".spec.priority"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct OperatorPolicySpec {
    /// The Broker that has this operator policy. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    #[serde(flatten)]
    pub rule: PolicyRule,
}

impl Specifies for OperatorPolicySpec {
    const RULES: &'static [Rule] = &[schema::FIXED_NAME];
}
