//! `leveret plan --context`: what is said before comes true after, and a plan of what stands is empty.
//!
//! In: a folder, the Broker and the resources of a namespace. Out: lines and an exit code.

use std::fs;
use std::process::{Command, Output};

use harness::api_server::api_server;
use harness::place;
use serde_json::{Value, json};

use crate::{SOON, Stage, stage};

impl Stage {
    /// Plans an apply of these manifests with everything else pruned.
    pub(crate) fn plan(&self, manifests: &[&Value]) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (index, manifest) in manifests.iter().enumerate() {
            let text = serde_yaml::to_string(manifest).expect("YAML");
            fs::write(folder.path().join(format!("{index}.yaml")), text).expect("a file");
        }
        let kubeconfig = api_server().expect("the cluster of this stage").kubeconfig;
        let Output { status, stdout, stderr } = Command::new(place::program("leveret", "LEVERET_BIN"))
            .env("KUBECONFIG", kubeconfig)
            .args(["plan", "--prune", "--context", "kcp", "--namespace", &self.namespace])
            .arg(folder.path())
            .output()
            .expect("leveret runs");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        (status.code(), said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_a_context_knows_what_is_owned() {
    let Some(stage) = stage("plan").await else { return };
    let (exchange, queue, kept) = (stage.exchange("x", "topic"), stage.queue("q"), stage.queue("kept"));
    let binding = |key: &str| stage.binding("b", "x", "q", key);
    let old = binding("old");
    let (code, said) = stage.plan(&[&exchange, &queue, &old]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("3 to create, 0 to update, 0 to delete, 0 refused"),
        "{said}"
    );

    for manifest in [&exchange, &queue, &kept, &old] {
        stage.synced(manifest).await;
    }
    let (code, said) = stage.plan(&[&exchange, &queue, &kept, &old]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("4 as declared"), "{said}");

    let mut durable = queue.clone();
    durable["spec"]["durable"] = json!(false);
    let (code, said) = stage.plan(&[&exchange, &durable, &binding("new")]);
    assert_eq!(code, Some(2), "{said}");
    let namespace = &stage.namespace;
    assert!(said.contains(&format!("! Queue {namespace}/q: Immutable")), "{said}");
    assert!(said.contains("by 'new', remove the binding"), "{said}");
    assert!(said.contains(&format!("- Queue {namespace}/kept: delete")), "{said}");
    assert!(
        said.contains("0 to create, 1 to update, 1 to delete, 1 refused, 1 as declared"),
        "{said}"
    );

    // A binding is not as declared whose queue the same apply deletes.
    let (_, said) = stage.plan(&[&exchange, &kept, &binding("old")]);
    let bereft = format!(
        "! Binding {namespace}/b: WaitingForDestination: it goes with queue '{}'",
        stage.name("q")
    );
    assert!(said.contains(&bereft), "{said}");

    stage.synced(&binding("new")).await;
    stage.resources.delete("Queue", "kept").await;
    stage.resources.goes("Queue", "kept", SOON).await;
    let (code, said) = stage.plan(&[&exchange, &queue, &binding("new")]);
    assert_eq!(code, Some(0), "{said}");
}
