//! (pure) Strategic merge: a partial pod template laid over a whole one.
//!
//! In: a template and a patch. Out: the template as patched. Lists of named things are merged by name (the merge keys
//! of the Kubernetes API), other lists are replaced; `null` removes a field, `$patch: delete` an element, `$patch:
//! replace` keeps only what the patch says. Does not know about what the fields mean.

use serde_json::{Map, Value};

/// The field that names an element of the list `field`; `None` for lists that are replaced as a whole.
fn merge_key(field: &str) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates" => "name",
        "ports" => "containerPort",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        _ => return None,
    })
}

/// Lays `patch` over `base`.
pub fn strategic_merge(base: Value, patch: &Value) -> Value {
    merge(base, patch, "")
}

fn merge(base: Value, patch: &Value, field: &str) -> Value {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => Value::Object(merge_objects(base, patch)),
        (Value::Array(base), Value::Array(patch)) => match merge_key(field) {
            Some(key) => Value::Array(merge_lists(base, patch, key)),
            None => Value::Array(patch.clone()),
        },
        (_, Value::Object(patch)) => Value::Object(merge_objects(Map::new(), patch)),
        (_, patch) => patch.clone(),
    }
}

fn merge_objects(mut base: Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    if directive(patch) == Some("replace") {
        base.clear();
    }
    for (field, value) in patch.iter().filter(|(field, _)| !field.starts_with('$')) {
        if value.is_null() {
            base.remove(field);
        } else {
            let old = base.remove(field).unwrap_or_default();
            base.insert(field.clone(), merge(old, value, field));
        }
    }
    base
}

fn merge_lists(mut base: Vec<Value>, patch: &[Value], key: &str) -> Vec<Value> {
    for element in patch {
        let Value::Object(map) = element else {
            continue;
        };
        let name = map.get(key);
        let place = base.iter().position(|old| name.is_some() && old.get(key) == name);
        match (directive(map), place) {
            (Some("delete"), Some(place)) => {
                base.remove(place);
            }
            (Some("delete"), None) => {}
            (_, Some(place)) => {
                if let Some(old) = base.get_mut(place) {
                    *old = merge(old.take(), element, "");
                }
            }
            (_, None) => base.push(merge(Value::Null, element, "")),
        }
    }
    base
}

fn directive(patch: &Map<String, Value>) -> Option<&str> {
    patch.get("$patch").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {
                "securityContext": {"fsGroup": 1, "runAsUser": 2},
                "tolerations": [{"key": "old"}],
                "containers": [{"name": "broker", "image": "x", "args": ["a", "b"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
                "volumes": [{"name": "data", "emptyDir": {}}],
            }
        })
    }

    #[test]
    fn named_elements_are_merged_and_others_replaced() {
        let patched = strategic_merge(
            template(),
            &json!({"spec": {
                "securityContext": {"fsGroup": null, "runAsUser": 3},
                "tolerations": [{"key": "new"}],
                "containers": [
                    {"name": "broker", "imagePullPolicy": "Never", "args": ["c"],
                     "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}]},
                    {"name": "sidecar", "image": "y"},
                ],
                "volumes": [{"name": "data", "$patch": "replace", "hostPath": {"path": "/data"}}],
            }}),
        );
        assert_eq!(
            patched,
            json!({
                "metadata": {"labels": {"a": "1"}},
                "spec": {
                    "securityContext": {"runAsUser": 3},
                    "tolerations": [{"key": "new"}],
                    "containers": [
                        {"name": "broker", "image": "x", "imagePullPolicy": "Never", "args": ["c"],
                         "env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]},
                        {"name": "sidecar", "image": "y"},
                    ],
                    "volumes": [{"hostPath": {"path": "/data"}, "name": "data"}],
                }
            })
        );
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        assert_eq!(strategic_merge(template(), &json!({})), template());
    }

    #[test]
    fn directives_do_not_end_up_in_the_result() {
        let patched = strategic_merge(
            template(),
            &json!({"spec": {"dnsConfig": {"$patch": "replace", "searches": ["a"]}}}),
        );
        assert_eq!(patched["spec"]["dnsConfig"], json!({"searches": ["a"]}));
    }
}
