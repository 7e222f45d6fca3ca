//! What `leveret-operator run` lets brokers, and the authors of Brokers, do.
//!
//! In: flags. Out: settings of the parts that obey them. Does not know about how they do.

use clap::{ArgAction, Args};

use super::values::{list_limit, list_memory, namespace};
use crate::broker::budget::Limits;
use crate::broker::connect::Network;
use crate::broker::hosts::{Hosts, Pattern};
use crate::engine::network::OperatorPods;
use crate::engine::template::PodTemplates;
use crate::keep::keeper::Settings;
use crate::source::dereference::Trust;

#[derive(Clone, Debug, Args)]
pub struct BoundArgs {
    /// Hosts that Brokers with engine External may name: a name, *.DOMAIN, an address, or a network such as 10.0.0.0/8;
    /// repeatable (environment: separated by commas). Default: any. This machine itself only where it is named here;
    /// link-local addresses never
    #[arg(
        long = "allow-broker-hosts",
        value_name = "HOST",
        env = "LEVERET_ALLOW_BROKER_HOSTS",
        value_delimiter = ','
    )]
    pub allow_broker_hosts: Vec<Pattern>,

    /// Follow the annotations leveret.dev/amqp-uri and management-uri, to ports of this machine: for an operator
    /// outside the cluster, beside kubectl port-forward
    #[arg(long, value_name = "true|false", env = "LEVERET_ALLOW_PORT_FORWARDS", default_value_t = false, action = ArgAction::Set)]
    pub allow_port_forwards: bool,

    /// Fields that the podTemplate of a Broker may change: none, those that give the pod no further right, or all
    #[arg(
        long,
        value_name = "none|restricted|any",
        env = "LEVERET_POD_TEMPLATE",
        value_enum,
        default_value_t
    )]
    pub pod_template: PodTemplates,

    /// Largest list that is read of a broker, 1MiB to 1GiB
    #[arg(long, value_name = "SIZE", env = "LEVERET_LIST_LIMIT", default_value = "16MiB", value_parser = list_limit)]
    pub list_limit: usize,

    /// Memory for the lists of all brokers together, 16MiB to 64GiB
    #[arg(long, value_name = "SIZE", env = "LEVERET_LIST_MEMORY", default_value = "128MiB", value_parser = list_memory)]
    pub list_memory: usize,

    /// Namespace of the operator's own pods, which NetworkPolicies of brokers let in
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", value_parser = namespace)]
    pub pod_namespace: Option<String>,

    /// Their label app.kubernetes.io/instance
    #[arg(long, value_name = "TEXT", env = "POD_INSTANCE")]
    pub pod_instance: Option<String>,
}

impl BoundArgs {
    /// The trust in the authors of Brokers.
    pub(super) fn trust(&self) -> Trust {
        Trust::Operator {
            forwards: self.allow_port_forwards,
        }
    }

    /// The way to brokers.
    pub(super) fn network(&self) -> Network {
        let limits = Limits {
            answer: self.list_limit,
            memory: self.list_memory,
            remedy: "delete what is not needed, or raise --list-limit and --list-memory of the operator, and its memory \
                     limit",
        };
        Network::new(Hosts::guarded(self.allow_broker_hosts.clone()), limits)
    }

    /// The settings of brokers that the operator runs; `image`: of those that name none.
    pub(super) fn engine(&self, image: &str) -> Settings {
        Settings {
            image: image.to_owned(),
            pod_templates: self.pod_template,
            operator: self.pod_namespace.clone().map(|namespace| OperatorPods {
                namespace,
                instance: self.pod_instance.clone(),
            }),
        }
    }
}
