//! Operator policies: policies of another class.
//!
//! In: the spec of an OperatorPolicy. Out: its parts, and what tells it from a policy. Does not know about the rest.

use super::declaration::Labels;
use super::named::Named;
use super::policy::{Class, Parts, PolicyDefinition};
use crate::resource::{BrokerRef, Kind, OperatorPolicySpec};

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

    fn parts(spec: &OperatorPolicySpec) -> Parts<'_> {
        let OperatorPolicySpec {
            broker_ref: BrokerRef { .. },
            name,
            vhost,
            rule,
        } = spec;
        Parts {
            name: name.as_deref(),
            vhost,
            rule,
        }
    }
}
