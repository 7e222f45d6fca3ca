//! The way a user meets it, on a node with real pods: install, a broker with a volume, topology, messages while the
//! broker is taken away in every manner, upgrade, uninstall.
//!
//! In: the node that `run.sh` has started (`make e2e`), with the image on it. Out: every confirmed message, and how long
//! things took. Without such a node this is skipped with the reason printed.
//! Does not know about the programs' insides.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::api_server::ApiServer;
use harness::kubectl::{Tools, chart, run};
use harness::place;
use harness::wait::eventually;
use serde_json::{Value, json};

use sender::Sender;

mod sender;

const NAMESPACE: &str = "leveret";
const QUEUE: &str = "invoices";
const SOON: Duration = Duration::from_secs(60);

/// The node, as `run.sh` leaves it.
struct Node {
    state: PathBuf,
    tools: Tools,
}

fn node() -> Option<Node> {
    let Some(state) = env::var_os("LEVERET_E2E").map(PathBuf::from) else {
        harness::skip("REQUIRE_NODE", "no node: run `make e2e`");
        return None;
    };
    let kubeconfig = state.join("admin.conf");
    let tools = Tools::at(ApiServer { kubeconfig });
    Some(Node { state, tools })
}

impl Node {
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.tools.kubectl_well(&[&["-n", NAMESPACE], arguments].concat())
    }

    /// A volume on the node that the broker's claim binds to; its folder belongs to the image's user.
    fn volume(&self) {
        let folder = self.state.join("node/pv/broker");
        fs::create_dir_all(&folder).expect("a folder on the node");
        chown(&folder, Some(65532), Some(65532)).expect("root");
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local"},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "broker"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                "hostPath": {"path": folder.display().to_string()}}});
        self.tools.apply("", &[class, volume], &[]);
    }

    /// `helm install` or `upgrade` of the release with its broker, until everything in it is ready.
    fn helm(&self, verb: &str, extra: &[&str]) -> Duration {
        let start = Instant::now();
        let chart = chart().display().to_string();
        let values = place::repository().join("tests/e2e/values.yaml").display().to_string();
        let fixed = [
            verb,
            "leveret",
            &chart,
            "-n",
            NAMESPACE,
            "--create-namespace",
            "-f",
            &values,
        ];
        self.tools
            .helm_well(&[&fixed[..], &["--wait", "--timeout", "3m"], extra].concat());
        start.elapsed()
    }

    fn wait(&self, what: &str) {
        self.kubectl(&["wait", what, "--for=condition=Ready", "--timeout=90s"]);
    }

    fn pod_uid(&self) -> String {
        let arguments = [
            "-n",
            NAMESPACE,
            "get",
            "pod",
            "main-0",
            "--ignore-not-found",
            "-o",
            "jsonpath={.metadata.uid}",
        ];
        self.tools.kubectl(&arguments, "").stdout
    }

    /// Waits until another pod has taken the place of this one, and is ready.
    fn replaced(&self, before: &str) {
        eventually("another pod", SOON, || {
            let now = self.pod_uid();
            if now.is_empty() || now == before {
                Err(now)
            } else {
                Ok(())
            }
        });
        self.wait("pod/main-0");
    }

    fn restarts(&self) -> u32 {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        let count = self.kubectl(&["get", "pod", "main-0", "-o", path]);
        count.parse().unwrap_or(0)
    }

    /// Kills the broker's process as an out-of-memory kill would.
    fn kill_process(&self) {
        let before = self.restarts();
        let id = self.kubectl(&[
            "get",
            "pod",
            "main-0",
            "-o",
            "jsonpath={.status.containerStatuses[0].containerID}",
        ]);
        let id = id.trim_start_matches("containerd://");
        let init = fs::read_to_string(self.state.join("pid/init")).expect("the node's first process");
        let mut kill = Command::new("nsenter");
        kill.args(["-t", init.trim(), "-m", "-p"]);
        let said = run(
            kill.args(["ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", id]),
            "",
        );
        assert!(said.well, "{}", said.all);
        let restarted = || {
            let now = self.restarts();
            if now > before { Ok(()) } else { Err(now) }
        };
        eventually("the container is restarted", SOON, restarted);
        self.wait("pod/main-0");
    }

    /// Where clients connect: the Service's address and the generated credentials.
    fn uri(&self) -> String {
        let host = self.kubectl(&["get", "service", "main", "-o", "jsonpath={.spec.clusterIP}"]);
        let secret: Value =
            serde_json::from_str(&self.kubectl(&["get", "secret", "main-admin", "-o", "json"])).expect("JSON");
        let field = |name: &str| {
            use base64::Engine as _;
            let text = secret["data"][name]
                .as_str()
                .unwrap_or_else(|| panic!("{name} is missing"));
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
            String::from_utf8(bytes).expect("text")
        };
        format!("amqp://{}:{}@{host}:5672/%2f", field("username"), field("password"))
    }
}

fn topology() -> String {
    let path = Path::new("examples/orders/topology.yaml");
    place::repository().join(path).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_install_to_uninstall() {
    let Some(node) = node() else { return };
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that it is installed already
    node.volume();
    println!("helm install --wait with a Broker: {:.1?}", node.helm("install", &[]));
    let start = Instant::now();
    node.kubectl(&["apply", "-f", &topology()]);
    for kind in ["exchanges", "queues", "bindings"] {
        node.kubectl(&[
            "wait",
            &format!("{kind}.leveret.dev"),
            "--all",
            "--for=condition=Ready",
            "--timeout=60s",
        ]);
    }
    println!("topology ready after {:.1?}", start.elapsed());
    node.tools.helm_well(&["test", "leveret", "-n", NAMESPACE]);

    let sender = Sender::start(node.uri(), QUEUE);
    sender.confirms_more(SOON).await;
    type Blow = (&'static str, fn(&Node));
    let blows: [Blow; 5] = [
        ("process killed", Node::kill_process),
        ("pod deleted", |node| {
            let before = node.pod_uid();
            node.kubectl(&["delete", "pod", "main-0"]);
            node.replaced(&before);
        }),
        ("pod deleted by force", |node| {
            let before = node.pod_uid();
            node.kubectl(&["delete", "pod", "main-0", "--grace-period=0", "--force"]);
            node.replaced(&before);
        }),
        ("pod evicted", |node| {
            let before = node.pod_uid();
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": "main-0", "namespace": NAMESPACE}});
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/main-0/eviction");
            let said = node
                .tools
                .kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
            assert!(said.well, "{}", said.all);
            node.replaced(&before);
        }),
        ("image changed", |node| {
            let before = node.pod_uid();
            let patch = r#"{"spec":{"image":"kcp.local/leveret:e2e-next"}}"#;
            node.kubectl(&["patch", "brokers.leveret.dev", "main", "--type=merge", "-p", patch]);
            node.replaced(&before);
        }),
    ];
    for (what, blow) in blows {
        sender.forget_pause();
        tokio::task::block_in_place(|| blow(&node));
        sender.confirms_more(SOON).await;
        println!("{what}: longest time without a confirm {:.1?}", sender.longest_pause());
    }
    println!(
        "helm upgrade --wait: {:.1?}",
        node.helm("upgrade", &["--set", "operator.log=debug"])
    );
    node.wait("brokers.leveret.dev/main");
    sender.confirms_more(SOON).await;

    let confirmed = sender.stop().await;
    let found = sender::drain(&node.uri(), QUEUE).await;
    let lost: Vec<u64> = confirmed.difference(&found).copied().collect();
    println!(
        "{} confirmed, {} found, {} lost",
        confirmed.len(),
        found.len(),
        lost.len()
    );
    assert!(lost.is_empty(), "confirmed, but not there: {lost:?}");

    let log = node.kubectl(&["logs", "deployment/leveret"]);
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.to_lowercase().contains("forbidden"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");

    let start = Instant::now();
    node.tools
        .helm_well(&["uninstall", "leveret", "-n", NAMESPACE, "--wait", "--timeout", "3m"]);
    println!("helm uninstall --wait: {:.1?}", start.elapsed());
    let claims = node.kubectl(&["get", "persistentvolumeclaims", "-o", "name"]);
    assert!(claims.contains("data-main-0"), "the volume stays: {claims}");
    let left = node.kubectl(&["get", "leveret", "-o", "jsonpath={.items[*].metadata.finalizers}"]);
    assert_eq!(left, "", "no finalizer waits for an operator that is gone");
    node.tools
        .kubectl_well(&["delete", "namespace", NAMESPACE, "--timeout=90s"]);
}
