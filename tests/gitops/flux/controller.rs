//! Flux's kustomize-controller as a process.
//!
//! In: its folder from `tests/cluster/flux.sh`, a cluster, a namespace. Out: the running controller, with its CRDs
//! installed. Does not know about what it applies.

use std::path::Path;
use std::process::Command;

use harness::http::Http;
use harness::kubectl::Tools;
use harness::operator_process::free_address;
use harness::process::Process;
use harness::wait::until;

use crate::way::SOON;

/// A controller that looks after the Kustomizations of one namespace.
pub(super) struct Controller {
    _process: Process,
}

impl Controller {
    pub(super) fn start(folder: &Path, tools: &Tools, namespace: &str) -> Controller {
        let crds = folder.join("crds").display().to_string();
        tools.kubectl_well(&["apply", "--server-side", "--force-conflicts", "-f", &crds]);
        tools.kubectl_well(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds]);
        let health = free_address();
        let process = Process::start("controller", |home| {
            let mut command = Command::new(folder.join("kustomize-controller"));
            command
                .args(["--watch-all-namespaces=false", "--metrics-addr=0"])
                .args(["--requeue-dependency=1s", &format!("--health-addr={health}")])
                .env("RUNTIME_NAMESPACE", namespace)
                .env("KUBECONFIG", &tools.cluster.kubeconfig)
                .env("TMPDIR", home);
            command
        });
        let controller = Controller { _process: process };
        let answers = || Http::anonymous(health).try_request("GET", "/readyz", None);
        until("the controller is ready", SOON, || {
            answers().is_ok_and(|answer| answer.status == 200)
        });
        controller
    }
}
