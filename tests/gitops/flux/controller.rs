//! Flux's kustomize-controller as a process.
//!
//! In: its folder from `tests/cluster/flux.sh`, a cluster, a namespace. Out: the running controller, with its CRDs installed.
//! Does not know about what it applies.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use harness::http::Http;
use harness::kubectl::Tools;
use harness::operator_process::free_address;
use harness::reaper;
use harness::wait::until;
use tempfile::TempDir;

use crate::way::SOON;

/// A controller that looks after the Kustomizations of one namespace.
pub(super) struct Controller {
    child: Child,
    home: TempDir,
}

impl Controller {
    pub(super) fn start(folder: &Path, tools: &Tools, namespace: &str) -> Controller {
        let crds = folder.join("crds").display().to_string();
        tools.kubectl_well(&["apply", "--server-side", "--force-conflicts", "-f", &crds]);
        tools.kubectl_well(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds]);
        let home = tempfile::tempdir().expect("a temporary folder");
        let health = free_address();
        let log = File::create(home.path().join("log")).expect("a file for the log");
        let child = Command::new(folder.join("kustomize-controller"))
            .args(["--watch-all-namespaces=false", "--metrics-addr=0"])
            .args(["--requeue-dependency=1s", &format!("--health-addr={health}")])
            .env("RUNTIME_NAMESPACE", namespace)
            .env("KUBECONFIG", &tools.cluster.kubeconfig)
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the controller runs");
        reaper::add(child.id(), Some(home.path()));
        let controller = Controller { child, home };
        let answers = || Http::anonymous(health).try_request("GET", "/readyz", None);
        until("the controller is ready", SOON, || {
            answers().is_ok_and(|answer| answer.status == 200)
        });
        controller
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::gone(self.child.id());
        if thread::panicking() {
            eprintln!("--- the controller's log\n{}---", self.log());
        }
    }
}
