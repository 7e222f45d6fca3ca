//! The custom resources as a user writes them: Rust types, their CRDs, and the rules the API server enforces.
//!
//! In: YAML or JSON of the group `leveret.dev`. Out: typed specs for the pipeline, and the CRDs themselves.
//! Does not know about brokers, the pipeline, or a Kubernetes client. Each kind stands once, in `list`.

/// Manifests checked as the API server checks them.
pub mod admission;

/// All kinds together.
mod kind;

/// `Broker`.
pub mod broker;

/// `ZeroMqSocket`.
pub mod zero_mq_socket;

/// `Vhost`.
pub mod vhost;

/// `TopicPermission` of RabbitMQ's topology operator.
pub mod topic_permission;

/// `Permission` of RabbitMQ's topology operator.
pub mod permission;

/// `User`.
pub mod user;

/// `OperatorPolicy`.
pub mod operator_policy;

/// `Policy`.
pub mod policy;

/// A part of both: which objects, and what they get.
pub mod policy_rule;

/// `Exchange`.
pub mod exchange;

/// `Queue`.
pub mod queue;

/// `Binding`.
pub mod binding;

/// A part of `Broker`: the way in which the operator runs it.
pub mod workload;

/// Status and conditions.
pub mod condition;

/// YAML that everybody reads the same.
pub mod yaml;

/// The settings of a broker.
pub mod settings;

/// A part of `Broker`: the namespaces that may use it, and what each may ask for.
pub mod tenancy;

/// CEL rules and schemas that several kinds share.
pub mod schema;

/// References to Secrets.
pub mod secret;

/// Parts of a spec that several kinds share.
pub mod common;

/// Labels that are asked for.
mod selector;

/// Names with `*` in them.
pub mod pattern;

/// The list of kinds.
pub(crate) mod list;

pub use binding::{BindingDeletionPolicy, BindingSpec, Destination};
pub use broker::{Broker, BrokerDeletionPolicy, BrokerSpec, BrokerStatus, Engine, External};
pub use common::{AdoptionPolicy, Belongs, BrokerRef, GROUP, UpdatePolicy, VERSION};
pub use condition::{Condition, ObjectStatus};
pub use exchange::{ExchangeDeletionPolicy, ExchangeSpec};
pub use kind::{Spec, crd_yaml, crds};
pub use list::Kind;
pub(crate) use list::{each_kind, each_own_kind};
pub use operator_policy::OperatorPolicySpec;
pub use pattern::NamePattern;
pub use permission::{PermissionSpec, Whose};
pub use policy::PolicySpec;
pub use policy_rule::{PolicyDeletionPolicy, PolicyRule};
pub use queue::{
    DeadLetter, DeadLetterStrategy, Deduplication, DelayedRetry, Overflow, Period, PeriodError, QueueDeletionPolicy,
    QueueSpec, QueueType, RetryType,
};
pub use secret::SecretRef;
pub use selector::LabelSelector;
pub use tenancy::{AllowedNamespaces, NamespacesFrom, TenantRule, usual_kinds};
pub use topic_permission::TopicPermissionSpec;
pub use user::{
    GeneratedSecret, HashingAlgorithm, PasswordHash, PasswordSecretRef, Permission, ServiceAccountRef, TopicPermission,
    UserDeletionPolicy, UserLimits, UserSpec, Way,
};
pub use vhost::{VhostDeletionPolicy, VhostLimits, VhostSpec};
pub use zero_mq_socket::{
    Curve, CurveClient, KeyPair, Mechanism, SocketType, UserRef, ZeroMqSocketDeletionPolicy, ZeroMqSocketSpec,
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn committed_crds_are_up_to_date() {
        for crd in crds() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../crds/{}.yaml", crd.spec.names.plural));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                committed,
                schema::one_yaml(&crd).expect("yaml"),
                "{} is out of date: run `cargo run -p leveret-operator -- crd --output crds`",
                path.display()
            );
        }
    }

    #[test]
    fn the_list_of_kinds_says_what_their_crds_say() {
        let crds = crds();
        assert_eq!(crds.len(), Kind::OWN.len());
        for (kind, crd) in Kind::OWN.into_iter().zip(crds) {
            let names = crd.spec.names;
            assert_eq!(
                (names.kind.as_str(), names.plural.as_str()),
                (kind.as_str(), kind.plural())
            );
        }
    }
}
