//! (pure) What the objects of a broker are called, and the metadata that all of them carry.
//!
//! In: a `Broker`. Out: names, labels, owner references. Does not know about what is in the objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::object::{Group, Meta, Object, ObjectKey};
use crate::rabbitmq::manifest;
use crate::resource::{BrokerSpec, GROUP, VERSION};

/// Label with the name of the Broker an object belongs to.
pub const BROKER_LABEL: &str = "leveret.dev/broker";
/// Selects everything the operator makes.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=leveret-operator,leveret.dev/broker";
/// Annotation of the StatefulSet: the version of the operator that has applied it.
pub const VERSION_ANNOTATION: &str = "leveret.dev/operator-version";
/// Value of `app.kubernetes.io/name` on the operator's own pods, which a NetworkPolicy lets in.
pub const OPERATOR_APP: &str = "leveret-operator";

/// The client Service, the StatefulSet and others have the Broker's own name.
pub fn main(key: &ObjectKey) -> String {
    key.name.clone()
}

/// The headless Service that gives the pod its name.
pub fn headless(key: &ObjectKey) -> String {
    format!("{}-nodes", key.name)
}

/// The Secret with the administrator's credentials.
pub fn admin(key: &ObjectKey) -> String {
    format!("{}-admin", key.name)
}

/// The ConfigMap with the settings.
pub fn config(key: &ObjectKey) -> String {
    format!("{}-config", key.name)
}

/// The one pod.
pub fn pod(key: &ObjectKey) -> String {
    format!("{}-0", key.name)
}

/// The claim for the pod's volume, as the StatefulSet controller names it.
pub fn claim(key: &ObjectKey) -> String {
    format!("data-{}-0", key.name)
}

/// The name by which pods of the cluster reach the broker.
pub fn host(key: &ObjectKey) -> String {
    format!("{}.{}.svc", key.name, key.namespace)
}

/// Labels by which the pod is selected; they never change.
pub fn selector(key: &ObjectKey) -> Value {
    json!({ "app.kubernetes.io/name": "leveret-broker", "app.kubernetes.io/instance": key.name })
}

/// Labels of every object.
pub fn labels(key: &ObjectKey) -> BTreeMap<&'static str, String> {
    [
        ("app.kubernetes.io/name", "leveret-broker".to_owned()),
        ("app.kubernetes.io/instance", key.name.clone()),
        ("app.kubernetes.io/component", "broker".to_owned()),
        ("app.kubernetes.io/managed-by", "leveret-operator".to_owned()),
        (BROKER_LABEL, key.name.clone()),
    ]
    .into()
}

/// Metadata of an object: it goes with its Broker.
pub fn metadata(broker: &Object<BrokerSpec>, name: &str) -> Value {
    let key = &broker.meta.key;
    let mut metadata = json!({
        "name": name,
        "namespace": key.namespace,
        "labels": labels(key),
        "ownerReferences": [{
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Broker",
            "name": key.name,
            "uid": broker.meta.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    });
    add_annotations(&mut metadata, &broker.spec.annotations);
    metadata
}

/// Labels of the Secrets of a component that are made for resources other than Brokers.
pub fn made_labels(component: &str) -> [(&'static str, &str); 2] {
    [
        ("app.kubernetes.io/managed-by", "leveret-operator"),
        ("app.kubernetes.io/component", component),
    ]
}

/// Selects them.
pub fn made_selector(component: &str) -> String {
    made_labels(component)
        .map(|(label, value)| format!("{label}={value}"))
        .join(",")
}

/// Metadata of such a Secret, with one more label perhaps: it goes with the resource that it is made for.
pub fn made_for(owner: &Meta, name: &str, component: &str, label: Option<(&str, &str)>) -> Value {
    let key = &owner.key;
    let api_version = match key.group {
        Group::Leveret => format!("{GROUP}/{VERSION}"),
        Group::RabbitMq => format!("{}/{}", manifest::GROUP, manifest::VERSION),
    };
    let labels: BTreeMap<&str, &str> = made_labels(component).into_iter().chain(label).collect();
    json!({
        "name": name,
        "namespace": key.namespace,
        "labels": labels,
        "ownerReferences": [{
            "apiVersion": api_version,
            "kind": key.kind.as_str(),
            "name": key.name,
            "uid": owner.uid,
            "controller": true,
        }],
    })
}

/// Adds annotations to metadata.
pub fn add_annotations(metadata: &mut Value, annotations: &BTreeMap<String, String>) {
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    if annotations.is_empty() {
        return;
    }
    let place = metadata
        .entry("annotations")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(place) = place.as_object_mut() {
        place.extend(annotations.iter().map(|(key, value)| (key.clone(), json!(value))));
    }
}
