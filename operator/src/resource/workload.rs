//! The part of a `Broker` that says how the operator runs it: volume, resources, TLS, and what people override of a
//! pod.
//!
//! In: the manifest. Out: typed fields and their schemas. Does not know about the objects that are made of it.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::schema::{object, rule};
use super::secret::{SecretKeyRef, SecretRef};
use super::settings;

/// Fields of `spec` that are only for engine Leveret.
const ONLY_LEVERET: [&str; 15] = [
    "image",
    "storage",
    "resources",
    "settings",
    "tls",
    "serviceAccountTokens",
    "service",
    "networkPolicy",
    "annotations",
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    "deletionPolicy",
];

/// The disk of a broker that the operator runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the volume, for example 10Gi. It can grow where the storage class allows it.
    #[schemars(schema_with = "size_schema")]
    pub size: Value,
    /// Storage class; default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Effect on the volume of deleting the Broker.
    #[serde(default)]
    pub deletion_policy: StorageDeletionPolicy,
}

/// Effect on the volume of deleting the Broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StorageDeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// Requests and limits as in a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Most it may use, by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub limits: BTreeMap<String, Value>,
    /// Resources that are set aside for it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities_schema")]
    pub requests: BTreeMap<String, Value>,
}

/// Certificates for AMQP and HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret of type kubernetes.io/tls: tls.crt, tls.key, and ca.crt where the authority is not a public one. Its
    /// annotation leveret.dev/broker must name this Broker; so must that of each Secret below. The certificate must be
    /// for NAME.NAMESPACE.svc. A new one is taken without a restart.
    pub secret_ref: SecretRef,
    /// With it, clients on the TLS ports must show a certificate of this authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// Secret of type kubernetes.io/tls with the certificate that the operator itself shows. With clientAuth it must be
    /// of that authority; where there is none, the operator uses the plain ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_secret_ref: Option<SecretRef>,
    /// Ports without TLS: open or closed.
    #[serde(default)]
    pub plain: Plain,
}

/// Which clients' certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// Secret and key with the authority's certificate.
    pub ca_secret_ref: SecretKeyRef,
}

/// Ports without TLS: open or closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Plain {
    #[default]
    Allowed,
    Disabled,
}

/// Logins of pods by the tokens of their service accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccountTokens {
    /// The audience that pods ask for in their projected tokens; default: NAME.NAMESPACE.svc of this Broker. One that
    /// other brokers have, too, lets each of them log in at the others with the tokens that it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: Option<String>,
}

/// The Service that clients use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientService {
    /// ClusterIP, NodePort or LoadBalancer.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Annotations of this Service alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Type of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

/// Peers that may connect, where the cluster's network enforces it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Peers as in a NetworkPolicy's ingress rule; default: all pods of the Broker's namespace. The operator may
    /// always connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_objects")]
    pub from: Vec<Value>,
}

/// The rules of `spec` that concern these fields.
pub(super) fn spec_rules() -> Vec<Value> {
    let mut rules: Vec<Value> = ONLY_LEVERET
        .iter()
        .chain(&["podTemplate"])
        .map(|field| {
            rule(
                &format!("self.engine != 'External' || !has(self.{field})"),
                &format!("{field} is only for engine Leveret"),
            )
        })
        .collect();
    rules.extend(settings::OWN.iter().map(|key| {
        rule(
            &format!("!has(self.settings) || !has(self.settings.{key})"),
            &format!("settings.{key} is made by the operator"),
        )
    }));
    rules.push(rule(
        "!has(self.tls) || !has(self.tls.clientAuth) || self.tls.plain != 'Disabled' || has(self.tls.operatorSecretRef)",
        "tls.plain Disabled with tls.clientAuth needs tls.operatorSecretRef: without a certificate of its own the operator uses the plain ports",
    ));
    rules
}

pub(super) fn free_object(_: &mut SchemaGenerator) -> Schema {
    object(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }))
}

pub(super) fn free_objects(_: &mut SchemaGenerator) -> Schema {
    object(json!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    }))
}

/// A quantity whose refusal says what is one: the API server would only repeat the pattern.
fn size_schema(_: &mut SchemaGenerator) -> Schema {
    let mut schema = quantity();
    let pattern = schema.as_object_mut().and_then(|schema| schema.remove("pattern"));
    if let (Some(schema), Some(Value::String(pattern))) = (schema.as_object_mut(), pattern) {
        let matches = format!("string(self).matches('{}')", pattern.replace('\\', "\\\\"));
        let said = "size must be a quantity such as 10Gi, 500Mi or 1.5Ti (10G, not 10GB)";
        schema.insert("x-kubernetes-validations".to_owned(), json!([rule(&matches, said)]));
        schema.insert("maxLength".to_owned(), json!(32));
    }
    object(schema)
}

fn quantities_schema(_: &mut SchemaGenerator) -> Schema {
    object(json!({ "type": "object", "additionalProperties": quantity() }))
}

/// Kubernetes' `resource.Quantity`, as the built-in kinds describe it.
fn quantity() -> Value {
    json!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "pattern": r"^([0-9]+|[0-9]+\.[0-9]+)([eE][0-9]+|[KMGTPE]i?|[mk])?$",
    })
}

/// A `resource.Quantity` in whole units, for comparisons; `None` for text that is no quantity or a fraction of one.
pub fn quantity_value(quantity: &Value) -> Option<u128> {
    let text = match quantity {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u128 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u128.pow(2),
        "G" => 1000_u128.pow(3),
        "T" => 1000_u128.pow(4),
        "P" => 1000_u128.pow(5),
        "E" => 1000_u128.pow(6),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let units: u128 = format!("{whole}{fraction}").parse().ok()?;
    Some(units.checked_mul(factor)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, value) in [
            (json!("10Gi"), Some(10 << 30)),
            (json!("1.5Gi"), Some(3 << 29)),
            (json!("1G"), Some(1_000_000_000)),
            (json!(5), Some(5)),
            (json!("x"), None),
            (json!("1.Gi"), Some(1 << 30)),
            (json!("99999999999999999999999999999999999999Ei"), None),
        ] {
            assert_eq!(quantity_value(&text), value, "{text}");
        }
    }
}
