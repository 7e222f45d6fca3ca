//! An object that is made for a broker: its kind, and a manifest to apply.
//!
//! In: metadata and what a kind has besides. Out: `Child`. Does not know about what is in a manifest.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::Value;

/// The kinds of objects that are made for a broker, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    Secret,
    ConfigMap,
    Service,
    PodDisruptionBudget,
    NetworkPolicy,
    StatefulSet,
    ServiceMonitor,
}

impl ChildKind {
    /// Those that every cluster has.
    pub const COMMON: [ChildKind; 6] = [
        ChildKind::Secret,
        ChildKind::ConfigMap,
        ChildKind::Service,
        ChildKind::PodDisruptionBudget,
        ChildKind::NetworkPolicy,
        ChildKind::StatefulSet,
    ];

    /// Group, version and kind.
    pub fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            ChildKind::Secret => ("", "v1", "Secret"),
            ChildKind::ConfigMap => ("", "v1", "ConfigMap"),
            ChildKind::Service => ("", "v1", "Service"),
            ChildKind::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget"),
            ChildKind::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy"),
            ChildKind::StatefulSet => ("apps", "v1", "StatefulSet"),
            ChildKind::ServiceMonitor => ("monitoring.coreos.com", "v1", "ServiceMonitor"),
        }
    }

    /// For a client that does not know the type.
    pub fn api_resource(self) -> ApiResource {
        let (group, version, kind) = self.names();
        let plural = match self {
            ChildKind::NetworkPolicy => "networkpolicies".to_owned(),
            _ => format!("{}s", kind.to_lowercase()),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
    }
}

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub kind: ChildKind,
    pub name: String,
    pub manifest: Value,
}

impl Child {
    /// Completes a manifest with what its kind says.
    pub fn new(kind: ChildKind, name: &str, metadata: Value, rest: Value) -> Self {
        let (group, version, word) = kind.names();
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let mut manifest = serde_json::json!({ "apiVersion": api_version, "kind": word, "metadata": metadata });
        if let (Some(manifest), Value::Object(rest)) = (manifest.as_object_mut(), rest) {
            manifest.extend(rest);
        }
        Self {
            kind,
            name: name.to_owned(),
            manifest,
        }
    }
}

/// A stable hash (FNV-1a, 64 bits), in hexadecimal: it must not change with a version of the operator, since a pod is
/// replaced when it does.
pub fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
