//! A manifest checked as the API server checks it, without one: schema, defaults and CEL rules of the CRDs.
//!
//! In: a manifest as it stands in a file. Out: the same with defaults, or everything that is wrong with it, in the API
//! server's words. Does not know about files, nor about what is on a broker.
//!
//! Where the API server stops at the first kind of fault (an unknown field), this goes on; CEL rules are evaluated when
//! it would evaluate them.

/// `metadata`, which no CRD describes.
mod metadata;

/// Types, limits, unknown fields and defaults of a schema.
mod walk;

/// Refusals and their words.
mod refusal;

use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::Value;

use super::common::{GROUP, VERSION};
use super::kind::crds;
use metadata::check_metadata;
pub use refusal::Refusal;
use refusal::shown;
use walk::Walk;

struct Admitted {
    kind: String,
    schema: Value,
    rules: CompiledSchema,
}

static KINDS: LazyLock<Vec<Admitted>> = LazyLock::new(|| {
    crds()
        .into_iter()
        .filter_map(|crd| {
            let version = crd.spec.versions.into_iter().find(|version| version.name == VERSION)?;
            let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
            Some(Admitted {
                kind: crd.spec.names.kind,
                rules: compile_schema(&schema),
                schema,
            })
        })
        .collect()
});

/// Checks a manifest of the group `leveret.dev` as the API server would on creation, unknown fields included, and fills
/// in the defaults.
///
/// # Errors
/// Everything that is wrong with it.
pub fn admit(manifest: &Value) -> Result<Value, Vec<Refusal>> {
    let field = |name: &str| manifest.get(name).and_then(Value::as_str).unwrap_or_default();
    let version = field("apiVersion");
    if version != format!("{GROUP}/{VERSION}") {
        let message = format!("{version} is not known, only {GROUP}/{VERSION}");
        return Err(vec![Refusal::invalid(&["apiVersion"], message)]);
    }
    let Some(known) = KINDS.iter().find(|known| known.kind == field("kind")) else {
        let all: Vec<&str> = KINDS.iter().map(|known| known.kind.as_str()).collect();
        let message = format!("{} is not known, only {}", field("kind"), all.join(", "));
        return Err(vec![Refusal::invalid(&["kind"], message)]);
    };
    let mut walk = Walk::default();
    let mut body = manifest.clone();
    let mut metadata = None;
    if let Some(body) = body.as_object_mut() {
        metadata = body.remove("metadata");
        // Not taken from a manifest: it has its own subresource.
        body.remove("status");
    }
    let mut admitted = walk.value(&known.schema, &body);
    let mut refusals = check_metadata(metadata.as_ref());
    refusals.extend(walk.refusals);
    if let (Some(admitted), Some(metadata)) = (admitted.as_object_mut(), metadata) {
        admitted.insert("metadata".to_owned(), metadata);
    }
    if !refusals.iter().any(Refusal::blocks_rules) {
        refusals.extend(break_rules(&known.rules, &admitted));
    }
    if refusals.is_empty() {
        Ok(admitted)
    } else {
        Err(refusals)
    }
}

/// The CEL rules that do not hold.
fn break_rules(rules: &CompiledSchema, value: &Value) -> Vec<Refusal> {
    let errors = validate_compiled(rules, value, None).err();
    let refuse = |path: &str, message: &str| {
        let path: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
        let given = path.iter().try_fold(value, |value, key| value.get(key));
        // An object is not repeated.
        let given = given.filter(|given| !given.is_object() && !given.is_array());
        let given = given.map_or_else(String::new, |given| format!("{}: ", shown(given)));
        Refusal::invalid(&path, format!("Invalid value: {given}{message}"))
    };
    errors
        .into_iter()
        .flatten()
        .map(|error| refuse(&error.field_path, &error.message))
        .collect()
}

#[cfg(test)]
mod tests;
