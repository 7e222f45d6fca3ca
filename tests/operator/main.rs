//! The operator between a real API server and a real broker.
//!
//! In: a control plane, a broker and an operator process for each test, in a namespace of its own. Out: what users do
//! with their resources, and what must come of it.
//! Without a cluster these tests are skipped with the reason printed (`REQUIRE_CLUSTER=1`: a failure).
//! Does not know about the operator's insides.

use std::time::Duration;

use harness::Broker;
use harness::Client;
use harness::api_server::{ApiServer, Resources, api_server};
use harness::http::Http;
use harness::operator_process::Operator;
use serde_json::{Value, json};

/// Brokers and Broker authors that mean no good: what they cost the others, and what they get to see.
mod hostile;

/// Addresses, ports and certificates that are wrong.
mod connecting;

/// Objects that are on the broker before their resource is.
mod adoption;

/// Applied, in any order, and edited.
mod apply;

/// Queues with arguments: there and back, put right, edited, refused.
mod arguments;

/// Manifests that cannot be meant: the API server refuses them, with words that help.
mod bad_manifests;

/// Bindings: edited without a gap, removed, restored with their ends.
mod binding;

/// The broker goes, comes back, or comes back with nothing.
mod broker_away;

/// Two resources for one queue: the older one has it, and hands it over when it goes.
mod conflict;

/// Deleted: what goes from the broker, what stays, what holds it up.
mod deletion;

/// Changed by hand on the broker: put right in under a second.
mod drift;

/// The operator runs the broker: what it makes of a Broker, and what it says of the pod.
mod engine;

/// Namespace, Broker, definitions, operator and Secret, deleted in every order: it ends, and what stays is told.
mod orders;

/// A Broker goes last, nothing hangs, and what stays is told.
mod parting;

/// `leveret export`, as kubectl reads it.
mod exported;

/// `leveret plan --context`: what is said before comes true after, and a plan of what stands is empty.
mod plan;

/// Policies and operator policies.
mod policies;

/// Users, with Secrets and passwords.
mod users;

/// ZeroMQ sockets.
mod zeromq;

/// Told to users: events, attempts, drift, Brokers that share a broker.
mod told;

/// The Lease, lost and won again.
mod leading;

/// kubectl's tables.
mod columns;

/// Two tenants of one Broker.
mod tenancy;

/// Virtual hosts: put right, and not deleted with messages in them.
mod vhosts;

/// A thousand queues and bindings at once, and then nothing to do.
mod scale;

/// A Broker in a namespace that an operator does not watch.
mod beyond;

/// Several operators: one keeps a Broker.
mod several;

/// A day's life in an hour: everything changes and fails at random, and agrees at last.
mod soak;

/// Resources of RabbitMQ's topology operator, in its place.
mod theirs;

/// Secrets that appear after the Brokers that refer to them: each is noticed when it appears, not at the minute's
/// retry.
mod secrets;

/// The time that a reconciliation may take. Usually it is milliseconds; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(20);

/// Everything a test plays with. The operator goes before the broker does.
struct Stage {
    operator: Operator,
    broker: Broker,
    client: kube::Client,
    resources: Resources,
    namespace: String,
}

/// A namespace with the Broker `main`, and an operator that watches it.
async fn stage(what: &str) -> Option<Stage> {
    stage_with(what, &[]).await
}

/// [`stage`] with further arguments of the operator.
async fn stage_with(what: &str, extra: &[&str]) -> Option<Stage> {
    let start =
        |cluster: &ApiServer, namespace: &str, arguments: &[&str]| Operator::start(cluster, namespace, arguments);
    stage_by(what, extra, start).await
}

/// [`stage`] with an operator that `start` makes.
async fn stage_by(what: &str, extra: &[&str], start: impl Fn(&ApiServer, &str, &[&str]) -> Operator) -> Option<Stage> {
    let cluster = api_server()?;
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, what).await;
    let broker = Broker::external().unwrap_or_else(|| Broker::start_with(&["--segment-size", "4MiB"]));
    let resources = Resources::new(&client, &namespace);
    for manifest in broker_manifests("main", &broker) {
        resources
            .apply(&manifest)
            .await
            .unwrap_or_else(|error| panic!("{manifest}: {error}"));
    }
    let arguments: Vec<&str> = ["--leader-election", "false"].iter().chain(extra).copied().collect();
    let operator = start(&cluster, &namespace, &arguments);
    Some(Stage {
        operator,
        broker,
        client,
        resources,
        namespace,
    })
}

impl Stage {
    fn http(&self) -> Http {
        Http::new(self.broker.http())
    }

    /// A connection to the broker with channel 1 open.
    fn amqp(&self) -> Client {
        Client::with_channel(self.broker.amqp())
    }

    /// A name on the broker: unique, since tests may share it.
    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.namespace)
    }

    /// A manifest of this group; `spec` gets the reference to the broker.
    fn manifest(&self, kind: &str, name: &str, mut spec: Value) -> Value {
        spec["brokerRef"] = json!({"name": "main"});
        manifest(kind, name, spec)
    }

    /// A Queue whose name on the broker is unique.
    fn queue(&self, name: &str) -> Value {
        self.manifest("Queue", name, json!({"name": self.name(name)}))
    }

    /// An Exchange whose name on the broker is unique.
    fn exchange(&self, name: &str, kind: &str) -> Value {
        self.manifest("Exchange", name, json!({"name": self.name(name), "type": kind}))
    }

    /// A Binding between two of the above.
    fn binding(&self, name: &str, source: &str, queue: &str, key: &str) -> Value {
        let spec = json!({
            "source": self.name(source),
            "destination": {"queue": self.name(queue)},
            "routingKey": key,
        });
        self.manifest("Binding", name, spec)
    }

    async fn apply(&self, manifest: &Value) {
        self.resources
            .apply(manifest)
            .await
            .unwrap_or_else(|error| panic!("{manifest}: {error}"));
    }

    /// Applies and waits until it is `Synced`.
    async fn synced(&self, manifest: &Value) {
        self.apply(manifest).await;
        let (kind, name) = (text(manifest, "/kind"), text(manifest, "/metadata/name"));
        self.resources.becomes(&kind, &name, "True", "Synced", SOON).await;
    }

    /// True if the queue is on the broker.
    fn has_queue(&self, name: &str) -> bool {
        self.exists("queues", name)
    }

    /// True if the exchange is on the broker.
    fn has_exchange(&self, name: &str) -> bool {
        self.exists("exchanges", name)
    }

    fn exists(&self, kind: &str, name: &str) -> bool {
        match self
            .http()
            .request("GET", &format!("/api/{kind}/%2F/{}", self.name(name)), None)
            .status
        {
            200 => true,
            404 => false,
            other => panic!("GET {kind} {name}: {other}"),
        }
    }

    /// Routing keys of the bindings between an exchange and a queue.
    fn keys(&self, source: &str, queue: &str) -> Vec<String> {
        let path = format!("/api/bindings/%2F/e/{}/q/{}", self.name(source), self.name(queue));
        let answer = self.http().request("GET", &path, None);
        let Value::Array(bindings) = (if answer.status == 200 { answer.json() } else { json!([]) }) else {
            return vec![];
        };
        let mut keys: Vec<String> = bindings.iter().map(|binding| text(binding, "/routing_key")).collect();
        keys.sort();
        keys
    }
}

/// The Broker and the Secret that name a running broker.
fn broker_manifests(name: &str, broker: &Broker) -> [Value; 2] {
    let secret = format!("{name}-admin");
    let external = json!({
        "uri": format!("amqp://{}", broker.amqp()),
        "managementUri": format!("http://{}", broker.http()),
        "credentialsSecretRef": {"name": secret},
    });
    let credentials = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "annotations": {"leveret.dev/broker": name}},
        "stringData": {"username": "guest", "password": "guest"},
    });
    [
        credentials,
        manifest("Broker", name, json!({"engine": "External", "external": external})),
    ]
}

fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_string()
}
