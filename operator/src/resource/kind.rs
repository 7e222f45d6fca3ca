//! All kinds together: what is made of them for the API server, and a spec of any of them.
//!
//! In: the specs. Out: `Spec` and the CRDs. Does not know about what the kinds mean.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::api::ApiResource;
use serde_json::Value;

use super::common::{Belongs, BrokerRef, GROUP, Specifies, VERSION};
use super::list::{Kind, each_kind, each_own_kind};
use super::{
    binding, broker, exchange, operator_policy, permission, policy, queue, schema, topic_permission, user, vhost,
    zero_mq_socket,
};

impl Kind {
    /// Group, version and plural, as a Kubernetes client wants them.
    pub fn api_resource(self) -> ApiResource {
        ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: self.as_str().to_owned(),
            plural: self.plural().to_owned(),
        }
    }
}

macro_rules! define {
    ($($Kind:ident($Spec:ident) $word:ident $plural:ident;)*) => {
        /// The CRDs of all kinds, in the order in which objects are created.
        pub fn crds() -> Vec<CustomResourceDefinition> {
            vec![$(schema::finish($word::$Kind::crd(), $word::$Spec::RULES)),*]
        }
    };
}
each_own_kind!(define);

macro_rules! assemble {
    ($($Kind:ident($Spec:ident) $word:ident $plural:ident;)*) => {
        /// The spec of a resource of any kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Spec {
            $($Kind(Box<$word::$Spec>),)*
        }

        impl Spec {
            /// Reads the spec of a manifest.
            ///
            /// # Errors
            /// It does not have the form of its kind.
            pub fn parse(kind: Kind, spec: Value) -> Result<Self, serde_json::Error> {
                match kind {
                    $(Kind::$Kind => serde_json::from_value(spec).map(Box::new).map(Spec::$Kind),)*
                }
            }

            /// See [`Belongs::broker_ref`].
            pub fn broker_ref(&self) -> Option<&BrokerRef> {
                match self {
                    $(Spec::$Kind(spec) => spec.broker_ref(),)*
                }
            }

            /// See [`Belongs::broker_ref_mut`].
            pub fn broker_ref_mut(&mut self) -> Option<&mut BrokerRef> {
                match self {
                    $(Spec::$Kind(spec) => spec.broker_ref_mut(),)*
                }
            }
        }
    };
}
each_kind!(assemble);

macro_rules! belong {
    (Broker($Broker:ident) $broker:ident $brokers:ident; $($Kind:ident($Spec:ident) $word:ident $plural:ident;)*) => {
        impl Belongs for $broker::$Broker {
            fn broker_ref(&self) -> Option<&BrokerRef> {
                None
            }

            fn broker_ref_mut(&mut self) -> Option<&mut BrokerRef> {
                None
            }
        }

        $(
            impl Belongs for $word::$Spec {
                fn broker_ref(&self) -> Option<&BrokerRef> {
                    Some(&self.broker_ref)
                }

                fn broker_ref_mut(&mut self) -> Option<&mut BrokerRef> {
                    Some(&mut self.broker_ref)
                }
            }
        )*
    };
}
each_kind!(belong);

/// All CRDs as one YAML stream, for `kubectl apply -f -`.
///
/// # Errors
/// None in practice: the CRDs are constant.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    crds().iter().map(schema::one_yaml).collect()
}
