//! The operator with the rights of a chart that has `operator.rabbitmqResources` on.

use harness::kubectl::Tools;
use harness::rabbitmq_resources::{definitions, manifest};
use serde_json::json;

use crate::bounded;

#[test]
fn the_rights_to_resources_of_another_operator_suffice() {
    let Some(tools) = Tools::new() else { return };
    tools.apply("", &definitions(), &[]);
    let bounded = bounded(&tools, "chart-theirs", &["--set", "operator.rabbitmqResources=true"]);
    let own = bounded.namespace.clone();
    bounded.external(&tools, &json!({"from": "Same"}));
    let name = format!("{own}-q");
    tools.apply(
        &own,
        &[manifest("Queue", "q", json!({"name": name, "durable": true}))],
        &[],
    );
    let queue = "queues.rabbitmq.com/q";
    tools.kubectl_well(&["-n", &own, "wait", queue, "--for=condition=Ready", "--timeout=60s"]);
    assert!(bounded.has_queue(&name));
    // A user with a Secret that is made for it, and rights.
    let right = |more: serde_json::Value| {
        let mut spec = json!({"userReference": {"name": "app"}, "vhost": "/", "permissions": more});
        spec["permissions"]["read"] = json!(".*");
        spec
    };
    let of_app = [
        manifest("User", "app", json!({})),
        manifest("Permission", "app", right(json!({}))),
        manifest("TopicPermission", "app", right(json!({"exchange": "amq.topic"}))),
    ];
    tools.apply(&own, &of_app, &[]);
    let objects = ["users", "permissions", "topicpermissions"].map(|kind| format!("{kind}.rabbitmq.com/app"));
    for object in &objects {
        tools.kubectl_well(&["-n", &own, "wait", object, "--for=condition=Ready", "--timeout=60s"]);
    }
    tools.kubectl_well(&["-n", &own, "get", "secret", "app-user-credentials"]);
    for object in &objects {
        tools.kubectl_well(&["-n", &own, "delete", object, "--timeout=60s"]);
    }
    tools.kubectl_well(&["-n", &own, "delete", queue, "--timeout=60s"]);
    assert!(!bounded.has_queue(&name));
    bounded.nothing_was_forbidden();
}
