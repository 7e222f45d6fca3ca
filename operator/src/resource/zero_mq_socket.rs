//! `ZeroMqSocket`: a port at which a broker speaks ZeroMQ's protocol, and what stands behind it.
//!
//! In: the manifest. Out: `ZeroMqSocketSpec`. Does not know about what the broker makes of it, nor about keys.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AdoptionPolicy, BrokerRef, Rule, Specifies, default_vhost};
use super::condition::Condition;
use super::queue::Period;
use super::schema::{self, rules};
use super::secret::SecretRef;
use super::user::GeneratedSecret;

/// A port of a broker for ZeroMQ's sockets.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "leveret.dev",
    version = "v1alpha1",
    kind = "ZeroMqSocket",
    plural = "zeromqsockets",
    shortname = "lvz",
    category = "leveret",
    namespaced,
    status = "ZeroMqSocketStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    selectable = ".spec.vhost",
    doc = "A port of a broker for ZeroMQ's sockets",
    printcolumn = r#"{"name":"BROKER","type":"string","jsonPath":".spec.brokerRef.name"}"#,
    printcolumn = r#"{"name":"VHOST","type":"string","jsonPath":".spec.vhost"}"#,
    printcolumn = r#"{"name":"TYPE","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"ADDRESS","type":"string","jsonPath":".status.address"}"#,
    printcolumn = r#"{"name":"READY","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"QUEUE","type":"string","priority":1,"jsonPath":".spec.queue"}"#,
    printcolumn = r#"{"name":"EXCHANGE","type":"string","priority":1,"jsonPath":".spec.exchange"}"#,
    printcolumn = r#"{"name":"MECHANISM","type":"string","priority":1,"jsonPath":".spec.mechanism"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&TOGETHER)))]
pub struct ZeroMqSocketSpec {
    /// The Broker that has this socket. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = rules(&[schema::FIXED_BROKER])))]
    pub broker_ref: BrokerRef,
    /// Name on the broker; default: metadata.name. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub name: Option<String>,
    /// Virtual host. Cannot be changed.
    #[serde(default = "default_vhost")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = schema::vhost_rules()))]
    pub vhost: String,
    /// The type of the broker's end. pull: clients PUSH into a queue or exchange. push: clients PULL from a queue. xsub
    /// (sub): clients PUB to an exchange. xpub (pub): clients SUB to an exchange. router: clients are REQ or DEALER,
    /// and the queue or exchange has their requests. dealer: clients are workers, REP or DEALER, for requests in a
    /// queue.
    #[serde(rename = "type")]
    pub socket_type: SocketType,
    /// TCP port; 0: any free one, which the status says, and to which no Service leads.
    #[schemars(extend("x-kubernetes-validations" = rules(&[TAKEN])))]
    pub port: u16,
    /// The address at which the broker listens; default: all that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 45), extend("x-kubernetes-validations" = rules(&[ADDRESS])))]
    pub address: Option<String>,
    /// The queue that messages go to (pull, router) or come from (push, dealer), by its name on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub queue: Option<String>,
    /// The exchange that messages go to (pull, router, xsub) or come from (xpub), by its name on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub exchange: Option<String>,
    /// With exchange, of pull and router: the routing key of all messages. With xsub the first frame is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub routing_key: Option<String>,
    /// Null: everybody who can connect, as one user. Plain: with user and password, which go over the wire as they
    /// are. Curve: encrypted, by the keys of both ends.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// With mechanism Null: the User as whom clients act, in the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_ref: Option<UserRef>,
    /// In place of userRef: the name of a user on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub user: Option<String>,
    /// With mechanism Null: also clients that do not come from the broker's own machine, or pod.
    #[serde(default)]
    pub anywhere: bool,
    /// With mechanism Curve: the broker's key, and the clients'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<Curve>,
    /// Of pull, xsub and router: messages outlive a restart in durable queues, and no more is read from a client before
    /// what it sent is on the disk.
    #[serde(default)]
    pub durable: bool,
    /// Of xpub: most messages that wait for a client, the newest beyond that are dropped. Of router and dealer: most
    /// requests that a client may have open. Default: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub hwm: Option<i64>,
    /// Of push: most messages handed to a client that are not in its connection yet; default: as many as fit. Of
    /// dealer: requests that a worker has at a time; default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub prefetch: Option<i64>,
    /// Of router: time for a reply, for example 5s; then the request is forgotten. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Of router: a request that nobody can get, or that has timed out, is answered with an empty frame.
    #[serde(default)]
    pub errors: bool,
    /// Most bytes of a message. Default: as the broker's max_message_size says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub max_message: Option<i64>,
    /// Most frames of a message. Default: 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_frames: Option<i64>,
    /// Time between two questions to a client that says nothing, in whole seconds, for example 30s. Default: none is
    /// asked; those that clients ask are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Period>,
    /// Effect of deleting this object on the broker: Delete (its clients are disconnected), or Retain (it stays).
    #[serde(default)]
    pub deletion_policy: ZeroMqSocketDeletionPolicy,
    /// Takes over a socket that was there before: IfEqual (its key, too), Always (it is changed), Never.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

impl Specifies for ZeroMqSocketSpec {
    const RULES: &'static [Rule] = &[schema::FIXED_NAME];
}

impl ZeroMqSocketSpec {
    /// The source of the server's key; `None` where the mechanism has none.
    pub fn key_pair(&self) -> Option<KeyPair<'_>> {
        let curve = self.curve.as_ref();
        match (self.mechanism, curve.and_then(|curve| curve.secret_ref.as_ref())) {
            (Mechanism::Null | Mechanism::Plain, _) => None,
            (Mechanism::Curve, Some(secret)) => Some(KeyPair::Secret(secret)),
            (Mechanism::Curve, None) => Some(KeyPair::Generated(
                curve.and_then(|curve| curve.generated_secret.as_ref()),
            )),
        }
    }
}

/// The source of a server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPair<'a> {
    /// A Secret of the user's.
    Secret(&'a SecretRef),
    /// A Secret that the operator makes.
    Generated(Option<&'a GeneratedSecret>),
}

/// The type of a socket, as the broker plays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SocketType {
    Pull,
    Push,
    Sub,
    Xsub,
    Pub,
    Xpub,
    Router,
    Dealer,
}

impl SocketType {
    /// The broker's word, one for each.
    pub fn as_str(self) -> &'static str {
        match self {
            SocketType::Pull => "pull",
            SocketType::Push => "push",
            SocketType::Sub | SocketType::Xsub => "xsub",
            SocketType::Pub | SocketType::Xpub => "xpub",
            SocketType::Router => "router",
            SocketType::Dealer => "dealer",
        }
    }
}

/// A security mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    #[default]
    Null,
    Plain,
    Curve,
}

impl Mechanism {
    /// The broker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Null => "null",
            Mechanism::Plain => "plain",
            Mechanism::Curve => "curve",
        }
    }
}

/// Names a User.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRef {
    /// Name of the User, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Keys of both ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[ONE_KEY])))]
pub struct Curve {
    /// The broker's secret key is in a Secret of yours, in the namespace of this object, and follows it: key
    /// secret-key, 40 characters of Z85.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// The keys are made by the operator and put into a Secret (secret-key, public-key). This is the way when none is
    /// given; the Secret is called as this object, and -curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_secret: Option<GeneratedSecret>,
    /// Clients that may come, by their public keys, and as whom they act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["publicKey"]))]
    pub clients: Vec<CurveClient>,
}

/// A client by its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[ONE_USER])))]
pub struct CurveClient {
    /// Public key, 40 characters of Z85.
    #[schemars(length(min = 40, max = 40), extend("x-kubernetes-validations" = rules(&[Z85])))]
    pub public_key: String,
    /// The User as whom it acts, in the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_ref: Option<UserRef>,
    /// In place of userRef: the name of a user on the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = rules(&[schema::SHORT_STRING])))]
    pub user: Option<String>,
}

/// Effect on the broker of deleting the ZeroMqSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ZeroMqSocketDeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// State of a socket on a broker, as the operator found or made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZeroMqSocketStatus {
    /// The generation of spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name on the broker of what this object owns there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Virtual host of what this object owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<String>,
    /// The address at which the broker listens, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The broker's public key, 40 characters of Z85, with mechanism Curve: clients need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// When something was last done on the broker for this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_sync_time: Option<String>,
}

/// The ports of a broker that the operator runs.
const TAKEN: Rule = (
    "!(self in [5671, 5672, 15671, 15672, 15692])",
    "the broker has this port for something else (AMQP 5671 and 5672, HTTP 15671 and 15672, metrics 15692)",
);

const ADDRESS: Rule = (
    "self == '*' || self.matches('^[0-9a-fA-F.:]+$')",
    "must be an IP address, or * for all",
);

const Z85: Rule = (
    r"self.matches('^[0-9a-zA-Z.:+=^!/*?&<>()\\[\\]{}@%$#-]{40}$')",
    "must be a key of CURVE in Z85, 40 characters, as curve_keypair and zmq_curve_keypair print it",
);

const ONE_KEY: Rule = (
    "!has(self.secretRef) || !has(self.generatedSecret)",
    "the key is in a Secret of yours, or in one that is made: give only one of secretRef, generatedSecret",
);

const ONE_USER: Rule = (
    "has(self.user) != has(self.userRef)",
    "a client acts as one user: give user or userRef",
);

/// Fields that go with each other.
const TOGETHER: [Rule; 13] = [
    (
        "!(self.type in ['push', 'dealer']) || (has(self.queue) && !has(self.exchange))",
        "type push or dealer: messages come from a queue: give queue, and no exchange",
    ),
    (
        "!(self.type in ['sub', 'xsub', 'pub', 'xpub']) || (has(self.exchange) && !has(self.queue))",
        "type xsub or xpub: it is an exchange to which clients publish or subscribe: give exchange, and no queue",
    ),
    (
        "!(self.type in ['pull', 'router']) || has(self.queue) != has(self.exchange)",
        "type pull or router: messages go to a queue or to an exchange: give one of queue, exchange",
    ),
    (
        "!has(self.routingKey) || (has(self.exchange) && self.type in ['pull', 'router'])",
        "routingKey goes with exchange and type pull or router: with xsub the first frame of a message is its key",
    ),
    (
        "self.mechanism != 'Null' || has(self.user) != has(self.userRef)",
        "mechanism Null: nobody says as whom it comes: give user or userRef",
    ),
    (
        "self.mechanism == 'Null' || (!has(self.user) && !has(self.userRef))",
        "user and userRef go with mechanism Null: with Plain each client says as whom it comes, with Curve curve.clients do",
    ),
    (
        "!self.anywhere || self.mechanism == 'Null'",
        "anywhere goes with mechanism Null: the others let in from everywhere those who they are for",
    ),
    (
        "!has(self.curve) || self.mechanism == 'Curve'",
        "curve goes with mechanism Curve",
    ),
    (
        "!self.durable || self.type in ['pull', 'sub', 'xsub', 'router']",
        "durable goes with types to which clients send: pull, xsub, router",
    ),
    (
        "!has(self.hwm) || self.type in ['pub', 'xpub', 'router', 'dealer']",
        "hwm goes with types xpub, router, dealer: pull waits for its queue, push gives what clients take",
    ),
    (
        "!has(self.prefetch) || self.type in ['push', 'dealer']",
        "prefetch goes with types push and dealer",
    ),
    (
        "!has(self.timeout) || self.type == 'router'",
        "timeout goes with type router",
    ),
    ("!self.errors || self.type == 'router'", "errors goes with type router"),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::admission::admit;

    fn refusals(spec: &Value) -> Vec<String> {
        let mut whole = json!({"brokerRef": {"name": "main"}, "port": 5555});
        if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
            whole.extend(spec.clone());
        }
        let manifest = json!({
            "apiVersion": "leveret.dev/v1alpha1", "kind": "ZeroMqSocket", "metadata": {"name": "it"}, "spec": whole,
        });
        let refusals = admit(&manifest).err().unwrap_or_default();
        refusals.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_type_with_what_it_needs() {
        let key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
        for spec in [
            json!({"type": "pull", "queue": "q", "user": "guest", "durable": true}),
            json!({"type": "pull", "exchange": "x", "routingKey": "", "userRef": {"name": "till"}}),
            json!({"type": "push", "queue": "q", "mechanism": "Plain", "prefetch": 10}),
            json!({"type": "sub", "exchange": "x", "user": "guest", "anywhere": true}),
            json!({"type": "xpub", "exchange": "x", "user": "guest", "hwm": 5}),
            json!({"type": "router", "queue": "q", "user": "guest", "timeout": "5s", "errors": true}),
            json!({"type": "dealer", "queue": "q", "mechanism": "Curve"}),
            json!({"type": "dealer", "queue": "q", "mechanism": "Curve", "address": "::1",
                "curve": {"secretRef": {"name": "s"}, "clients": [{"publicKey": key, "user": "till"}]}}),
        ] {
            assert_eq!(refusals(&spec), [""; 0], "{spec}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_what_does() {
        let pull = |more: Value| {
            let mut spec = json!({"type": "pull", "queue": "q", "user": "guest"});
            if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
                spec.extend(more.clone());
            }
            spec
        };
        for (spec, words) in [
            (
                json!({"type": "push", "exchange": "x", "user": "u"}),
                "give queue, and no exchange",
            ),
            (
                json!({"type": "xpub", "queue": "q", "user": "u"}),
                "give exchange, and no queue",
            ),
            (pull(json!({"exchange": "x"})), "give one of queue, exchange"),
            (pull(json!({"routingKey": "k"})), "routingKey goes with exchange"),
            (json!({"type": "pull", "queue": "q"}), "give user or userRef"),
            (pull(json!({"userRef": {"name": "x"}})), "give user or userRef"),
            (
                pull(json!({"mechanism": "Plain"})),
                "user and userRef go with mechanism Null",
            ),
            (
                json!({"type": "pull", "queue": "q", "mechanism": "Plain", "anywhere": true}),
                "anywhere goes with",
            ),
            (pull(json!({"curve": {}})), "curve goes with mechanism Curve"),
            (
                json!({"type": "push", "queue": "q", "user": "u", "durable": true}),
                "durable goes with",
            ),
            (pull(json!({"hwm": 5})), "hwm goes with"),
            (pull(json!({"prefetch": 5})), "prefetch goes with"),
            (pull(json!({"timeout": "5s"})), "timeout goes with"),
            (pull(json!({"errors": true})), "errors goes with"),
            (pull(json!({"address": "localhost"})), "must be an IP address"),
            (pull(json!({"port": 5672})), "the broker has this port"),
            (pull(json!({"port": 65536})), "spec.port"),
            (pull(json!({"type": "pair"})), "Unsupported value: \"pair\""),
            (
                json!({"type": "pull", "queue": "q", "mechanism": "Curve", "curve": {"clients": [
                    {"publicKey": "short", "user": "u"}]}}),
                "publicKey",
            ),
            (
                json!({"type": "pull", "queue": "q", "mechanism": "Curve",
                    "curve": {"secretRef": {"name": "s"}, "generatedSecret": {}}}),
                "give only one of secretRef, generatedSecret",
            ),
        ] {
            let said = refusals(&spec);
            assert!(said.iter().any(|line| line.contains(words)), "{spec}: {said:?}");
        }
    }
}
