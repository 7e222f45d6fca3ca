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
    tools.kubectl_well(&["-n", &own, "delete", queue, "--timeout=60s"]);
    assert!(!bounded.has_queue(&name));
    bounded.nothing_was_forbidden();
}
