//! Everything a commit passes through, but for the one who applies it.
//!
//! In: the control plane. Out: a namespace of the test's own with an operator, a broker, and a repository with a first
//! commit; and questions to both ends. Does not know about who applies what is committed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::api_server::{ApiServer, api_server};
use harness::http::Http;
use harness::kubectl::{Tools, run};
use harness::operator_process::Operator;
use harness::requests::unique;
use harness::wait::eventually;
use harness::{Broker, place};
use serde_json::json;

use crate::repository::{Repository, binding, object, queue};

/// The time that a change may take on its way.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The program that a script of `tests/cluster` has built; `None` when it has not, with the reason printed.
pub(crate) fn built(script: &str, requirement: &str) -> Option<PathBuf> {
    let path = place::repository().join("tests/cluster").join(script);
    let said = run(&mut Command::new(path), "");
    match said.stdout.lines().last() {
        Some(line) if said.well => Some(PathBuf::from(line)),
        _ => {
            harness::skip(requirement, said.all.trim());
            None
        }
    }
}

/// From the repository to the broker.
pub(crate) struct Way {
    pub(crate) repository: Repository,
    pub(crate) tools: Tools,
    pub(crate) cluster: ApiServer,
    pub(crate) namespace: String,
    pub(crate) broker: Broker,
    pub(crate) operator: Option<Operator>,
}

/// A way whose operator is not there yet.
pub(crate) fn way_without_operator() -> Option<Way> {
    let cluster = api_server()?;
    let tools = Tools::at(cluster.clone());
    let crds = place::repository().join("crds").display().to_string();
    tools.kubectl_well(&["apply", "--server-side", "--force-conflicts", "-f", &crds]);
    tools.kubectl_well(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds]);
    let namespace = unique("gitops");
    tools.kubectl_well(&["create", "namespace", &namespace]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "admin", "annotations": {"leveret.dev/broker": "main"}},
        "stringData": {"username": "guest", "password": "guest"}});
    tools.apply(&namespace, &[secret], &[]);
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    let repository = Repository::new(&namespace);
    first_commit(&repository, &broker);
    Some(Way {
        repository,
        tools,
        cluster,
        namespace,
        broker,
        operator: None,
    })
}

/// A way that is complete.
pub(crate) fn way() -> Option<Way> {
    let mut way = way_without_operator()?;
    way.start_operator();
    Some(way)
}

/// A queue before its broker, and a binding before its ends: no order is asked for.
fn first_commit(repository: &Repository, broker: &Broker) {
    let external = json!({"uri": format!("amqp://{}", broker.amqp()), "managementUri": format!("http://{}", broker.http()),
        "credentialsSecretRef": {"name": "admin"}});
    let exchange = json!({"brokerRef": {"name": "main"}, "type": "topic"});
    let main = json!({"engine": "External", "external": external});
    repository.commit(&[
        ("a-queue.yaml", queue("invoices")),
        ("b-binding.yaml", binding("order.*")),
        ("c-exchange.yaml", object("Exchange", "orders", exchange)),
        ("d-broker.yaml", object("Broker", "main", main)),
    ]);
}

impl Way {
    pub(crate) fn start_operator(&mut self) {
        let alone = ["--leader-election", "false"];
        self.operator = Some(Operator::start(&self.cluster, &self.namespace, &alone));
    }

    pub(crate) fn stop_operator(&mut self) {
        self.operator = None;
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.tools.kubectl_well(&[&["-n", &self.namespace], arguments].concat())
    }

    pub(crate) fn all_become_ready(&self) {
        for kind in ["brokers", "exchanges", "queues", "bindings"] {
            let all = format!("{kind}.leveret.dev");
            self.kubectl(&["wait", &all, "--all", "--for=condition=Ready", "--timeout=60s"]);
        }
    }

    /// The present value of a field in each of Leveret's objects.
    fn fields(&self, path: &str) -> BTreeMap<String, String> {
        let template = format!("jsonpath={{range .items[*]}}{{.kind}}/{{.metadata.name}} {{{path}}}{{\"\\n\"}}{{end}}");
        let listed = self.kubectl(&["get", "leveret", "-o", &template]);
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The version of every object: another one means that somebody has written.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        self.fields(".metadata.resourceVersion")
    }

    /// Those that are not ready now.
    pub(crate) fn unready(&self) -> Vec<String> {
        let states = self.fields(r#".status.conditions[?(@.type=="Ready")].status"#);
        let unready = states.into_iter().filter(|(_, state)| state != "True");
        unready.map(|(name, _)| name).collect()
    }

    pub(crate) fn has_queue(&self, name: &str) -> bool {
        let answer = Http::new(self.broker.http()).request("GET", &format!("/api/queues/%2F/{name}"), None);
        answer.status == 200
    }

    /// The routing keys by which `orders` is bound to `invoices`.
    pub(crate) fn keys(&self) -> Vec<String> {
        let bound = Http::new(self.broker.http()).get("/api/bindings/%2F/e/orders/q/invoices");
        let keys = bound.as_array().into_iter().flatten();
        keys.filter_map(|binding| binding["routing_key"].as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn keys_become(&self, wanted: &str) {
        eventually("the binding", SOON, || {
            let keys = self.keys();
            if keys == [wanted] { Ok(()) } else { Err(keys) }
        });
    }

    /// Somebody changes the binding in the cluster, and the operator follows.
    pub(crate) fn bind_by_hand(&self) {
        let patch = r#"{"spec":{"routingKey":"by.hand"}}"#;
        self.kubectl(&["patch", "bindings.leveret.dev", "b", "--type=merge", "-p", patch]);
        self.keys_become("by.hand");
    }

    /// Waits until the queue's object is being deleted and says that it can't; what it says.
    pub(crate) fn deletion_is_blocked(&self, queue: &str) -> String {
        let name = format!("queues.leveret.dev/{queue}");
        let waits = "--for=jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=DeletionBlocked";
        self.kubectl(&["wait", &name, waits, "--timeout=60s"]);
        let path = "jsonpath={.metadata.deletionTimestamp} {.status.conditions[?(@.type==\"Ready\")].message}";
        let said = self.kubectl(&["get", &name, "-o", path]);
        let (deleted, message) = said.split_once(' ').expect("two fields");
        assert!(!deleted.is_empty(), "{said}");
        message.to_owned()
    }
}
