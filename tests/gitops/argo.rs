//! Argo CD's sync engine: gitops-engine's agent.
//!
//! In: its program, a repository on disk. Out: syncs when the test asks for them, and what the agent says of each
//! resource.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::api_server::ApiServer;
use harness::http::Http;
use harness::operator_process::free_address;
use harness::process::Process;
use harness::requests::*;
use harness::wait::until;
use harness::{Client, call};

use crate::repository::{Repository, binding, queue};
use crate::way::{SOON, Way, built, way};

/// The agent at work on a repository and a namespace.
struct Agent {
    process: Process,
    api: Http,
}

impl Agent {
    fn start(program: &Path, repository: &Repository, cluster: &ApiServer, namespace: &str) -> Agent {
        let listen = free_address();
        let process = Process::start("agent", |_| {
            let mut command = Command::new(program);
            command
                .arg(repository.topology())
                .args(["--namespaced", "--namespace", namespace])
                .args(["--default-namespace", namespace])
                // Nothing by the clock: this test says when.
                .args(["--resync-seconds", "3600", "--port", &listen.port().to_string()])
                .arg("--kubeconfig")
                .arg(&cluster.kubeconfig);
            command
        });
        let agent = Agent {
            process,
            api: Http::anonymous(listen),
        };
        agent.finishes(0);
        agent
    }

    /// Syncs that have come to an end.
    fn syncs(&self) -> usize {
        self.process.log().matches("RESOURCE").count()
    }

    /// Waits for the end of one more sync than `before`; what it says of each resource.
    fn finishes(&self, before: usize) -> String {
        until("the sync ends", SOON, || self.syncs() > before);
        // The table is written in one piece after its heading.
        thread::sleep(Duration::from_millis(200));
        let log = self.process.log();
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

/// The agent, and all that it stands between.
struct Stage {
    agent: Agent,
    way: Way,
}

fn stage() -> Option<Stage> {
    let program = built("gitops.sh", "REQUIRE_GITOPS")?;
    let way = way()?;
    let agent = Agent::start(&program, &way.repository, &way.cluster, &way.namespace);
    Some(Stage { agent, way })
}

#[test]
fn commits_become_topology_and_nothing_else_is_written() {
    let Some(Stage { agent, way }) = stage() else { return };
    way.all_become_ready();
    way.keys_become("order.*");

    // What the API server and the operator add (defaults, finalizers, status) is no difference.
    let before = way.versions();
    assert_eq!(before.len(), 4, "{before:?}");
    for _ in 0..3 {
        let said = agent.sync();
        assert_eq!(said.matches("unchanged").count(), 4, "{said}");
    }
    assert_eq!(way.versions(), before, "written although nothing has changed");

    way.repository.commit(&[
        ("e-more.yaml", queue("shipments")),
        ("b-binding.yaml", binding("order.new")),
    ]);
    agent.sync();
    way.all_become_ready();
    way.keys_become("order.new");
    assert!(way.has_queue("shipments"));

    way.repository.git(&["revert", "--no-edit", "HEAD"]);
    agent.sync();
    way.keys_become("order.*");
    until("the queue is pruned", SOON, || way.versions().len() == 4);
    assert!(!way.has_queue("shipments"));

    // By hand in the cluster: the next sync puts it back.
    way.bind_by_hand();
    agent.sync();
    way.keys_become("order.*");
}

#[test]
fn a_queue_with_messages_is_not_pruned() {
    let Some(Stage { agent, way }) = stage() else { return };
    way.all_become_ready();
    let mut client = Client::with_channel(way.broker.amqp());
    client.publish_persistent(1, "", "invoices", b"precious");
    let there = || call!(client, 1, passive("invoices") => QueueDeclareOk).message_count == 1;
    until("the message is there", SOON, there);

    way.repository
        .commit(&[("a-queue.yaml", None), ("b-binding.yaml", None)]);
    let said = agent.sync();
    assert!(said.contains("pruned"), "{said}");
    let message = way.deletion_is_blocked("invoices");
    assert!(message.contains('1'), "{message}");

    // It holds up nobody else.
    way.repository.commit(&[("e-more.yaml", queue("shipments"))]);
    agent.sync();
    until("the next commit", SOON, || way.has_queue("shipments"));
    assert!(way.has_queue("invoices"));

    assert_eq!(client.get(1, "invoices", true).expect("a message").body, "precious");
    way.kubectl(&["wait", "queues.leveret.dev/invoices", "--for=delete", "--timeout=60s"]);
    assert!(!way.has_queue("invoices"));
    assert_eq!(way.versions().len(), 3, "broker, exchange and the new queue");
}
