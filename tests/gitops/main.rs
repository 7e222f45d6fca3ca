//! Topology from a Git repository, by the engine that Argo CD syncs with.
//!
//! In: gitops-engine's agent (`tests/cluster/gitops.sh build` makes it), a repository of this test, a control plane, the
//! operator and a broker as processes. Out: what commits become on the broker, and that nothing is written when nothing
//! has changed. Without the agent this is skipped with the reason printed.
//! Does not know about the agent's insides.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::api_server::{ApiServer, api_server};
use harness::http::Http;
use harness::kubectl::{Tools, run};
use harness::operator_process::{Operator, free_address};
use harness::requests::*;
use harness::wait::{eventually, until};
use harness::{Broker, Client, call, place, reaper};
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(60);
const KINDS: [&str; 4] = ["brokers", "exchanges", "queues", "bindings"];

/// The agent's program; `None` when it was not built, with the reason printed.
fn agent() -> Option<PathBuf> {
    let said = run(
        &mut Command::new(place::repository().join("tests/cluster/gitops.sh")),
        "",
    );
    match said.stdout.lines().last() {
        Some(line) if said.well => Some(PathBuf::from(line)),
        _ => {
            harness::skip("REQUIRE_GITOPS", said.all.trim());
            None
        }
    }
}

/// A repository with one branch.
struct Repository {
    folder: TempDir,
    namespace: String,
}

impl Repository {
    /// Its manifests are of this namespace.
    fn new(namespace: &str) -> Repository {
        let repository = Repository {
            folder: tempfile::tempdir().expect("a temporary folder"),
            namespace: namespace.to_owned(),
        };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path());
        command.args(["-c", "user.name=test", "-c", "user.email=test@localhost"]);
        let said = run(command.args(arguments), "");
        assert!(said.well, "git {arguments:?}: {}", said.all);
    }

    /// Writes files (or removes them, for `None`) and commits.
    fn commit(&self, files: &[(&str, Option<Value>)]) {
        for (name, content) in files {
            let path = self.path().join(name);
            match content.clone() {
                Some(mut manifest) => {
                    manifest["metadata"]["namespace"] = json!(self.namespace);
                    fs::write(&path, serde_yaml::to_string(&manifest).expect("YAML"))
                }
                None => fs::remove_file(&path),
            }
            .expect("a file of the repository");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "a change"]);
    }
}

/// The agent at work on a repository and a namespace.
struct Agent {
    child: Child,
    home: TempDir,
    api: Http,
}

impl Agent {
    fn start(program: &Path, repository: &Repository, cluster: &ApiServer, namespace: &str) -> Agent {
        let home = tempfile::tempdir().expect("a temporary folder");
        let listen = free_address();
        let log = File::create(home.path().join("log")).expect("a file for the log");
        let child = Command::new(program)
            .arg(repository.path())
            .args([
                "--namespaced",
                "--namespace",
                namespace,
                "--default-namespace",
                namespace,
            ])
            // Nothing by the clock: this test says when.
            .args(["--resync-seconds", "3600", "--port", &listen.port().to_string()])
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the agent runs");
        reaper::add(child.id(), Some(home.path()));
        let agent = Agent {
            child,
            home,
            api: Http::anonymous(listen),
        };
        agent.finishes(0);
        agent
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// How many syncs have come to an end.
    fn syncs(&self) -> usize {
        self.log().matches("RESOURCE").count()
    }

    /// Waits for the end of one more sync than `before`; what it says of each resource.
    fn finishes(&self, before: usize) -> String {
        until("the sync ends", SOON, || self.syncs() > before);
        // The table is written in one piece after its heading.
        thread::sleep(Duration::from_millis(200));
        let log = self.log();
        log.rsplit("RESOURCE").next().unwrap_or_default().to_owned()
    }

    /// Asks for a sync and waits for its end; what it says of each resource.
    fn sync(&self) -> String {
        let before = self.syncs();
        let answer = self
            .api
            .try_request("GET", "/api/v1/sync", None)
            .expect("the agent answers");
        assert_eq!(answer.status, 200);
        self.finishes(before)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::gone(self.child.id());
        if thread::panicking() {
            eprintln!("--- the agent's log\n{}---", self.log());
        }
    }
}

/// Everything a commit passes through.
struct Way {
    agent: Agent,
    repository: Repository,
    tools: Tools,
    namespace: String,
    broker: Broker,
    _operator: Operator,
}

fn object(kind: &str, name: &str, spec: Value) -> Option<Value> {
    let metadata = json!({ "name": name });
    Some(json!({ "apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec }))
}

fn queue(name: &str) -> Option<Value> {
    object("Queue", name, json!({"brokerRef": {"name": "main"}}))
}

fn binding(key: &str) -> Option<Value> {
    let spec = json!({"brokerRef": {"name": "main"}, "source": "orders", "destination": {"queue": "invoices"}, "routingKey": key});
    object("Binding", "b", spec)
}

fn way() -> Option<Way> {
    let program = agent()?;
    let cluster = api_server()?;
    let tools = Tools::at(cluster.clone());
    let crds = place::repository().join("crds").display().to_string();
    tools.kubectl_well(&["apply", "--server-side", "--force-conflicts", "-f", &crds]);
    tools.kubectl_well(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds]);
    let namespace = unique("gitops");
    tools.kubectl_well(&["create", "namespace", &namespace]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admin"},
        "stringData": {"username": "guest", "password": "guest"}});
    tools.apply(&namespace, &[secret], &[]);
    let broker = Broker::start_with(&["--segment-size", "4MiB"]);
    let operator = Operator::start(&cluster, &namespace, &["--leader-election", "false"]);
    let repository = Repository::new(&namespace);
    let external = json!({"uri": format!("amqp://{}", broker.amqp()), "managementUri": format!("http://{}", broker.http()),
        "credentialsSecretRef": {"name": "admin"}});
    repository.commit(&[
        // A queue before its broker, and a binding before its ends: no order is asked for.
        ("a-queue.yaml", queue("invoices")),
        ("b-binding.yaml", binding("order.*")),
        (
            "c-exchange.yaml",
            object(
                "Exchange",
                "orders",
                json!({"brokerRef": {"name": "main"}, "type": "topic"}),
            ),
        ),
        (
            "d-broker.yaml",
            object("Broker", "main", json!({"engine": "External", "external": external})),
        ),
    ]);
    Some(Way {
        agent: Agent::start(&program, &repository, &cluster, &namespace),
        repository,
        tools,
        namespace,
        broker,
        _operator: operator,
    })
}

impl Way {
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.tools.kubectl_well(&[&["-n", &self.namespace], arguments].concat())
    }

    fn all_ready(&self) {
        for kind in KINDS {
            let all = format!("{kind}.leveret.dev");
            self.kubectl(&["wait", &all, "--all", "--for=condition=Ready", "--timeout=60s"]);
        }
    }

    fn has_queue(&self, name: &str) -> bool {
        let answer = Http::new(self.broker.http()).request("GET", &format!("/api/queues/%2F/{name}"), None);
        answer.status == 200
    }

    fn keys(&self) -> Vec<String> {
        let bound = Http::new(self.broker.http()).get("/api/bindings/%2F/e/orders/q/invoices");
        let keys = bound.as_array().into_iter().flatten();
        keys.filter_map(|binding| binding["routing_key"].as_str().map(str::to_owned))
            .collect()
    }

    fn keys_become(&self, wanted: &str) {
        eventually("the binding", SOON, || {
            let keys = self.keys();
            if keys == [wanted] { Ok(()) } else { Err(keys) }
        });
    }

    /// The version of every object: another one means that somebody has written.
    fn versions(&self) -> BTreeMap<String, String> {
        let template = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}";
        let listed = self.kubectl(&["get", "leveret", "-o", template]);
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        pairs
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect()
    }
}

#[test]
fn commits_become_topology_and_nothing_else_is_written() {
    let Some(way) = way() else { return };
    way.all_ready();
    way.keys_become("order.*");

    // What the API server and the operator add (defaults, finalizers, status) is no difference.
    let before = way.versions();
    assert_eq!(before.len(), 4, "{before:?}");
    for _ in 0..3 {
        let said = way.agent.sync();
        assert_eq!(said.matches("unchanged").count(), 4, "{said}");
    }
    assert_eq!(way.versions(), before, "written although nothing has changed");

    way.repository.commit(&[
        ("e-more.yaml", queue("shipments")),
        ("b-binding.yaml", binding("order.new")),
    ]);
    way.agent.sync();
    way.all_ready();
    way.keys_become("order.new");
    assert!(way.has_queue("shipments"));

    way.repository.git(&["revert", "--no-edit", "HEAD"]);
    way.agent.sync();
    way.keys_become("order.*");
    until("the queue is pruned", SOON, || !way.has_queue("shipments"));

    // By hand in the cluster: the next sync puts it back.
    let patch = r#"{"spec":{"routingKey":"by.hand"}}"#;
    way.kubectl(&["patch", "bindings.leveret.dev", "b", "--type=merge", "-p", patch]);
    way.keys_become("by.hand");
    way.agent.sync();
    way.keys_become("order.*");
    assert_eq!(way.versions().len(), 4);
}

#[test]
fn a_queue_with_messages_is_not_pruned() {
    let Some(way) = way() else { return };
    way.all_ready();
    let mut client = Client::with_channel(way.broker.amqp());
    client.publish_persistent(1, "", "invoices", b"precious");
    let there = || call!(client, 1, passive("invoices") => QueueDeclareOk).message_count == 1;
    until("the message is there", SOON, there);

    way.repository
        .commit(&[("a-queue.yaml", None), ("b-binding.yaml", None)]);
    let said = way.agent.sync();
    assert!(said.contains("pruned"), "{said}");
    let waits = "--for=jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}=DeletionBlocked";
    way.kubectl(&["wait", "queues.leveret.dev/invoices", waits, "--timeout=60s"]);
    let path = "jsonpath={.metadata.deletionTimestamp} {.status.conditions[?(@.type==\"Ready\")].message}";
    let said = way.kubectl(&["get", "queues.leveret.dev", "invoices", "-o", path]);
    let (deleted, message) = said.split_once(' ').expect("two fields");
    assert!(!deleted.is_empty() && message.contains('1'), "{said}");

    // It holds up nobody else.
    way.repository.commit(&[("e-more.yaml", queue("shipments"))]);
    way.agent.sync();
    until("the next commit", SOON, || way.has_queue("shipments"));
    assert!(way.has_queue("invoices"));

    assert_eq!(client.get(1, "invoices", true).expect("a message").body, "precious");
    way.kubectl(&["wait", "queues.leveret.dev/invoices", "--for=delete", "--timeout=60s"]);
    assert!(!way.has_queue("invoices"));
    assert_eq!(way.versions().len(), 3, "broker, exchange and the new queue");
}
