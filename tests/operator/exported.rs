//! `leveret export`: kubectl, which reads YAML 1.1, reads the same in it as everybody else.

use std::process::Command;

use harness::api_server::{api_server, documents};
use harness::kubectl::Tools;
use harness::place;
use serde_json::{Value, json};

use crate::{stage, text};

/// Names that YAML 1.1 takes for something else, where they may be names of an object.
const NAMES: [&str; 12] = [
    "y",
    "n",
    "yes",
    "no",
    "on",
    "off",
    "1e5",
    "0o17",
    "017",
    "1_000",
    "2001-01-01",
    "1:30",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_what_kubectl_applies() {
    let Some(stage) = stage("exported").await else { return };
    if stage.broker.is_external() {
        return eprintln!("skipped: the names are not this test's alone");
    }
    let exchange = stage.name("x");
    let done = |method: &str, path: String, body: Value| {
        let answer = stage.http().request(method, &path, Some(&body));
        assert!(
            matches!(answer.status, 201 | 204),
            "{path}: {} {}",
            answer.status,
            answer.body
        );
    };
    let headers = json!({"type": "headers", "durable": true});
    done("PUT", format!("/api/exchanges/%2F/{exchange}"), headers);
    for name in NAMES {
        let path = name.replace(':', "%3A");
        done("PUT", format!("/api/queues/%2F/{path}"), json!({"durable": true}));
        let bound = json!({"routing_key": name, "arguments": {"n": 5, "<<": 1, name: "no"}});
        done("POST", format!("/api/bindings/%2F/e/{exchange}/q/{path}"), bound);
    }
    let output = Command::new(place::program("leveret", "LEVERET_BIN"))
        .args(["export", "--namespace", &stage.namespace])
        .args(["--management", &format!("http://{}", stage.broker.http())])
        .output()
        .expect("leveret runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let exported = String::from_utf8(output.stdout).expect("UTF-8");
    let tools = Tools::at(api_server().expect("the cluster of this stage"));
    let said = tools.kubectl(&["apply", "-f", "-"], &exported);
    assert!(said.well, "{}", said.all);
    for wanted in documents(&exported) {
        let (kind, name) = (text(&wanted, "/kind"), text(&wanted, "/metadata/name"));
        let stands = stage.resources.api(&kind).get(&name).await.expect("it was applied");
        for field in ["name", "routingKey", "destination", "arguments"] {
            let read = |value: &Value| value.pointer(&format!("/spec/{field}")).cloned();
            let wanted = read(&wanted);
            assert!(
                wanted.is_none() || read(&stands.data) == wanted,
                "{kind} {name}: {field}: {:?}",
                read(&stands.data)
            );
        }
        stage
            .resources
            .becomes(&kind, &name, "True", "Synced", crate::SOON)
            .await;
    }
    let refused = tools.kubectl(
        &["apply", "--dry-run=server", "-f", "-"],
        &exported.replace("\"no\"", "no"),
    );
    assert!(!refused.well, "without the quotes it is another value: {}", refused.all);
}
