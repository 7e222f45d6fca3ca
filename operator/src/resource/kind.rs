//! The list of kinds: what has one part for each of them is made from it.
//!
//! In: the specs. Out: `Kind`, `Spec` and the CRDs; elsewhere whatever `each_kind` is given to.
//! Does not know about what the kinds mean.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::api::ApiResource;
use serde_json::Value;

use super::common::{Belongs, BrokerRef, Specifies};
use super::{binding, broker, exchange, operator_policy, policy, queue, schema, vhost};

/// The kinds, each on one line: its name, its spec, its word in messages (which is the name of its modules), its
/// plural. They stand in the order in which they are made on a broker, and are removed in the opposite one. `Broker` is
/// first.
macro_rules! each_kind {
    ($then:ident) => {
        $then! {
            Broker(BrokerSpec) broker brokers;
            Vhost(VhostSpec) vhost vhosts;
            OperatorPolicy(OperatorPolicySpec) operator_policy operatorpolicies;
            Policy(PolicySpec) policy policies;
            Exchange(ExchangeSpec) exchange exchanges;
            Queue(QueueSpec) queue queues;
            Binding(BindingSpec) binding bindings;
        }
    };
}

pub(crate) use each_kind;

macro_rules! assemble {
    ($($Kind:ident($Spec:ident) $word:ident $plural:ident;)*) => {
        /// The kinds of the group `leveret.dev`, in the order in which they are created.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($Kind,)*
        }

        impl Kind {
            pub const ALL: [Kind; [$(stringify!($Kind)),*].len()] = [$(Kind::$Kind),*];

            /// The name as it stands in a manifest.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$Kind => stringify!($Kind),)*
                }
            }

            /// The word of messages for such an object on a broker.
            pub fn word(self) -> &'static str {
                match self {
                    $(Kind::$Kind => spoken(stringify!($word)),)*
                }
            }

            /// The name in paths of the API server.
            pub fn plural(self) -> &'static str {
                match self {
                    $(Kind::$Kind => stringify!($plural),)*
                }
            }

            /// Group, version and plural, as a Kubernetes client wants them.
            pub fn api_resource(self) -> ApiResource {
                match self {
                    $(Kind::$Kind => ApiResource::erase::<$word::$Kind>(&()),)*
                }
            }

            /// The definition to install.
            pub fn crd(self) -> CustomResourceDefinition {
                match self {
                    $(Kind::$Kind => schema::finish($word::$Kind::crd(), $word::$Spec::RULES),)*
                }
            }
        }

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

/// The name of a module as messages say it.
fn spoken(word: &'static str) -> &'static str {
    match word {
        "operator_policy" => "operator policy",
        word => word,
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The CRDs of all kinds, in the order in which objects are created.
pub fn crds() -> Vec<CustomResourceDefinition> {
    Kind::ALL.into_iter().map(Kind::crd).collect()
}

/// All CRDs as one YAML stream, for `kubectl apply -f -`.
///
/// # Errors
/// None in practice: the CRDs are constant.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    crds().iter().map(schema::one_yaml).collect()
}
