//! Resources of RabbitMQ's topology operator, as far as an API server has to know them.
//!
//! In: nothing. Out: definitions with that operator's group, kinds and form of a status, and manifests. A spec may be
//! anything: its rules are that operator's webhooks. Does not know about what the resources mean.

use serde_json::{Value, json};

/// Its group and version.
pub const API_VERSION: &str = "rabbitmq.com/v1beta1";

/// Kinds with their plurals.
const KINDS: [(&str, &str); 9] = [
    ("Binding", "bindings"),
    ("Exchange", "exchanges"),
    ("OperatorPolicy", "operatorpolicies"),
    ("Permission", "permissions"),
    ("Policy", "policies"),
    ("Queue", "queues"),
    ("TopicPermission", "topicpermissions"),
    ("User", "users"),
    ("Vhost", "vhosts"),
];

/// The definitions.
pub fn definitions() -> Vec<Value> {
    KINDS.iter().map(|(kind, plural)| definition(kind, plural)).collect()
}

fn definition(kind: &str, plural: &str) -> Value {
    let text = json!({"type": "string"});
    let condition = json!({
        "type": "object",
        "required": ["status", "type"],
        "properties": {
            "type": text, "status": text, "reason": text, "message": text,
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
    });
    // A User has a name in its status, be it an empty one.
    let required = if kind == "User" { vec!["username"] } else { Vec::new() };
    let status = json!({
        "type": "object",
        "required": required,
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": {"type": "array", "items": condition},
            "username": text,
            "credentials": {"type": "object", "properties": {"name": text}},
        },
    });
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": status,
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.rabbitmq.com")},
        "spec": {
            "group": "rabbitmq.com",
            "scope": "Namespaced",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase(),
                "categories": ["rabbitmq"],
            },
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

/// A manifest for the cluster `main`.
pub fn manifest(kind: &str, name: &str, mut spec: Value) -> Value {
    spec["rabbitmqClusterReference"] = json!({"name": "main"});
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}
