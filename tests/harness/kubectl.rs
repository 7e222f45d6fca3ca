//! helm and kubectl as processes, and credentials of service accounts.
//!
//! In: arguments and a text for standard input. Out: what they said, and whether they were content.
//! Does not know about what the chart contains.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api_server::{ApiServer, api_server};
use crate::{place, skip};

/// Both outputs of a program, and its success.
pub struct Said {
    pub well: bool,
    pub stdout: String,
    pub all: String,
}

/// Both programs and a cluster that they speak to.
pub struct Tools {
    pub cluster: ApiServer,
    home: TempDir,
}

/// Runs a program with a text on its standard input.
pub fn run(command: &mut Command, input: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes())); // fails when the program does not read: that is fine
    let output = child.wait_with_output().expect("it can be waited for");
    let _ = writer.join();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Said {
        well: output.status.success(),
        stdout,
        all,
    }
}

/// The last line of what a script of the repository prints.
fn script(path: &str, argument: &[&str]) -> Result<PathBuf, String> {
    let said = run(Command::new(place::repository().join(path)).args(argument), "");
    match said.stdout.lines().last() {
        Some(line) if said.well => Ok(PathBuf::from(line)),
        _ => Err(format!("{path}: {}", said.all)),
    }
}

/// helm of version 4; `None` when there is none to be had, with the reason printed.
pub fn helm() -> Option<PathBuf> {
    static HELM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match HELM.get_or_init(|| script(".ci/release/helm.sh", &[])) {
        Ok(path) => Some(path.clone()),
        Err(reason) => {
            skip("REQUIRE_CLUSTER", reason);
            None
        }
    }
}

/// kubectl: that of the test cluster, or the one in PATH beside another cluster.
fn kubectl() -> Vec<OsString> {
    static KUBECTL: OnceLock<Vec<OsString>> = OnceLock::new();
    let find = || {
        if env::var_os("LEVERET_TEST_KUBECONFIG").is_some() {
            return vec!["kubectl".into()];
        }
        let folder = script("tests/cluster/build.sh", &["cp"]).unwrap_or_else(|error| panic!("{error}"));
        vec![folder.join("kcp").into(), "kubectl".into()]
    };
    KUBECTL.get_or_init(find).clone()
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    place::repository().join("charts/leveret")
}

/// A value set of `tests/charts/values`.
pub fn values(name: &str) -> String {
    let path = place::repository()
        .join("tests/charts/values")
        .join(format!("{name}.yaml"));
    path.display().to_string()
}

impl Tools {
    /// For a cluster that is there, whatever is installed in it.
    pub fn at(cluster: ApiServer) -> Tools {
        Tools {
            cluster,
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// With the definitions installed. `None` without a cluster or helm.
    pub fn new() -> Option<Tools> {
        helm()?;
        let tools = Tools::at(api_server()?);
        let crds = place::repository().join("crds").display().to_string();
        tools.kubectl_well(&["apply", "--server-side", "--force-conflicts", "-f", &crds]);
        tools.kubectl_well(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds]);
        Some(tools)
    }

    pub fn helm(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(helm().expect("asked for before"));
        command.args(arguments).env("KUBECONFIG", &self.cluster.kubeconfig);
        // Nothing of the person who runs the tests.
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path());
        }
        run(&mut command, "")
    }

    /// Helm's answer, which must be a good one.
    pub fn helm_well(&self, arguments: &[&str]) -> String {
        let said = self.helm(arguments);
        assert!(said.well, "helm {arguments:?}: {}", said.all);
        said.stdout
    }

    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Said {
        let program = kubectl();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(arguments);
        run(command.env("KUBECONFIG", &self.cluster.kubeconfig), input)
    }

    pub fn kubectl_well(&self, arguments: &[&str]) -> String {
        let said = self.kubectl(arguments, "");
        assert!(said.well, "kubectl {arguments:?}: {}", said.all);
        said.stdout
    }

    /// Applies documents; those without a namespace of their own to this one.
    pub fn apply(&self, namespace: &str, documents: &[Value], extra: &[&str]) {
        let all_have = documents
            .iter()
            .all(|document| document.pointer("/metadata/namespace").is_some());
        let scope: &[&str] = if namespace.is_empty() || all_have {
            &[]
        } else {
            &["-n", namespace]
        };
        let list = json!({"apiVersion": "v1", "kind": "List", "items": documents}).to_string();
        let said = self.kubectl(
            &[scope, &["apply", "--validate=strict", "-f", "-"], extra].concat(),
            &list,
        );
        assert!(said.well, "{}", said.all);
    }

    /// A cluster as a service account sees it.
    pub fn as_account(&self, namespace: &str, account: &str) -> ApiServer {
        let token = self.kubectl_well(&["-n", namespace, "create", "token", account]);
        let text = fs::read_to_string(&self.cluster.kubeconfig).expect("a readable kubeconfig");
        let mut config: Value = serde_yaml::from_str(&text).expect("a kubeconfig");
        let user = config["contexts"][0]["context"]["user"].clone();
        config["users"] = json!([{"name": user, "user": {"token": token.trim()}}]);
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        let kubeconfig = self.home.path().join(format!("{namespace}-{account}.conf"));
        fs::write(&kubeconfig, config.to_string()).expect("a writable folder");
        ApiServer { kubeconfig }
    }
}
