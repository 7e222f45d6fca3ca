//! The metadata of a manifest: names, labels and annotations, as the API server wants them of every object.
//!
//! In: `metadata`. Out: refusals. Does not know about kinds.

use serde_json::{Map, Value};

use super::refusal::{Refusal, shown};

/// Fields of `metav1.ObjectMeta`.
const FIELDS: [&str; 15] = [
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
    "selfLink",
    "uid",
];

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
     must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
     end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// The faults of `metadata`.
pub(super) fn check_metadata(metadata: Option<&Value>) -> Vec<Refusal> {
    let Some(metadata) = metadata.and_then(Value::as_object) else {
        return vec![no_name(&Map::new())];
    };
    let unknown = metadata.keys().filter(|key| !FIELDS.contains(&key.as_str()));
    let mut refusals: Vec<Refusal> = unknown
        .map(|key| Refusal::unknown(&["metadata".to_owned(), key.clone()], FIELDS.into_iter()))
        .collect();
    let invalid = |field: &str, given: &Value, why: &str| {
        Refusal::invalid(&["metadata", field], format!("Invalid value: {}: {why}", shown(given)))
    };
    match metadata.get("name") {
        None => refusals.push(no_name(metadata)),
        Some(Value::String(name)) if name.is_empty() => refusals.push(no_name(metadata)),
        Some(given) => {
            let name = given.as_str().unwrap_or_default();
            if name.len() > 253 {
                refusals.push(invalid("name", given, "must be no more than 253 characters"));
            }
            if !is_subdomain(name) {
                refusals.push(invalid("name", given, SUBDOMAIN));
            }
        }
    }
    if let Some(given) = metadata.get("namespace").filter(|given| !given.is_null())
        && !given.as_str().is_some_and(|name| name.len() <= 63 && is_label(name))
    {
        refusals.push(invalid("namespace", given, LABEL));
    }
    for field in ["labels", "annotations"] {
        for (key, value) in texts(metadata, field, &mut refusals) {
            let faults = qualified_name(key, field == "labels");
            refusals.extend(faults.iter().map(|why| invalid(field, &Value::from(key), why)));
            if field == "labels" {
                let fault = label_value(value);
                refusals.extend(fault.map(|why| invalid(field, &Value::from(value), why)));
            }
        }
    }
    refusals
}

fn no_name(metadata: &Map<String, Value>) -> Refusal {
    let why = match metadata.contains_key("generateName") {
        true => "a manifest in a file needs a name",
        false => "name or generateName is required",
    };
    Refusal::required(&["metadata", "name"], why)
}

/// The entries of a map of texts. Where one is no text, the API server says so in the words of its own language; here
/// it is said what to do.
fn texts<'a>(metadata: &'a Map<String, Value>, field: &str, refusals: &mut Vec<Refusal>) -> Vec<(&'a str, &'a str)> {
    let entries = match metadata.get(field) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            let message = "must be a map of strings".to_owned();
            refusals.push(Refusal::blocking(&["metadata", field], message));
            return Vec::new();
        }
    };
    let mut texts = Vec::new();
    for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
        match value.as_str() {
            Some(text) => texts.push((key.as_str(), text)),
            None => {
                let message = format!("must be a string: write \"{value}\" with quotes");
                refusals.push(Refusal::blocking(&["metadata", field, key], message));
            }
        }
    }
    texts
}

/// RFC 1123: labels with dots between them.
fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = [name.as_bytes().first(), name.as_bytes().last()];
    edges.into_iter().all(|edge| edge.is_some_and(|byte| inner(*byte)))
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
}

/// The faults of the key of a label or an annotation; annotations may have capitals in the prefix.
fn qualified_name(key: &str, is_label: bool) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        None => (None, key),
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a valid label key {NAME_PART} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    let mut faults = Vec::new();
    let lower = prefix.map(|prefix| {
        if is_label {
            prefix.to_owned()
        } else {
            prefix.to_lowercase()
        }
    });
    match lower.as_deref() {
        None => {}
        Some("") => faults.push("prefix part must be non-empty".to_owned()),
        Some(prefix) if !is_subdomain(prefix) => faults.push(format!("prefix part {SUBDOMAIN}")),
        Some(_) => {}
    }
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(name) {
        faults.push(format!("name part {NAME_PART}"));
    }
    faults
}

fn label_value(value: &str) -> Option<&'static str> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes");
    }
    (!value.is_empty() && !is_name_part(value)).then_some(LABEL_VALUE)
}

fn is_name_part(name: &str) -> bool {
    let edges = [name.as_bytes().first(), name.as_bytes().last()];
    edges
        .into_iter()
        .all(|edge| edge.is_some_and(u8::is_ascii_alphanumeric))
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
