//! A real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager, started once for a test program.
//!
//! In: `tests/cluster/up.sh`, or the cluster that `LEVERET_TEST_KUBECONFIG` names. Out: clients, and namespaces of a
//! test's own, with the project's custom resources known to the API server.
//! The cluster is left running for the next test program; `tests/cluster/down.sh cp` ends it.
//! Does not know about the operator.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::ValidationDirective;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::requests::unique;
use crate::wait::eventually_async;
use crate::{place, skip};

/// The field manager under which tests write.
const MANAGER: &str = "system-tests";

/// A cluster that answers.
#[derive(Debug, Clone)]
pub struct ApiServer {
    /// Admin credentials and address.
    pub kubeconfig: PathBuf,
}

/// The cluster, started by whoever asks first. `None` when there is none to be had, with the reason printed; a failure
/// instead when `REQUIRE_CLUSTER=1`.
pub fn api_server() -> Option<ApiServer> {
    static CLUSTER: OnceLock<Result<ApiServer, String>> = OnceLock::new();
    match CLUSTER.get_or_init(start) {
        Ok(cluster) => Some(cluster.clone()),
        Err(reason) => {
            skip("REQUIRE_CLUSTER", reason);
            None
        }
    }
}

fn start() -> Result<ApiServer, String> {
    if let Some(kubeconfig) = env::var_os("LEVERET_TEST_KUBECONFIG") {
        return Ok(ApiServer {
            kubeconfig: kubeconfig.into(),
        });
    }
    let script = place::repository().join("tests/cluster/up.sh");
    let output = Command::new(&script)
        .arg("cp")
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    match stdout.lines().last() {
        Some(line) if output.status.success() => Ok(ApiServer {
            kubeconfig: Path::new(line).to_path_buf(),
        }),
        _ => Err(format!(
            "no cluster: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// A control plane of a test's own, for what concerns a whole cluster. It ends with this.
#[derive(Debug)]
pub struct OwnApiServer {
    pub cluster: ApiServer,
    name: String,
}

impl OwnApiServer {
    /// `None` where there is none to be had, with the reason printed.
    pub fn start(what: &str) -> Option<OwnApiServer> {
        let name = format!("{what}-{:x}", std::process::id());
        let output = own(&name, "up.sh").output().expect("the script can be started");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let Some(line) = stdout.lines().last().filter(|_| output.status.success()) else {
            skip("REQUIRE_CLUSTER", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        };
        let kubeconfig = PathBuf::from(line);
        Some(OwnApiServer {
            cluster: ApiServer { kubeconfig },
            name,
        })
    }

    /// Kills the API server, which starts again with another key for the tokens of service accounts.
    pub fn rotate(&self) {
        let output = own(&self.name, "rotate.sh")
            .output()
            .expect("the script can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for OwnApiServer {
    fn drop(&mut self) {
        let _ = own(&self.name, "down.sh").output(); // what is left is found by the next start
    }
}

fn own(name: &str, script: &str) -> Command {
    let mut command = Command::new(place::repository().join("tests/cluster").join(script));
    command.arg("cp").env("KCP_NAME", name).env_remove("KCP_STATE");
    command
}

impl ApiServer {
    /// A client with admin rights. Each test makes its own: connections belong to the test's runtime.
    pub async fn client(&self) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that it is installed already
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect("a kubeconfig that is complete");
        Client::try_from(config).expect("a client")
    }

    /// A token of a service account as the kubelet projects it into a pod; without an audience, it is for the API
    /// server.
    pub async fn token(&self, client: &Client, namespace: &str, account: &str, audience: Option<&str>) -> String {
        let spec = json!({"audiences": Vec::from_iter(audience), "expirationSeconds": 600});
        let asked = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a request");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let made = accounts
            .create_token_request(account, &PostParams::default(), &asked)
            .await;
        let status = made.expect("a token").status.expect("a token");
        status.token.expect("a token")
    }

    /// A namespace of the test's own, after the custom resources have been installed.
    pub async fn namespace(&self, client: &Client, what: &str) -> String {
        self.install_crds(client).await;
        let name = unique(what);
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("a namespace can be created");
        name
    }

    /// Applies `crds/*.yaml` once to each API server and waits until it serves them.
    pub async fn install_crds(&self, client: &Client) {
        static INSTALLED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let installed = || INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if installed().contains(&self.kubeconfig) {
            return;
        }
        self.install(client, &manifests(&place::repository().join("crds")))
            .await;
        installed().insert(self.kubeconfig.clone());
    }

    /// Applies definitions and waits until they are served.
    pub async fn install(&self, client: &Client, definitions: &[Value]) {
        let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let crds: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        for file in definitions {
            let name = file
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .expect("a named manifest")
                .to_string();
            let apply = PatchParams::apply(MANAGER).force();
            crds.patch(&name, &apply, &Patch::Apply(file))
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let established = || async {
                let crd = crds.get(&name).await.map_err(|error| error.to_string())?;
                let conditions = crd
                    .data
                    .pointer("/status/conditions")
                    .and_then(Value::as_array)
                    .cloned();
                let is = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
                if conditions.unwrap_or_default().iter().any(is) {
                    Ok(())
                } else {
                    Err("not established".to_string())
                }
            };
            eventually_async(&name, Duration::from_secs(20), established).await;
        }
    }
}

/// Every document of every YAML file in a folder.
pub fn manifests(folder: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| documents(&fs::read_to_string(file).expect("a readable file")))
        .collect()
}

/// Every document of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    let parse = |document| serde::Deserialize::deserialize(document).expect("YAML that parses");
    serde_yaml::Deserializer::from_str(text)
        .map(parse)
        .filter(|document: &Value| !document.is_null())
        .collect()
}

/// The project's resources in one namespace.
#[derive(Clone)]
pub struct Resources {
    client: Client,
    namespace: String,
}

impl Resources {
    pub fn new(client: &Client, namespace: &str) -> Resources {
        Resources {
            client: client.clone(),
            namespace: namespace.to_string(),
        }
    }

    /// The API of a kind: `Queue`, `Exchange`, `Binding`, `Broker`, or a core kind like `Secret`.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let group = if kind == "Secret" || kind == "Event" {
            ("", "v1")
        } else {
            ("leveret.dev", "v1alpha1")
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group.0, group.1, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Applies a manifest as `kubectl apply --server-side` does: unknown fields are an error.
    pub async fn apply(&self, manifest: &Value) -> Result<DynamicObject, kube::Error> {
        let kind = manifest["kind"].as_str().expect("a kind");
        let name = manifest
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .expect("a name");
        let parameters = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply(MANAGER).force()
        };
        for _ in 0..3 {
            match self.api(kind).patch(name, &parameters, &Patch::Apply(manifest)).await {
                Err(kube::Error::Service(_)) => {} // the connection broke; to apply twice is to apply once
                other => return other,
            }
        }
        self.api(kind).patch(name, &parameters, &Patch::Apply(manifest)).await
    }

    /// Tries to create an object, without keeping it; unknown fields are an error.
    pub async fn create(&self, manifest: &Value) -> Result<DynamicObject, kube::Error> {
        let kind = manifest["kind"].as_str().expect("a kind");
        let url = self.api(kind).resource_url().to_owned();
        let body = serde_json::to_vec(manifest).expect("JSON");
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let mut request = Request::new(url)
            .create(&parameters, body)
            .map_err(kube::Error::BuildRequest)?;
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = strict.parse().expect("an address");
        self.client.request(request).await
    }

    /// Applies every document of a YAML text, in its order.
    pub async fn apply_yaml(&self, text: &str) {
        for manifest in documents(text) {
            self.apply(&manifest)
                .await
                .unwrap_or_else(|error| panic!("{manifest}: {error}"));
        }
    }

    /// Asks for the deletion of an object.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// True if the object is gone.
    pub async fn is_gone(&self, kind: &str, name: &str) -> bool {
        self.api(kind)
            .get_opt(name)
            .await
            .expect("the API server answers")
            .is_none()
    }

    /// The `Ready` condition: status, reason and message, once it speaks of the newest generation.
    pub async fn ready(&self, kind: &str, name: &str) -> Result<Ready, String> {
        let object = self.api(kind).get(name).await.map_err(|error| error.to_string())?;
        condition(&object).ok_or_else(|| format!("{kind} {name} has no status for its newest generation"))
    }

    /// Waits until the object is `Ready` with this status and reason, and gives the message.
    pub async fn becomes(&self, kind: &str, name: &str, status: &str, reason: &str, within: Duration) -> String {
        let ask = || async move {
            let ready = self.ready(kind, name).await?;
            if (ready.status.as_str(), ready.reason.as_str()) == (status, reason) {
                Ok(ready)
            } else {
                Err(format!("{ready:?}"))
            }
        };
        eventually_async(&format!("{kind} {name} is {status} {reason}"), within, ask)
            .await
            .0
            .message
    }

    /// Waits until the message of the `Ready` condition has these words in it: a reason can come before its cause is
    /// known.
    pub async fn says(&self, kind: &str, name: &str, words: &str, within: Duration) -> Ready {
        let ask = || async move {
            let ready = self.ready(kind, name).await?;
            if ready.message.contains(words) {
                Ok(ready)
            } else {
                Err(format!("{ready:?}"))
            }
        };
        eventually_async(&format!("{kind} {name} says '{words}'"), within, ask)
            .await
            .0
    }

    /// Waits until the object is gone.
    pub async fn goes(&self, kind: &str, name: &str, within: Duration) {
        let ask = || async move {
            if self.is_gone(kind, name).await {
                Ok(())
            } else {
                Err(self.ready(kind, name).await)
            }
        };
        eventually_async(&format!("{kind} {name} is gone"), within, ask).await;
    }
}

/// The `Ready` condition of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// The `Ready` condition, if it is about the newest generation.
pub fn condition(object: &DynamicObject) -> Option<Ready> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_string();
    let newest = ready["observedGeneration"].as_i64() == object.metadata.generation;
    newest.then(|| Ready {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    })
}
