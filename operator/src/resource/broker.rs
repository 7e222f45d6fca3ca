//! `Broker`: where queues, exchanges and bindings are, and how to get in.
//!
//! In: the manifest. Out: `BrokerSpec`. Does not know about connections; Secrets are only named here.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::common::{Rule, Specifies};
use super::condition::Condition;
use super::schema::rules;
use super::secret::{SecretKeyRef, SecretRef};
use super::settings;
use super::tenancy::AllowedNamespaces;
use super::workload::{
    ClientService, NetworkPolicy, Resources, ServiceAccountTokens, Storage, Tls, free_object, free_objects, spec_rules,
};

/// A message broker.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "Broker",
    plural = "brokers",
    shortname = "lvb",
    category = "leveret",
    namespaced,
    status = "BrokerStatus",
    derive = "PartialEq",
    selectable = ".spec.engine",
    doc = "A message broker that queues, exchanges and bindings refer to",
    printcolumn = r#"{"name":"ENGINE","type":"string","jsonPath":".spec.engine"}"#,
    printcolumn = r#"{"name":"VERSION","type":"string","jsonPath":".status.version"}"#,
    printcolumn = r#"{"name":"OBJECTS","type":"integer","jsonPath":".status.objects"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"ENDPOINT","type":"string","priority":1,"jsonPath":".status.endpoint"}"#,
    printcolumn = r#"{"name":"MESSAGES","type":"integer","priority":1,"jsonPath":".status.messages"}"#,
    printcolumn = r#"{"name":"NOTREADY","type":"integer","priority":1,"jsonPath":".status.notReady"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = all_rules()))]
pub struct BrokerSpec {
    /// Leveret: the operator runs the broker. External: it runs already.
    #[serde(default)]
    pub engine: Engine,
    /// Only with engine Leveret: the broker's container image; default: the one the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Only with engine Leveret: the disk for messages; absent, they go with the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Only with engine Leveret: what the broker's container gets. Its memory watermark is a share of the memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Only with engine Leveret: settings of the broker by key, for example `max_message_size: 16MiB`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "settings::schema")]
    pub settings: BTreeMap<String, Value>,
    /// Only with engine Leveret: AMQP and HTTP over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Only with engine Leveret: pods log in with the tokens of their service accounts, each as the User that names its
    /// service account, and there is no password. The broker is given the cluster's keys, which are kept up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_tokens: Option<ServiceAccountTokens>,
    /// Only with engine Leveret: the Service that clients use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ClientService>,
    /// Only with engine Leveret: lets only some connect, where the cluster's network enforces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// Only with engine Leveret: annotations of the pod and of all other objects made for this Broker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Only with engine Leveret: labels that the pod's node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Only with engine Leveret: taints that the pod tolerates, as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_objects")]
    pub tolerations: Vec<Value>,
    /// Only with engine Leveret: affinity as in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub affinity: Option<Value>,
    /// Only with engine Leveret: topology spread as in a pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_objects")]
    pub topology_spread_constraints: Vec<Value>,
    /// Only with engine Leveret: priority class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Only with engine Leveret: a strategic merge patch over the pod template (metadata, spec); the container is named
    /// broker. It has the last word; which fields it may have is a setting of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub pod_template: Option<Value>,
    /// Only with engine External: how to reach the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Only with engine Leveret, where messages go with the Broker (no storage, or storage.deletionPolicy Delete):
    /// whether it is deleted while it holds some. Default: DeleteIfEmpty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<BrokerDeletionPolicy>,
    /// The namespaces from which objects may refer to this Broker, and what each may ask for.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
}

impl Specifies for BrokerSpec {
    const RULES: &'static [Rule] = &[NAME];
}

/// The names of a Service, and of a StatefulSet whose pods carry its name and a hash in a label (RFC 1035, 63 bytes).
const NAME: Rule = (
    "self.spec.engine != 'Leveret' || (size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$'))",
    "with engine Leveret the name has at most 50 small letters, digits and dashes, and begins with a letter",
);
const NEEDS_EXTERNAL: Rule = (
    "self.engine != 'External' || has(self.external)",
    "engine External needs external: uri, managementUri and credentialsSecretRef",
);
const ONLY_EXTERNAL: Rule = (
    "self.engine == 'External' || !has(self.external)",
    "external is only for engine External",
);
fn all_rules() -> Value {
    let Value::Array(mut all) = rules(&[NEEDS_EXTERNAL, ONLY_EXTERNAL]) else {
        return Value::Null;
    };
    all.extend(spec_rules());
    Value::Array(all)
}

/// Deletion of a Broker whose messages go with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BrokerDeletionPolicy {
    /// Only when it holds no messages.
    #[default]
    DeleteIfEmpty,
    Delete,
}

/// The one who runs the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    #[default]
    Leveret,
    External,
}

/// A broker that runs already: AMQP 0-9-1 and the RabbitMQ management API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Address for AMQP, for example amqp://rabbit.shop.svc:5672 or amqps://...
    #[schemars(length(min = 8, max = 512), extend("x-kubernetes-validations" = rules(&[AMQP_URI])))]
    pub uri: String,
    /// Address of the management API, for example http://rabbit.shop.svc:15672 or https://...
    #[schemars(length(min = 8, max = 512), extend("x-kubernetes-validations" = rules(&[MANAGEMENT_URI])))]
    pub management_uri: String,
    /// Secret in the Broker's namespace with the keys username and password; its annotation leveret.dev/broker must
    /// name this Broker.
    pub credentials_secret_ref: SecretRef,
    /// Certificate to trust in addition to the system's, for amqps and https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

const AMQP_URI: Rule = (
    r"self.matches('^amqps?://[^@/?#\\s]+/?$')",
    "uri must be amqp://HOST[:PORT] or amqps://HOST[:PORT]: no user, password or vhost in it (credentials come from credentialsSecretRef)",
);
const MANAGEMENT_URI: Rule = (
    r"self.matches('^https?://[^@/?#\\s]+(/[^@?#\\s]*)?$')",
    "managementUri must be http://HOST[:PORT][/PREFIX] or https://...: no user or password in it (credentials come from credentialsSecretRef)",
);

/// The operator that keeps a Broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keeper {
    /// Namespace and name of its Lease.
    #[serde(default)]
    pub name: String,
    /// Another operator that watches this Broker, and leaves it alone as long as it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contender: Option<String>,
    /// Number of times that it has asked.
    #[serde(default)]
    pub asked: i64,
    /// Number of them that have been answered.
    #[serde(default)]
    pub answered: i64,
}

/// State of a broker, as the operator knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// The generation of spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled, Reachable; with engine Leveret also Persistent; with several operators Contested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Product and version, as the broker says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Address that is used for AMQP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Address that is used for HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_endpoint: Option<String>,
    /// The Secret with everything a client needs (service binding specification, "provisioned service").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<SecretRef>,
    /// Messages in all queues, as of the last list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<i64>,
    /// Free space of the broker's disk, roughly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<String>,
    /// The operator that keeps it, where there may be several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Keeper>,
    /// Number of objects that refer to this Broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// Number of those that are not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<i64>,
}
