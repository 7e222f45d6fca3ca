//! An upgrade is waited for until the brokers have been brought up to date, as the chart's hook does.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::kubectl::{Said, run};
use harness::operator_process::Operator;
use harness::place;
use harness::reaper;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Bare, Companion, bare_with};
use crate::{SOON, manifest, text};

fn wait(bare: &Bare, image: &str, timeout: &str) -> Command {
    let mut command = Command::new(place::program("leveret-operator", "LEVERET_OPERATOR_BIN"));
    command
        .args(["wait", "--lease-namespace", "default", "--lease-name", &bare.namespace])
        .args(["--broker-image", image, "--timeout", timeout])
        .args(["--watch-namespace", &bare.namespace])
        .env("KUBECONFIG", &bare.cluster.kubeconfig);
    command
}

fn waited(bare: &Bare, image: &str, timeout: &str) -> Said {
    run(&mut wait(bare, image, timeout), "")
}

fn runs(child: &mut Child) -> bool {
    child.try_wait().expect("it can be asked").is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_waited_for_until_its_brokers_are_ready() {
    let Some(mut bare) = bare_with("wait", "leveret:one").await else {
        return;
    };
    let companion = Companion::start();
    bare.apply(&companion.manifest(json!({}))).await;
    companion.takes(&bare.password("").await);
    // One that no upgrade makes Ready is named, and not waited for.
    let mut refused = manifest("Broker", "refused", json!({"tls": {"secretRef": {"name": "cert"}}}));
    refused["metadata"]["annotations"] = json!({"leveret.dev/paused": "false"});
    let strange = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"},
        "stringData": {"tls.crt": "", "tls.key": ""}});
    bare.apply(&strange).await;
    bare.apply(&refused).await;
    bare.resources
        .becomes("Broker", "refused", "False", "NotAllowed", SOON)
        .await;
    bare.broker_becomes("False", "Starting").await;
    let said = waited(&bare, "leveret:one", "2s");
    assert!(
        !said.well && said.all.contains("main: its pod is being replaced"),
        "{}",
        said.all
    );
    // As the controller of StatefulSets wants it, too.
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    bare.pod_says(ready.clone()).await;
    bare.broker_becomes("True", "Synced").await;
    let said = waited(&bare, "leveret:one", "30s");
    assert!(said.well && said.all.contains("not waited for: Broker"), "{}", said.all);
    let said = waited(&bare, "leveret:two", "2s");
    assert!(
        !said.well && said.all.contains("main: is not brought up to date yet"),
        "{}",
        said.all
    );

    let mut command = wait(&bare, "leveret:two", "60s");
    let mut waiting = command.stderr(Stdio::null()).spawn().expect("it runs");
    reaper::add(waiting.id(), None);
    let before = text(&bare.finds::<Pod>("main-0", |_| true).await, "/metadata/uid");
    assert!(bare.operator.terminate(SOON).success());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(runs(&mut waiting), "the old operator's broker is Ready, and old");
    bare.operator = operator(&bare, "leveret:two");
    bare.finds::<Pod>("main-0", |pod| text(pod, "/metadata/uid") != before)
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(runs(&mut waiting), "its pod is not ready");
    bare.pod_says(ready).await;
    let end = harness::broker_process::wait_for_exit(&mut waiting, SOON);
    assert!(end.is_some_and(|status| status.success()), "{end:?}");
    bare.broker_becomes("True", "Synced").await;
}

fn operator(bare: &Bare, image: &str) -> Operator {
    super::operator(&bare.cluster, &bare.namespace, image)
}
