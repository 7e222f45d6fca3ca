//! From the Rust types to CRDs: CEL rules that several kinds share, and what Kubernetes wants otherwise than schemars.
//!
//! In: the derived CRDs. Out: the CRDs as they are installed. Does not know about what the fields mean on a broker.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use super::common::Rule;

pub(super) const FIXED_BROKER: Rule = (
    "self == oldSelf",
    "brokerRef cannot be changed: delete the object and create it again",
);
pub(super) const SHORT_STRING: Rule = (
    r"size(bytes(self)) <= 255 && !self.contains('\n') && !self.contains('\r')",
    "must be at most 255 bytes of UTF-8, without line breaks",
);
pub(super) const PERIOD: Rule = (
    "self.matches('^([0-9]{1,12}(ms|s|m|h|d))+$')",
    "must be a duration like 500ms, 10s, 90m, 24h or 7d",
);
pub(super) const ONLY_REFUSE: Rule = (
    "self == 'Refuse'",
    "updatePolicy Recreate and Migrate are not supported in this version: use Refuse",
);
const FIXED_VHOST: Rule = (
    "self == oldSelf",
    "vhost cannot be changed: delete the object and create it again",
);
const NOT_RESERVED: Rule = (
    "!self.startsWith('amq.')",
    "names that begin with amq. are reserved by the broker",
);
pub(super) const FIXED_NAME: Rule = (
    "(has(self.spec.name) ? self.spec.name : self.metadata.name) == (has(oldSelf.spec.name) ? oldSelf.spec.name : oldSelf.metadata.name)",
    "name cannot be changed: delete the object and create it again",
);
const DEFAULT_NAME_NOT_RESERVED: Rule = (
    "has(self.spec.name) || !self.metadata.name.startsWith('amq.')",
    "names that begin with amq. are reserved by the broker: give another metadata.name or spec.name",
);

/// Rules of a kind that has a name on the broker.
pub(super) const NAMED: [Rule; 2] = [FIXED_NAME, DEFAULT_NAME_NOT_RESERVED];

/// One CRD as a YAML document, beginning with `---`.
///
/// # Errors
/// None in practice: the CRDs are constant.
pub fn one_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    Ok(format!("---\n{}", serde_yaml::to_string(crd)?))
}

/// Adds rules that see `metadata.name` and a status for what has not been looked at, and turns `null` into "not given".
pub(super) fn finish(mut crd: CustomResourceDefinition, root_rules: &[Rule]) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(validation) = &mut version.schema else {
            continue;
        };
        let Ok(mut value) = serde_json::to_value(&validation.open_api_v3_schema) else {
            continue;
        };
        drop_nullable(&mut value);
        if let Some(status) = value.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            status.insert("default".to_owned(), unseen());
        }
        if let (Some(root), false) = (value.as_object_mut(), root_rules.is_empty()) {
            root.insert("x-kubernetes-validations".to_owned(), rules(root_rules));
        }
        if let Ok(schema) = serde_json::from_value(value) {
            validation.open_api_v3_schema = schema;
        }
    }
    crd
}

/// The status of an object that no operator has seen. To kstatus one without any is as good as ready, and Flux and Helm
/// would go on before the first look; a generation that was never there says "in progress".
fn unseen() -> Value {
    json!({ "observedGeneration": -1 })
}

/// Without `nullable` the API server removes an explicit `null` before defaults are set, so that `name: null` means the
/// same as no name to CEL's `has`.
fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if let Some(Value::Array(allowed)) = map.get_mut("enum") {
                allowed.retain(|value| !value.is_null());
            }
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}

pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

pub(super) fn rules(all: &[Rule]) -> Value {
    Value::Array(all.iter().map(|(text, message)| rule(text, message)).collect())
}

/// For the name that a Queue or Exchange has on the broker.
pub(super) fn own_name_rules() -> Value {
    rules(&[NOT_RESERVED, SHORT_STRING])
}

pub(super) fn vhost_rules() -> Value {
    rules(&[FIXED_VHOST, SHORT_STRING])
}

/// A shorthand and the argument it stands for must not both be given: (path in `spec`, argument).
pub(super) fn shorthand_rules(pairs: &[(&str, &str)]) -> Vec<Value> {
    pairs
        .iter()
        .map(|(field, argument)| {
            rule(
                &format!(
                    "!has(self.{field}) || !has(self.arguments) || !has(self.arguments.{})",
                    cel_name(argument)
                ),
                &format!("{field} and arguments.{argument} say the same thing: give only one of them"),
            )
        })
        .collect()
}

/// A property name as CEL wants it (Kubernetes' escaping of `-` and `.`).
pub(super) fn cel_name(property: &str) -> String {
    property.replace('-', "__dash__").replace('.', "__dot__")
}

/// A free-form table in which the well-known keys have a type.
pub(super) fn argument_schema(known: &[(&str, &str)]) -> schemars::Schema {
    let properties: Map<String, Value> = known
        .iter()
        .map(|(name, type_)| {
            let mut schema = Map::new();
            schema.insert("type".to_owned(), Value::from(*type_));
            if *type_ == "integer" {
                schema.insert("format".to_owned(), Value::from("int64"));
            }
            ((*name).to_owned(), Value::Object(schema))
        })
        .collect();
    object(json!({
        "type": "object",
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true,
    }))
}

pub(super) fn object(value: Value) -> schemars::Schema {
    match value {
        Value::Object(map) => schemars::Schema::from(map),
        _ => schemars::Schema::default(),
    }
}
