//! (pure) The part of a broker's pod that its `podTemplate` may change.
//!
//! In: the patch, and what the operator was told. Out: nothing, or the first field that may not be in it. Who may write
//! Brokers may not run any pod by that: what is permitted is listed, and all else is refused.
//! Does not know about what the patch is applied to.

use serde_json::{Map, Value};

use super::statefulset::CONTAINER;

/// The fields that a `podTemplate` may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PodTemplates {
    /// None.
    None,
    /// Those that give the pod no right which it does not have without.
    #[default]
    Restricted,
    /// All: who may write Brokers may run any pod.
    Any,
}

/// Fields of `spec` that are permitted. No Service account, no volume, nothing of the node's, no security context.
const POD: [&str; 13] = [
    "affinity",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "schedulerName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
];
/// Fields of the container.
const CONTAINER_FIELDS: [&str; 8] = [
    "env",
    "imagePullPolicy",
    "livenessProbe",
    "name",
    "readinessProbe",
    "resources",
    "startupProbe",
    "terminationMessagePolicy",
];
const PROBE: [&str; 6] = [
    "failureThreshold",
    "initialDelaySeconds",
    "periodSeconds",
    "successThreshold",
    "terminationGracePeriodSeconds",
    "timeoutSeconds",
];
/// A variable from a Secret would be a Secret that nobody has permitted.
const VARIABLE: [&str; 2] = ["name", "value"];

/// Refuses a patch that changes more than it may.
///
/// # Errors
/// The field, and what the operator was told.
pub fn permit(templates: PodTemplates, patch: &Value) -> Result<(), String> {
    match templates {
        PodTemplates::Any => Ok(()),
        PodTemplates::None => Err("podTemplate is switched off (--pod-template none of the operator)".to_owned()),
        PodTemplates::Restricted => check(patch).map_err(|field| {
            format!(
                "podTemplate.{field} is not permitted (--pod-template restricted of the operator; see docs/security.md)"
            )
        }),
    }
}

/// The first field that is not permitted.
fn check(patch: &Value) -> Result<(), String> {
    only(patch, "", &["metadata", "spec"])?;
    if let Some(metadata) = patch.get("metadata") {
        // A label could have the pod selected by a Service or a policy that is not about it.
        only(metadata, "metadata.", &["annotations"])?;
    }
    let Some(spec) = patch.get("spec") else { return Ok(()) };
    only(spec, "spec.", &POD)?;
    for container in list(spec.get("containers")) {
        if container.get("name").and_then(Value::as_str) != Some(CONTAINER) {
            return Err(format!("spec.containers: another than {CONTAINER}"));
        }
        let place = format!("spec.containers[{CONTAINER}].");
        only(container, &place, &CONTAINER_FIELDS)?;
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if let Some(given) = container.get(probe) {
                only(given, &format!("{place}{probe}."), &PROBE)?;
            }
        }
        for variable in list(container.get("env")) {
            only(variable, &format!("{place}env."), &VARIABLE)?;
        }
    }
    Ok(())
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The first key of a map that is none of `permitted`.
fn only(value: &Value, place: &str, permitted: &[&str]) -> Result<(), String> {
    let nothing = Map::new();
    let map = value.as_object().unwrap_or(&nothing);
    match map.keys().find(|key| !permitted.contains(&key.as_str())) {
        Some(key) => Err(format!("{place}{key}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_gives_rights_is_refused() {
        let container = |field: Value| {
            let mut container = json!({"name": "broker"});
            if let (Some(container), Some(field)) = (container.as_object_mut(), field.as_object()) {
                container.extend(field.clone());
            }
            json!({"spec": {"containers": [container]}})
        };
        for (patch, field) in [
            (
                json!({"spec": {"serviceAccountName": "admin"}}),
                "spec.serviceAccountName",
            ),
            (json!({"spec": {"serviceAccount": "admin"}}), "spec.serviceAccount"),
            (
                json!({"spec": {"automountServiceAccountToken": true}}),
                "spec.automountServiceAccountToken",
            ),
            (json!({"spec": {"hostNetwork": true}}), "spec.hostNetwork"),
            (json!({"spec": {"hostPID": true}}), "spec.hostPID"),
            (
                json!({"spec": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}}),
                "spec.volumes",
            ),
            (
                json!({"spec": {"securityContext": {"runAsUser": 0}}}),
                "spec.securityContext",
            ),
            (json!({"spec": {"initContainers": []}}), "spec.initContainers"),
            (json!({"spec": {"nodeName": "a"}}), "spec.nodeName"),
            (json!({"spec": {"$patch": "replace"}}), "spec.$patch"),
            (json!({"metadata": {"labels": {}}}), "metadata.labels"),
            (json!({"status": {}}), "status"),
            (
                json!({"spec": {"containers": [{"name": "other", "image": "x"}]}}),
                "spec.containers: another than broker",
            ),
            (
                container(json!({"securityContext": {"privileged": true}})),
                "spec.containers[broker].securityContext",
            ),
            (container(json!({"command": ["sh"]})), "spec.containers[broker].command"),
            (container(json!({"envFrom": []})), "spec.containers[broker].envFrom"),
            (
                container(json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})),
                "spec.containers[broker].env.valueFrom",
            ),
            (
                container(json!({"volumeMounts": []})),
                "spec.containers[broker].volumeMounts",
            ),
            (
                container(json!({"livenessProbe": {"exec": {"command": ["sh"]}}})),
                "spec.containers[broker].livenessProbe.exec",
            ),
        ] {
            assert_eq!(check(&patch), Err(field.to_owned()), "{patch}");
            assert!(permit(PodTemplates::Any, &patch).is_ok());
        }
        let harmless = json!({
            "metadata": {"annotations": {"a": "b"}},
            "spec": {"schedulerName": "x", "imagePullSecrets": [{"name": "r"}], "containers": [{"name": "broker",
                "imagePullPolicy": "Never", "env": [{"name": "A", "value": "b"}], "livenessProbe": {"periodSeconds": 5}}]},
        });
        assert_eq!(permit(PodTemplates::Restricted, &harmless), Ok(()));
        assert!(permit(PodTemplates::None, &harmless).is_err());
    }
}
