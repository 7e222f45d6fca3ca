//! The Lease of an operator, by which Brokers name the one that keeps them.
//!
//! In: the command line. Out: the operator. Does not know about what the Lease is for.

use clap::Args;

use super::values::namespace;
use crate::source::kubernetes::Operator;

#[derive(Clone, Debug, Args)]
pub struct LeaseArgs {
    /// Name of the operator's Lease: what an operator with another one keeps is left alone
    #[arg(
        long,
        value_name = "NAME",
        env = "LEVERET_LEASE_NAME",
        default_value = "leveret-operator"
    )]
    pub lease_name: String,

    /// Namespace of that Lease; default: that of the operator, which is --namespace where there is such a flag, or else
    /// the namespace of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE", env = "LEVERET_LEASE_NAMESPACE", value_parser = namespace)]
    pub lease_namespace: Option<String>,
}

impl LeaseArgs {
    /// The operator that has it, by a name of the process for its events.
    pub(super) fn operator(&self, own_namespace: &str, instance: String) -> Operator {
        let given = self.lease_namespace.as_deref();
        Operator {
            namespace: given.unwrap_or(own_namespace).to_owned(),
            lease: self.lease_name.clone(),
            instance,
        }
    }
}
