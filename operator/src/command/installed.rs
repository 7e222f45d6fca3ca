//! An operator that is installed: where it is, for commands that come beside it.
//!
//! In: the command line. Out: its Deployments, and the operator as Brokers name it. Does not know about what the
//! commands do.

use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use super::lease::LeaseArgs;
use super::values::namespace;
use crate::source::kubernetes::Operator;

#[derive(Clone, Debug, Args)]
pub struct InstalledArgs {
    /// Namespace of that Deployment; default: the namespace of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub lease: LeaseArgs,
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
        let own = self.namespace.as_deref().unwrap_or(client.default_namespace());
        self.lease.operator(own, String::new())
    }
}
