//! The operator runs the broker: what it makes of a Broker, and what it says of the pod.
//!
//! No pod runs here: a control plane has no nodes. Where a broker must answer, one runs as a process, and annotations
//! tell the operator where; where the cluster must say something of a pod, the test says it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::Broker;
use harness::api_server::{ApiServer, Resources, api_server};
use harness::operator_process::Operator;
use harness::wait::eventually_async;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{SOON, manifest, text};

/// A broker that lets nobody in without a certificate.
mod tls;

/// The broker's own word on its settings.
mod settings;

/// Pods that log in with the tokens of their service accounts.
mod tokens;

/// The ports of ZeroMQ sockets.
mod sockets;

/// An upgrade, waited for.
mod upgrade;

/// A broker's volume: it grows where its storage class lets it, and the Broker says so where not.
mod volume;

/// The time that the cluster's garbage collector may take: a new control plane looks for new kinds only every half
/// minute.
const COLLECTED: Duration = Duration::from_secs(60);

/// A namespace with an operator, and no broker yet.
struct Bare {
    operator: Operator,
    cluster: ApiServer,
    client: Client,
    resources: Resources,
    namespace: String,
}

async fn bare(what: &str) -> Option<Bare> {
    bare_with(what, "leveret:test").await
}

async fn bare_with(what: &str, image: &str) -> Option<Bare> {
    let cluster = api_server()?;
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, what).await;
    Some(Bare {
        operator: operator(&cluster, &namespace, image),
        cluster,
        resources: Resources::new(&client, &namespace),
        client,
        namespace,
    })
}

/// An operator that runs brokers of an image, by the namespace's name among others.
fn operator(cluster: &ApiServer, namespace: &str, image: &str) -> Operator {
    let arguments = [
        "--leader-election",
        "false",
        "--lease-namespace",
        "default",
        "--lease-name",
        namespace,
        "--broker-image",
        image,
        "--allow-port-forwards",
        "true",
    ];
    Operator::start(cluster, namespace, &arguments)
}

impl Bare {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn apply(&self, manifest: &Value) {
        let applied = self.resources.apply(manifest).await;
        applied.unwrap_or_else(|error| panic!("{manifest}: {error}"));
    }

    /// Waits until an object is there, and then until it is as `right` wants it.
    async fn finds<K>(&self, name: &str, right: impl Fn(&Value) -> bool) -> Value
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        let api: Api<K> = self.api();
        let ask = || async {
            let found = api.get(name).await.map_err(|error| error.to_string())?;
            let found = serde_json::to_value(&found).expect("JSON");
            if right(&found) {
                Ok(found)
            } else {
                Err(found.to_string())
            }
        };
        eventually_async(&format!("{} {name}", K::kind(&())), SOON, ask).await.0
    }

    async fn is_gone<K>(&self, name: &str)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = self.api();
        let ask = || async {
            match api.get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(_) => Err("still there".to_owned()),
            }
        };
        eventually_async(&format!("{} {name} is gone", K::kind(&())), COLLECTED, ask).await;
    }

    /// Says of the pod what a kubelet or scheduler would.
    async fn pod_says(&self, status: Value) {
        self.finds::<Pod>("main-0", |_| true).await;
        let patch = Patch::Merge(json!({ "status": status }));
        let pods: Api<Pod> = self.api();
        pods.patch_status("main-0", &PatchParams::default(), &patch)
            .await
            .expect("a pod's status can be written");
    }

    async fn broker_becomes(&self, status: &str, reason: &str) -> String {
        self.resources.becomes("Broker", "main", status, reason, SOON).await
    }

    async fn broker(&self) -> Value {
        let object = self.resources.api("Broker").get("main").await.expect("the Broker");
        serde_json::to_value(object).expect("JSON")
    }

    /// The password in the Secret, once it is another one than `old`.
    async fn password(&self, old: &str) -> String {
        let secrets: Api<Secret> = self.api();
        let ask = || async {
            let secret = secrets.get("main-admin").await.map_err(|error| error.to_string())?;
            let bytes = secret
                .data
                .and_then(|mut data| data.remove("password"))
                .ok_or("no password")?;
            let password = String::from_utf8(bytes.0).map_err(|error| error.to_string())?;
            if password == old {
                Err("the old one".to_owned())
            } else {
                Ok(password)
            }
        };
        eventually_async("a password", SOON, ask).await.0
    }

    /// The versions of everything that belongs to the Broker.
    async fn versions(&self) -> Vec<(String, Option<String>)> {
        let mut versions = Vec::new();
        let broker = self.resources.api("Broker").get("main").await.expect("the Broker");
        versions.push(("Broker".to_owned(), broker.metadata.resource_version));
        macro_rules! versions_of {
            ($($kind:ty),*) => {$(
                for object in self.api::<$kind>().list(&Default::default()).await.expect("a list").items {
                    let name = object.metadata.name.unwrap_or_default();
                    versions.push((format!("{} {name}", <$kind>::kind(&())), object.metadata.resource_version));
                }
            )*};
        }
        versions_of!(Secret, ConfigMap, Service, StatefulSet, PodDisruptionBudget);
        versions
    }
}

fn main_broker(spec: Value) -> Value {
    manifest("Broker", "main", spec)
}

/// A broker process whose administrator is named by files, as in a pod.
struct Companion {
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Companion {
    fn start() -> Companion {
        Companion::start_with(|user, password| {
            Broker::start_with(&["--admin-user-file", user, "--admin-password-file", password])
        })
    }

    /// With a broker that `start` makes, given the files with user and password.
    fn start_with(start: impl Fn(&str, &str) -> Broker) -> Companion {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("username"), "admin").expect("a file");
        fs::write(file("password"), "not yet").expect("a file");
        let path = |file: PathBuf| file.display().to_string();
        let (user, password) = (path(file("username")), path(file("password")));
        Companion {
            broker: start(&user, &password),
            folder,
        }
    }

    fn takes(&self, password: &str) {
        fs::write(self.folder.path().join("password"), password).expect("a file");
    }

    fn manifest(&self, spec: Value) -> Value {
        let mut manifest = main_broker(spec);
        manifest["metadata"]["annotations"] = json!({
            "leveret.dev/amqp-uri": format!("amqp://{}", self.broker.amqp()),
            "leveret.dev/management-uri": format!("http://{}", self.broker.http()),
        });
        manifest
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_becomes_a_stateful_set() {
    let Some(bare) = bare("run").await else { return };
    bare.apply(&main_broker(json!({
        "storage": {"size": "1Gi"},
        "resources": {"limits": {"memory": "512Mi"}},
        "settings": {"log": "debug"},
        "networkPolicy": {},
        "tolerations": [{"key": "broker", "operator": "Exists"}],
        "podTemplate": {"spec": {"containers": [{"name": "broker", "imagePullPolicy": "Never"}]}},
    })))
    .await;
    let set = bare.finds::<StatefulSet>("main", |_| true).await;
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "leveret:test");
    assert_eq!(container["imagePullPolicy"], "Never");
    assert_eq!(container["resources"]["limits"]["memory"], "512Mi");
    let claim = bare.finds::<PersistentVolumeClaim>("data-main-0", |_| true).await;
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
    assert_eq!(claim["metadata"].get("ownerReferences"), None, "{claim}");
    let settings = bare.finds::<ConfigMap>("main-config", |_| true).await;
    assert!(text(&settings, "/data/leveret.toml").contains("log = \"debug\""));
    for name in ["main", "main-nodes"] {
        bare.finds::<Service>(name, |service| {
            service["spec"]["ports"].as_array().map(Vec::len) == Some(3)
        })
        .await;
    }
    bare.finds::<PodDisruptionBudget>("main", |_| true).await;
    bare.finds::<NetworkPolicy>("main", |_| true).await;
    let binding = bare.finds::<Secret>("main-admin", |_| true).await;
    assert_eq!(binding["type"], "servicebinding.io/rabbitmq");

    // What is no longer asked for goes, what somebody removes comes back.
    bare.apply(&main_broker(json!({"storage": {"size": "1Gi"}}))).await;
    bare.is_gone::<NetworkPolicy>("main").await;
    let old = bare.finds::<Service>("main", |_| true).await;
    let services: Api<Service> = bare.api();
    services
        .delete("main", &DeleteParams::default())
        .await
        .expect("a deletion");
    bare.finds::<Service>("main", |new| new["metadata"]["uid"] != old["metadata"]["uid"])
        .await;
    let undebugged = |settings: &Value| !text(settings, "/data/leveret.toml").contains("debug");
    bare.finds::<ConfigMap>("main-config", undebugged).await;

    // Idle is silent.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = bare.versions().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bare.versions().await, before);

    // The volume outlives the Broker; everything else goes with it.
    bare.resources.delete("Broker", "main").await;
    bare.is_gone::<StatefulSet>("main").await;
    bare.is_gone::<Secret>("main-admin").await;
    bare.is_gone::<Service>("main").await;
    bare.finds::<PersistentVolumeClaim>("data-main-0", |claim| {
        claim["metadata"].get("deletionTimestamp").is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_says_why_its_pod_is_not_up() {
    let Some(bare) = bare("pod").await else { return };
    bare.apply(&main_broker(json!({}))).await;
    bare.broker_becomes("False", "Starting").await;
    bare.pod_says(
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory."}]}),
    )
    .await;
    let message = bare.broker_becomes("False", "Unschedulable").await;
    assert_eq!(
        message,
        "pod main-0: no node takes it: 0/3 nodes are available: 3 Insufficient memory."
    );
    let container = |state: Value, last: Value, restarts: u32| {
        json!({
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "broker", "image": "leveret:test", "imageID": "", "ready": false,
                "restartCount": restarts, "state": state, "lastState": last}],
        })
    };
    let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}});
    bare.pod_says(container(pull, json!({}), 0)).await;
    let message = bare.broker_becomes("False", "ImagePull").await;
    assert!(message.contains("leveret:test"), "{message}");
    let backoff = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
    let crash = json!({"terminated": {"exitCode": 1, "message": "leveret-broker: threads = \"x\": a number\n"}});
    bare.pod_says(container(backoff, crash, 4)).await;
    let message = bare.broker_becomes("False", "Crashed").await;
    assert_eq!(
        message,
        "pod main-0: ended with exit code 1, restarted 4 times: leveret-broker: threads = \"x\": a number"
    );
    let broker = bare.broker().await;
    let conditions = broker["status"]["conditions"].as_array().expect("conditions");
    let of = |type_: &str| conditions.iter().find(|condition| condition["type"] == type_).cloned();
    assert_eq!(
        of("Persistent").map(|condition| condition["status"].clone()),
        Some(json!("False"))
    );
    assert_eq!(
        of("Stalled").map(|condition| condition["status"].clone()),
        Some(json!("True"))
    );
    assert_eq!(
        of("Reachable").map(|condition| condition["status"].clone()),
        Some(json!("False"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_gets_another_pod_instead_of_a_pause() {
    let Some(bare) = bare("held").await else { return };
    bare.apply(&main_broker(json!({}))).await;
    let pod = bare.finds::<Pod>("main-0", |_| true).await;
    let uid = text(&pod, "/metadata/uid").to_owned();
    let held = |code: i32| {
        json!({
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "broker", "image": "leveret:test", "imageID": "", "ready": false,
                "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
                "lastState": {"terminated": {"exitCode": code, "reason": "Error", "startedAt": "2026-01-01T00:00:00Z",
                    "finishedAt": "2026-01-01T00:01:00Z"}}}],
        })
    };
    bare.pod_says(held(1)).await;
    bare.broker_becomes("False", "Starting").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bare.finds::<Pod>("main-0", |pod| text(pod, "/metadata/uid") == uid)
        .await;
    bare.pod_says(held(137)).await;
    bare.finds::<Pod>("main-0", |pod| text(pod, "/metadata/uid") != uid)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topology_is_declared_with_generated_credentials_and_they_rotate() {
    let Some(bare) = bare("rotate").await else { return };
    let companion = Companion::start();
    bare.apply(&companion.manifest(json!({}))).await;
    let first = bare.password("").await;
    companion.takes(&first);
    let queue = |name: &str| manifest("Queue", name, json!({"brokerRef": {"name": "main"}}));
    bare.apply(&queue("one")).await;
    bare.resources.becomes("Queue", "one", "True", "Synced", SOON).await;
    // The topology is there as soon as the broker answers; the Broker is Ready when its pod is too.
    bare.broker_becomes("False", "Starting").await;
    bare.pod_says(json!({"conditions": [{"type": "Ready", "status": "True"}]}))
        .await;
    bare.broker_becomes("True", "Synced").await;
    let status = bare.broker().await["status"].take();
    assert_eq!(status["binding"]["name"], "main-admin");
    assert_eq!(status["endpoint"], json!(format!("amqp://{}", companion.broker.amqp())));
    assert_eq!(status["messages"], 0);
    assert!(text(&status, "/diskFree").ends_with('i'), "{status}");

    let secrets: Api<Secret> = bare.api();
    let without = Patch::Merge(json!({"data": {"password": null}}));
    secrets
        .patch("main-admin", &PatchParams::default(), &without)
        .await
        .expect("a key can be deleted");
    let second = bare.password(&first).await;
    assert_eq!(second.len(), first.len());
    companion.takes(&second);
    bare.apply(&queue("two")).await;
    bare.resources.becomes("Queue", "two", "True", "Synced", SOON).await;
    // Whole deletion is the same: the name stays, the password is new.
    secrets
        .delete("main-admin", &DeleteParams::default())
        .await
        .expect("a deletion");
    let third = bare.password(&second).await;
    companion.takes(&third);
    bare.apply(&queue("three")).await;
    bare.resources.becomes("Queue", "three", "True", "Synced", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said() {
    let Some(bare) = bare("wrong").await else { return };
    // A Service of somebody else is left alone.
    let foreign = json!({"metadata": {"name": "main"}, "spec": {"ports": [{"port": 80}]}});
    let services: Api<Service> = bare.api();
    let foreign = serde_json::from_value(foreign).expect("a Service");
    services
        .create(&PostParams::default(), &foreign)
        .await
        .expect("a Service");
    bare.apply(&main_broker(json!({"storage": {"size": "2Gi"}}))).await;
    let message = bare.broker_becomes("False", "Conflict").await;
    assert!(
        message.starts_with("Service main exists and does not belong"),
        "{message}"
    );
    services
        .delete("main", &DeleteParams::default())
        .await
        .expect("a deletion");
    bare.broker_becomes("False", "Starting").await;

    // A Secret that is missing is named.
    bare.apply(&main_broker(
        json!({"storage": {"size": "2Gi"}, "tls": {"secretRef": {"name": "cert"}}}),
    ))
    .await;
    let missing = format!("Secret {}/cert does not exist", bare.namespace);
    let ready = bare.resources.says("Broker", "main", &missing, SOON).await;
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("Unknown", "WaitingForBroker")
    );
    let mut half =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"}, "stringData": {"tls.crt": "x"}});
    bare.apply(&half).await;
    // One that is there and does not name the Broker is not mounted; the command that changes it is in the message.
    let command = format!(
        "kubectl annotate secret cert -n {} leveret.dev/broker=main",
        bare.namespace
    );
    let ready = bare.resources.says("Broker", "main", &command, SOON).await;
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "NotAllowed"));
    half["metadata"]["annotations"] = json!({"leveret.dev/broker": "main"});
    bare.apply(&half).await;
    let expected = format!("Secret {}/cert has no key 'tls.key'", bare.namespace);
    bare.resources.says("Broker", "main", &expected, SOON).await;

    // A volume does not shrink, and nothing becomes of a setting that the API server refuses.
    bare.apply(&main_broker(json!({"storage": {"size": "1Gi"}}))).await;
    let message = bare.broker_becomes("False", "Immutable").await;
    assert!(
        message.contains("data-main-0 has 2Gi and a volume cannot shrink"),
        "{message}"
    );
    bare.apply(&main_broker(json!({}))).await;
    let message = bare.broker_becomes("False", "Immutable").await;
    assert!(message.contains("whether there is storage"), "{message}");
    bare.apply(&main_broker(
        json!({"storage": {"size": "2Gi"}, "tolerations": [{"operator": "Sometimes"}]}),
    ))
    .await;
    let message = bare.broker_becomes("False", "InvalidArgument").await;
    assert!(message.contains("tolerations[0].operator"), "{message}");
    bare.apply(&main_broker(json!({"storage": {"size": "2Gi"}}))).await;
    bare.broker_becomes("False", "Starting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_lets_the_pod_go_and_the_volume_where_it_shall() {
    let Some(bare) = bare("switch").await else { return };
    bare.apply(&main_broker(
        json!({"storage": {"size": "1Gi", "deletionPolicy": "Delete"}}),
    ))
    .await;
    bare.finds::<PersistentVolumeClaim>("data-main-0", |claim| {
        claim["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
    })
    .await;
    let old = bare.password("").await;
    let external = json!({"uri": "amqp://127.0.0.1:1", "managementUri": "http://127.0.0.1:2",
        "credentialsSecretRef": {"name": "main-admin"}});
    bare.apply(&main_broker(json!({"engine": "External", "external": external})))
        .await;
    bare.is_gone::<StatefulSet>("main").await;
    bare.is_gone::<Service>("main-nodes").await;
    bare.is_gone::<PersistentVolumeClaim>("data-main-0").await;
    let secrets: Api<Secret> = bare.api();
    let kept = secrets.get("main-admin").await.expect("the Secret stays");
    let password = kept.data.and_then(|data| data.get("password").cloned());
    assert_eq!(password.map(|bytes| bytes.0), Some(old.into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_the_broker_would_refuse_never_reaches_it() {
    let Some(bare) = bare("settings").await else { return };
    bare.apply(&main_broker(json!({"settings": {"max_message_size": "1MiB"}})))
        .await;
    let has = |words: &'static str| move |map: &Value| text(map, "/data/leveret.toml").contains(words);
    let before = bare
        .finds::<ConfigMap>("main-config", has("max_message_size = \"1MiB\""))
        .await;
    let set = bare.finds::<StatefulSet>("main", |_| true).await;
    for (settings, why) in [
        (json!({"max_message_size": "lots"}), "spec.settings.max_message_size"),
        (json!({"no_such_setting": "1"}), "no_such_setting"),
        (
            json!({"guest_loopback_only": "perhaps"}),
            "spec.settings.guest_loopback_only",
        ),
    ] {
        let answer = bare.resources.apply(&main_broker(json!({"settings": settings}))).await;
        let error = answer.expect_err("the API server refuses it").to_string();
        assert!(error.contains(why), "{error}");
    }
    bare.apply(&main_broker(
        json!({"settings": {"max_message_size": "1B", "log": "a=b=c"}}),
    ))
    .await;
    let words = "setting max_message_size: '1B' is not allowed; allowed is a size";
    let said = bare.resources.says("Broker", "main", words, crate::SOON).await;
    assert_eq!(
        (said.status.as_str(), said.reason.as_str()),
        ("False", "InvalidArgument")
    );
    assert!(said.message.contains("setting log: 'a=b=c' is not allowed"), "{said:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let version = |object: &Value| text(object, "/metadata/resourceVersion");
    assert_eq!(
        version(&bare.finds::<ConfigMap>("main-config", |_| true).await),
        version(&before)
    );
    let now = bare.finds::<StatefulSet>("main", |_| true).await;
    assert_eq!(
        now["metadata"]["generation"], set["metadata"]["generation"],
        "nothing is rolled out"
    );
    bare.apply(&main_broker(json!({"settings": {"max_message_size": "2MiB"}})))
        .await;
    bare.finds::<ConfigMap>("main-config", has("max_message_size = \"2MiB\""))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_do_not_go_together_are_refused() {
    let Some(bare) = bare("refused").await else { return };
    let external = json!({"uri": "amqp://a:1", "managementUri": "http://a:2", "credentialsSecretRef": {"name": "s"}});
    for (name, spec, why) in [
        (
            "main",
            json!({"settings": {"data_dir": "/"}}),
            "settings.data_dir is made by the operator",
        ),
        (
            "main",
            json!({"engine": "External", "external": external, "image": "x"}),
            "image is only for engine Leveret",
        ),
        (
            "main",
            json!({"tls": {"secretRef": {"name": "a"}, "plain": "Disabled",
                "clientAuth": {"caSecretRef": {"name": "b"}}}}),
            "needs tls.operatorSecretRef",
        ),
        ("1st", json!({}), "begins with a letter"),
    ] {
        let answer = bare.resources.apply(&manifest("Broker", name, spec)).await;
        let error = answer.expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
}
