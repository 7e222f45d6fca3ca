//! (pure) The StatefulSet: one pod, restricted as Pod Security's strictest level asks, and its volume.
//!
//! In: a `Broker`, the image, the settings, and the volume claim of the StatefulSet that is there. Out: the
//! StatefulSet. Does not know about what the settings mean, apart from how long the broker takes to end.

use serde_json::{Map, Value, json};

use super::child::{Child, ChildKind, fingerprint};
use super::config::{ADMIN, CLIENT_CA, CONFIG, DATA, FILE, Settings, TLS};
use super::names;
use super::network::{HEALTH_PORT, container_ports};
use super::patch::strategic_merge;
use crate::object::Object;
use crate::resource::workload::{Storage, StorageDeletionPolicy};
use crate::resource::{BrokerSpec, Period};

/// Name of the container, by which a `podTemplate` patch finds it.
pub const CONTAINER: &str = "broker";
/// User and group of the process: the number that images without users have by convention.
const USER: u32 = 65532;
/// Seconds the broker gets to end besides its own `shutdown_timeout`.
const GRACE_SECONDS: i64 = 20;
/// The broker's default of `shutdown_timeout`.
const SHUTDOWN_SECONDS: i64 = 10;
/// Longest wait of a new process for the one before it to leave the volume: a pod that was deleted by force may still
/// be ending on its node.
const LOCK_TIMEOUT: &str = "30s";
/// Probes that a start may take, one a second: half an hour to recover a large log.
const STARTUP_PROBES: u32 = 1800;

/// The StatefulSet. `existing_size` is the volume size in the one that is there: the API server refuses every change of
/// it, so a volume grows by its claim.
pub fn stateful_set(
    broker: &Object<BrokerSpec>,
    default_image: &str,
    settings: &Settings,
    existing_size: Option<&Value>,
) -> Child {
    let key = &broker.meta.key;
    let name = names::main(key);
    let mut spec = json!({
        "replicas": 1,
        "serviceName": names::headless(key),
        // A pod with a wrong image or setting is replaced as soon as that is mended; in order, it would be waited for.
        "podManagementPolicy": "Parallel",
        "selector": { "matchLabels": names::selector(key) },
        "template": template(broker, default_image, settings),
    });
    if let (Some(storage), Some(spec)) = (&broker.spec.storage, spec.as_object_mut()) {
        let when_deleted = match storage.deletion_policy {
            StorageDeletionPolicy::Retain => "Retain",
            StorageDeletionPolicy::Delete => "Delete",
        };
        spec.insert(
            "persistentVolumeClaimRetentionPolicy".to_owned(),
            json!({ "whenDeleted": when_deleted, "whenScaled": "Retain" }),
        );
        let size = existing_size.unwrap_or(&storage.size);
        spec.insert("volumeClaimTemplates".to_owned(), json!([claim(broker, storage, size)]));
    }
    let mut metadata = names::metadata(broker, &name);
    let version = (
        names::VERSION_ANNOTATION.to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    );
    names::add_annotations(&mut metadata, &[version].into());
    Child::new(ChildKind::StatefulSet, &name, metadata, json!({ "spec": spec }))
}

/// The claim template. It carries no owner: the volume outlives the Broker unless `deletionPolicy` says otherwise.
fn claim(broker: &Object<BrokerSpec>, storage: &Storage, size: &Value) -> Value {
    let mut claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": "data", "labels": names::labels(&broker.meta.key) },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": size } },
        },
    });
    if let (Some(class), Some(spec)) = (
        &storage.storage_class_name,
        claim.get_mut("spec").and_then(Value::as_object_mut),
    ) {
        spec.insert("storageClassName".to_owned(), json!(class));
    }
    claim
}

fn template(broker: &Object<BrokerSpec>, default_image: &str, settings: &Settings) -> Value {
    let spec = &broker.spec;
    let mut metadata = json!({
        "labels": names::labels(&broker.meta.key),
        // A change of what is only read at the start replaces the pod; other settings, certificates and credentials are
        // read again by the broker itself.
        "annotations": { "leveret.dev/settings": fingerprint(&settings.fixed) },
    });
    names::add_annotations(&mut metadata, &spec.annotations);
    let mut pod = json!({
        "automountServiceAccountToken": false,
        // A Service named "leveret" would otherwise set variables that look like settings.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": shutdown_seconds(spec) + GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container(spec, default_image)],
        "volumes": volumes(broker),
    });
    if let Some(pod) = pod.as_object_mut() {
        pod.extend(overrides(spec));
    }
    let template = json!({ "metadata": metadata, "spec": pod });
    match &spec.pod_template {
        Some(patch) => strategic_merge(template, patch),
        None => template,
    }
}

/// Fields of a pod that the `Broker` has under the same names.
fn overrides(spec: &BrokerSpec) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    if !spec.node_selector.is_empty() {
        set("nodeSelector", json!(spec.node_selector));
    }
    if !spec.tolerations.is_empty() {
        set("tolerations", json!(spec.tolerations));
    }
    if let Some(affinity) = &spec.affinity {
        set("affinity", affinity.clone());
    }
    if !spec.topology_spread_constraints.is_empty() {
        set("topologySpreadConstraints", json!(spec.topology_spread_constraints));
    }
    if let Some(class) = &spec.priority_class_name {
        set("priorityClassName", json!(class));
    }
    fields
}

fn container(spec: &BrokerSpec, default_image: &str) -> Value {
    let ports: Vec<Value> = container_ports(spec)
        .into_iter()
        .map(|(name, number)| json!({ "name": name, "containerPort": number, "protocol": "TCP" }))
        .collect();
    let (port, _) = HEALTH_PORT;
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": port },
            "periodSeconds": period,
            "timeoutSeconds": 5,
            "failureThreshold": failures,
        })
    };
    let mut container = json!({
        "name": CONTAINER,
        "image": spec.image.as_deref().unwrap_or(default_image),
        "command": ["leveret-broker"],
        "args": ["--config", format!("{CONFIG}/{FILE}")],
        "ports": ports,
        "startupProbe": probe("/readyz", 1, STARTUP_PROBES),
        "readinessProbe": probe("/readyz", 5, 2),
        "livenessProbe": probe("/livez", 10, 6),
        // The last lines of a crash stand in the pod's status, where the operator finds them.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": mounts(spec),
    });
    if let Some(container) = container.as_object_mut() {
        if let Some(resources) = &spec.resources {
            container.insert("resources".to_owned(), json!(resources));
        }
        // The environment goes before the file, so it only speaks where the file is silent.
        if !spec.settings.contains_key("lock_timeout") {
            let wait = json!([{ "name": "LEVERET_LOCK_TIMEOUT", "value": LOCK_TIMEOUT }]);
            container.insert("env".to_owned(), wait);
        }
    }
    container
}

fn mounts(spec: &BrokerSpec) -> Vec<Value> {
    let read = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let mut mounts = vec![
        json!({ "name": "data", "mountPath": DATA }),
        read("config", CONFIG),
        read("admin", ADMIN),
    ];
    if let Some(tls) = &spec.tls {
        mounts.push(read("tls", TLS));
        if tls.client_auth.is_some() {
            mounts.push(read("client-ca", CLIENT_CA));
        }
    }
    mounts
}

fn volumes(broker: &Object<BrokerSpec>) -> Vec<Value> {
    let key = &broker.meta.key;
    // Readable for the group, which is the process's by fsGroup, and for no other.
    let secret = |volume: &str, name: &str, items: &[(&str, &str)]| {
        let items: Vec<Value> = items
            .iter()
            .map(|(key, path)| json!({ "key": key, "path": path }))
            .collect();
        json!({ "name": volume, "secret": { "secretName": name, "items": items, "defaultMode": 0o440 } })
    };
    let mut volumes = vec![
        json!({ "name": "config", "configMap": { "name": names::config(key) } }),
        secret(
            "admin",
            &names::admin(key),
            &[("username", "username"), ("password", "password")],
        ),
    ];
    if let Some(tls) = &broker.spec.tls {
        let files = [("tls.crt", "tls.crt"), ("tls.key", "tls.key")];
        volumes.push(secret("tls", &tls.secret_ref.name, &files));
        if let Some(client) = &tls.client_auth {
            let file = (client.ca_secret_ref.key.as_str(), "ca.crt");
            volumes.push(secret("client-ca", &client.ca_secret_ref.name, &[file]));
        }
    }
    if broker.spec.storage.is_none() {
        volumes.push(json!({ "name": "data", "emptyDir": {} }));
    }
    volumes
}

fn shutdown_seconds(spec: &BrokerSpec) -> i64 {
    let set = spec.settings.get("shutdown_timeout").and_then(Value::as_str);
    let millis = set.and_then(|text| Period(text.to_owned()).millis().ok());
    millis.map_or(SHUTDOWN_SECONDS, |millis| millis / 1000)
}
