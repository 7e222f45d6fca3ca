//! What the API server would say of a manifest, without one: schema, defaults and CEL rules of the CRDs.
//!
//! In: a manifest as it stands in a file. Out: the same with defaults, or everything that is wrong with it.
//! Does not know about files, nor about what is on a broker.

use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, compile_schema, validate_compiled};
use serde_json::{Map, Value};

use super::common::{GROUP, VERSION};
use super::crds;

/// One thing that is wrong: where (`spec.maxLength`; empty for the whole manifest) and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", prefix(.path))]
pub struct Refusal {
    pub path: String,
    pub message: String,
}

fn prefix(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}

impl Refusal {
    fn new(path: &str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}

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

/// Checks a manifest of the group `leveret.dev` as the API server would on creation, unknown keys included, and fills in
/// the defaults.
///
/// # Errors
/// Everything that is wrong with it.
pub fn admit(manifest: &Value) -> Result<Value, Vec<Refusal>> {
    let field = |name: &str| manifest.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("apiVersion") != format!("{GROUP}/{VERSION}") {
        return Err(vec![Refusal::new("apiVersion", format!("must be {GROUP}/{VERSION}"))]);
    }
    let Some(known) = KINDS.iter().find(|known| known.kind == field("kind")) else {
        let all: Vec<&str> = KINDS.iter().map(|known| known.kind.as_str()).collect();
        let message = format!(
            "unknown kind '{}' in {GROUP}; there are {}",
            field("kind"),
            all.join(", ")
        );
        return Err(vec![Refusal::new("kind", message)]);
    };
    let mut refusals = Vec::new();
    check_metadata(manifest.get("metadata"), &mut refusals);
    let mut body = manifest.clone();
    let metadata = body.as_object_mut().and_then(|body| body.remove("metadata"));
    let mut admitted = admit_value(&known.schema, &body, "", &mut refusals);
    if let (Some(admitted), Some(metadata)) = (admitted.as_object_mut(), metadata) {
        admitted.insert("metadata".to_owned(), metadata);
    }
    if refusals.is_empty()
        && let Err(errors) = validate_compiled(&known.rules, &admitted, None)
    {
        refusals.extend(
            errors
                .into_iter()
                .map(|error| Refusal::new(&error.field_path, error.message)),
        );
    }
    if refusals.is_empty() {
        Ok(admitted)
    } else {
        Err(refusals)
    }
}

/// Fields of `metav1.ObjectMeta`.
const METADATA: [&str; 14] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

fn check_metadata(metadata: Option<&Value>, refusals: &mut Vec<Refusal>) {
    let Some(metadata) = metadata.and_then(Value::as_object) else {
        refusals.push(Refusal::new("metadata", "required"));
        return;
    };
    for key in metadata.keys().filter(|key| !METADATA.contains(&key.as_str())) {
        refusals.push(Refusal::new(&format!("metadata.{key}"), "unknown field"));
    }
    match metadata.get("name") {
        Some(Value::String(name)) if is_dns_subdomain(name) => {}
        Some(_) => refusals.push(Refusal::new(
            "metadata.name",
            "must be 1 to 253 small letters, digits, '-' and '.', beginning and ending with a letter or digit",
        )),
        None => refusals.push(Refusal::new("metadata.name", "required")),
    }
    for maps in ["labels", "annotations"] {
        let Some(entries) = metadata.get(maps).filter(|entries| !entries.is_null()) else {
            continue;
        };
        if !entries
            .as_object()
            .is_some_and(|entries| entries.values().all(Value::is_string))
        {
            let message = "must be a table of texts (quote numbers and true/false)";
            refusals.push(Refusal::new(&format!("metadata.{maps}"), message));
        }
    }
}

/// RFC 1123, as for the names of most Kubernetes objects.
fn is_dns_subdomain(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            label.bytes().all(|byte| inner(byte) || byte == b'-')
                && label.bytes().next().is_some_and(inner)
                && label.bytes().last().is_some_and(inner)
        })
}

/// The value with defaults and without nulls; what is wrong goes to `refusals`.
fn admit_value(schema: &Value, value: &Value, path: &str, refusals: &mut Vec<Refusal>) -> Value {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        if !(value.is_string() || is_integer(value)) {
            refusals.push(wrong_type(path, "an integer or a text", value));
        }
        return value.clone();
    }
    let expected = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    match (expected, value) {
        ("object", Value::Object(fields)) => return admit_object(schema, fields, path, refusals),
        ("array", Value::Array(items)) => {
            let Some(schema) = schema.get("items") else {
                return value.clone();
            };
            let admitted = items
                .iter()
                .enumerate()
                .map(|(index, item)| admit_value(schema, item, &format!("{path}[{index}]"), refusals));
            return Value::Array(admitted.collect());
        }
        ("string", Value::String(text)) => check_length(schema, text, path, refusals),
        ("boolean", Value::Bool(_)) => {}
        ("integer", Value::Number(number)) if is_integer(value) => check_range(schema, number, path, refusals),
        ("number", Value::Number(number)) => check_range(schema, number, path, refusals),
        ("", _) => {}
        (expected, value) => refusals.push(wrong_type(path, article(expected), value)),
    }
    check_enum(schema, value, path, refusals);
    value.clone()
}

fn admit_object(schema: &Value, fields: &Map<String, Value>, path: &str, refusals: &mut Vec<Refusal>) -> Value {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    let keeps_unknown = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let mut admitted = Map::new();
    for (name, value) in fields {
        let path = join(path, name);
        match properties.get(name).or(others) {
            // A null is no value (API server: nulls are dropped where the schema does not allow them).
            Some(_) if value.is_null() => {}
            Some(schema) => {
                admitted.insert(name.clone(), admit_value(schema, value, &path, refusals));
            }
            None if keeps_unknown || (path == *name && (name == "apiVersion" || name == "kind")) => {
                admitted.insert(name.clone(), value.clone());
            }
            None => refusals.push(Refusal::new(&path, unknown_field(name, properties))),
        }
    }
    for (name, schema) in properties {
        let Some(default) = schema.get("default").filter(|_| !admitted.contains_key(name)) else {
            continue;
        };
        let default = admit_value(schema, default, &join(path, name), refusals);
        admitted.insert(name.clone(), default);
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !admitted.contains_key(name) {
            refusals.push(Refusal::new(&join(path, name), "required"));
        }
    }
    Value::Object(admitted)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Names the field that was probably meant.
fn unknown_field(name: &str, properties: &Map<String, Value>) -> String {
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.to_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let meant = properties.keys().find(|known| {
        let (known, given) = (sorted(known), sorted(name));
        let common = known.iter().filter(|letter| given.contains(letter)).count();
        known == given || (known.len().abs_diff(given.len()) <= 1 && common + 1 >= known.len())
    });
    meant.map_or_else(
        || "unknown field".to_owned(),
        |meant| format!("unknown field; did you mean {meant}?"),
    )
}

fn wrong_type(path: &str, expected: &str, value: &Value) -> Refusal {
    let given = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    };
    Refusal::new(path, format!("must be {expected}, not {given}"))
}

fn article(type_: &str) -> &'static str {
    match type_ {
        "object" => "a table",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "an integer",
        _ => "a number",
    }
}

/// `1.0` counts as an integer, as it does for the API server.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn check_length(schema: &Value, text: &str, path: &str, refusals: &mut Vec<Refusal>) {
    let bound = |name: &str| {
        schema
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|bound| usize::try_from(bound).ok())
    };
    let length = text.chars().count();
    if let Some(least) = bound("minLength").filter(|least| length < *least) {
        let message = if least == 1 {
            "must not be empty".to_owned()
        } else {
            format!("must have at least {least} characters")
        };
        refusals.push(Refusal::new(path, message));
    }
    if let Some(most) = bound("maxLength").filter(|most| length > *most) {
        refusals.push(Refusal::new(
            path,
            format!("must have at most {most} characters, not {length}"),
        ));
    }
}

fn check_range(schema: &Value, number: &serde_json::Number, path: &str, refusals: &mut Vec<Refusal>) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let Some(value) = number.as_f64() else { return };
    if let Some(least) = bound("minimum").filter(|least| value < *least) {
        refusals.push(Refusal::new(path, format!("must be at least {least}, not {number}")));
    }
    if let Some(most) = bound("maximum").filter(|most| value > *most) {
        refusals.push(Refusal::new(path, format!("must be at most {most}, not {number}")));
    }
}

fn check_enum(schema: &Value, value: &Value, path: &str, refusals: &mut Vec<Refusal>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
        return;
    };
    if value.is_string() && !allowed.contains(value) {
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        let given = value.as_str().unwrap_or_default();
        refusals.push(Refusal::new(
            path,
            format!("must be one of {}, not '{given}'", words.join(", ")),
        ));
    }
}

#[cfg(test)]
mod tests;
