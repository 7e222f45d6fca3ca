//! An operator that is installed: where it is, for commands that come beside it.
//!
//! In: the command line. Out: its Deployments, and the operator as Brokers name it. Does not know about what the
//! commands do.

use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use super::values::namespace;
use crate::source::kubernetes::Operator;

#[derive(Clone, Debug, Args)]
pub struct InstalledArgs {
    /// Namespace of that Deployment; default: the namespace of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// Name of the operator's Lease: what another operator keeps is left alone
    #[arg(
        long,
        value_name = "NAME",
        env = "LEVERET_LEASE_NAME",
        default_value = "leveret-operator"
    )]
    pub lease_name: String,

    /// Namespace of that Lease; default: as --namespace
    #[arg(long, value_name = "NAMESPACE", env = "LEVERET_LEASE_NAMESPACE", value_parser = namespace)]
    pub lease_namespace: Option<String>,
}

impl InstalledArgs {
    /// The Deployments of its namespace.
    pub(super) fn deployments(&self, client: &Client) -> Api<Deployment> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::default_namespaced(client.clone()),
        }
    }

    /// The operator that has this Lease.
    pub(super) fn operator(&self, client: &Client) -> Operator {
        let given = self.lease_namespace.as_ref().or(self.namespace.as_ref());
        Operator {
            namespace: given.cloned().unwrap_or_else(|| client.default_namespace().to_owned()),
            lease: self.lease_name.clone(),
            instance: String::new(),
        }
    }
}
