//! The node with real pods, and what can be done to a broker on it.
//!
//! In: what `run.sh` has started. Out: pods replaced, processes killed, releases installed. Does not know what is sent.

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

pub(crate) const NAMESPACE: &str = "leveret";
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The node, as `run.sh` leaves it.
pub(crate) struct Node {
    state: PathBuf,
    pub(crate) tools: Tools,
}

pub(crate) fn node() -> Option<Node> {
    let Some(state) = env::var_os("LEVERET_E2E").map(PathBuf::from) else {
        harness::skip("REQUIRE_NODE", "no node: run `make e2e`");
        return None;
    };
    let kubeconfig = state.join("admin.conf");
    let tools = Tools::at(ApiServer { kubeconfig });
    Some(Node { state, tools })
}

impl Node {
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.tools.kubectl_well(&[&["-n", NAMESPACE], arguments].concat())
    }

    /// The folder that the node keeps its things in.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// A volume on the node that the broker's claim binds to; its folder belongs to the image's user.
    pub(crate) fn volume(&self, name: &str) {
        let folder = self.state.join("node/pv").join(name);
        fs::create_dir_all(&folder).expect("a folder on the node");
        chown(&folder, Some(65532), Some(65532)).expect("root");
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local"},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                "hostPath": {"path": folder.display().to_string()}}});
        self.tools.apply("", &[class, volume], &[]);
    }

    /// `helm install` or `upgrade` of the release with its broker, until everything in it is ready.
    pub(crate) fn helm(&self, verb: &str, extra: &[&str]) -> Duration {
        self.helm_of(verb, &chart().display().to_string(), extra)
    }

    /// The same of another chart.
    pub(crate) fn helm_of(&self, verb: &str, chart: &str, extra: &[&str]) -> Duration {
        let start = Instant::now();
        let values = place::repository().join("tests/e2e/values.yaml").display().to_string();
        let fixed = [
            verb,
            "leveret",
            chart,
            "-n",
            NAMESPACE,
            "--create-namespace",
            "-f",
            &values,
        ];
        let wait = ["--wait", "--timeout", "3m"];
        self.tools.helm_well(&[&fixed[..], &wait, extra].concat());
        start.elapsed()
    }

    pub(crate) fn wait(&self, what: &str) {
        self.kubectl(&["wait", what, "--for=condition=Ready", "--timeout=90s"]);
    }

    pub(crate) fn pod_uid(&self) -> String {
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
    pub(crate) fn replaced(&self, before: &str) {
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

    fn container(&self, pod: &str, field: &str) -> String {
        let path = format!("jsonpath={{.status.containerStatuses[0].{field}}}");
        self.kubectl(&["get", "pod", pod, "-o", &path])
    }

    /// Kills a pod's process as an out-of-memory kill would.
    pub(crate) fn kill_container(&self, pod: &str) {
        let id = self.container(pod, "containerID");
        let id = id.trim_start_matches("containerd://");
        let init = fs::read_to_string(self.state.join("pid/init")).expect("the node's first process");
        let mut kill = Command::new("nsenter");
        kill.args(["-t", init.trim(), "-m", "-p"]);
        let said = run(
            kill.args(["ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", id]),
            "",
        );
        assert!(said.well, "{}", said.all);
    }

    /// Kills the broker's process and waits until it is ready again.
    pub(crate) fn kill_process(&self) {
        let restarts = || self.container("main-0", "restartCount").parse().unwrap_or(0u32);
        let before = restarts();
        self.kill_container("main-0");
        let restarted = || {
            let now = restarts();
            if now > before { Ok(()) } else { Err(now) }
        };
        eventually("the container is restarted", SOON, restarted);
        self.wait("pod/main-0");
    }

    /// Where clients connect: the Service's address and the generated credentials.
    pub(crate) fn uri(&self) -> String {
        let host = self.kubectl(&["get", "service", "main", "-o", "jsonpath={.spec.clusterIP}"]);
        let (user, password) = self.credentials();
        format!("amqp://{user}:{password}@{host}:5672/%2f")
    }

    /// The generated user and password.
    pub(crate) fn credentials(&self) -> (String, String) {
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
        (field("username"), field("password"))
    }
}
