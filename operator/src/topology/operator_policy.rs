//! Operator policies: policies of another class.
//!
//! In: the spec of an OperatorPolicy. Out: its rule, and what tells it from a policy. Does not know about the rest.

use super::declaration::Labels;
use super::named::Named;
use super::policy::{Class, PolicyDefinition};
use crate::resource::{Kind, OperatorPolicySpec, PolicyRule};

/// An operator policy by its name.
pub type Declaration = Named<PolicyDefinition<Operator>>;

/// Policies of those who run the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator;

impl Class for Operator {
    const KIND: Kind = Kind::OperatorPolicy;
    const LABELS: Labels = Labels {
        declare: "put_operator_policy",
        remove: "delete_operator_policy",
    };
    const PATH: &'static str = "/api/operator-policies";

    type Spec = OperatorPolicySpec;

    fn rule(spec: &OperatorPolicySpec) -> &PolicyRule {
        let OperatorPolicySpec { broker_ref: _, rule } = spec;
        rule
    }
}
