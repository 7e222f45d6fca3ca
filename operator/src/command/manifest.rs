//! Manifests for objects on a broker.
//!
//! In: an object as it is declared. Out: the spec that asks for it, and a name that Kubernetes takes and that is the
//! same every time. Does not know about where objects come from, or where manifests go.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::object::Kind;
use crate::resource::{GROUP, VERSION};
use crate::topology::Declared;

/// Names of manifests that have been given: kind, namespace and name.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<(Kind, String, String)>);

impl Names {
    /// Gives a name as it is; false if there is a manifest of that name.
    pub(super) fn keep(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.0.insert((kind, namespace.to_owned(), name.to_owned()))
    }

    /// The name on the broker where Kubernetes allows it; otherwise something like it that stays the same every time.
    pub(super) fn give(&mut self, namespace: &str, object: &Declared) -> String {
        /// Kubernetes allows 253; a name must also fit on a line.
        const MOST: usize = 100;
        let (what, name) = (object.identity(), called(object));
        let slug: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .take(MOST)
            .collect();
        let slug = slug
            .split('.')
            .map(|label| label.trim_matches('-'))
            .filter(|label| !label.is_empty())
            .collect::<Vec<_>>()
            .join(".");
        let exact = slug == name && matches!(what.vhost(), "" | "/") && what.target().is_some();
        let mut candidate = match (exact, slug.is_empty()) {
            (true, _) => slug.clone(),
            (false, true) => format!("{:08x}", hash(&format!("{what:?}"))),
            (false, false) => format!("{slug}-{:08x}", hash(&format!("{what:?}"))),
        };
        while !self.keep(what.kind(), namespace, &candidate) {
            candidate = format!("{slug}-{:08x}", hash(&format!("{what:?}{candidate}")));
        }
        candidate
    }
}

/// The name of an object, or one that says where a binding leads.
fn called(object: &Declared) -> String {
    match (object, object.identity().target()) {
        (_, Some(target)) => target.name.name,
        (Declared::Binding(binding), None) => format!("{}-to-{}", binding.source, binding.destination),
        (_, None) => String::new(),
    }
}

/// FNV-1a, 32 bits: the same on every machine and in every version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The spec of the manifest called `metadata_name` that asks for `object` on `broker`.
pub(super) fn spec(object: &Declared, metadata_name: &str, broker: &Value) -> Map<String, Value> {
    let mut spec = object.spec();
    let target = object.identity().target();
    if let Some(target) = target.filter(|target| target.name.name != metadata_name) {
        spec.insert("name".to_owned(), json!(target.name.name));
    }
    let vhost = object.vhost();
    if !matches!(vhost, "" | "/") {
        spec.insert("vhost".to_owned(), json!(vhost));
    }
    spec.insert("brokerRef".to_owned(), broker.clone());
    spec
}

/// A manifest.
pub(super) fn manifest(kind: Kind, metadata: Value, spec: Map<String, Value>) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind.as_str(),
        "metadata": metadata,
        "spec": spec,
    })
}
