//! The broker is asked whether it has taken its settings: the status says so in its words.

use std::fs;

use harness::Broker;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::{Bare, Companion, bare};
use crate::{SOON, text};

/// Brings the file to the broker, as a kubelet would.
async fn bring(bare: &Bare, companion: &Companion, words: &str) {
    let has = |map: &Value| text(map, "/data/leveret.toml").contains(words);
    let map = bare.finds::<ConfigMap>("main-config", has).await;
    let (file, new) = (
        companion.folder.path().join("leveret.toml"),
        companion.folder.path().join("new"),
    );
    fs::write(&new, text(&map, "/data/leveret.toml")).expect("a file");
    fs::rename(new, file).expect("it can be renamed");
}

/// All that the file names and the pod would have is given by flags here, which go before it.
fn companion() -> Companion {
    Companion::start_with(|user, password| {
        let file = user.replace("username", "leveret.toml");
        fs::write(&file, "").expect("a file");
        let flags = [
            "--config",
            &file,
            "--admin-user-file",
            user,
            "--admin-password-file",
            password,
        ];
        Broker::start_with(
            &[
                &flags[..],
                &["--prometheus-listen", "127.0.0.1:0", "--segment-size", "128MiB"],
            ]
            .concat(),
        )
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_those_of_the_broker_when_it_has_taken_them() {
    let Some(bare) = bare("taken").await else { return };
    let companion = companion();
    bare.apply(&companion.manifest(json!({"settings": {"max_message_size": "1MiB"}})))
        .await;
    companion.takes(&bare.password("").await);
    bare.broker_becomes("False", "Starting").await;
    bare.pod_says(json!({"conditions": [{"type": "Ready", "status": "True"}]}))
        .await;
    let not_yet = "has not taken the changed settings yet";
    bare.resources.says("Broker", "main", not_yet, SOON).await;
    bring(&bare, &companion, "max_message_size = \"1MiB\"").await;
    bare.broker_becomes("True", "Synced").await;

    // One of them is not for this broker: its segments are larger than those that the operator knows of.
    bare.apply(&companion.manifest(json!({"settings": {"disk_free_limit": "200MiB", "heartbeat": "9s"}})))
        .await;
    bare.resources.says("Broker", "main", not_yet, SOON).await;
    bring(&bare, &companion, "disk_free_limit").await;
    let message = bare.broker_becomes("False", "InvalidArgument").await;
    let words =
        "the broker refuses its settings and goes on with those before: setting disk_free_limit: '200MiB' is not";
    assert!(message.starts_with(words), "{message}");

    bare.apply(&companion.manifest(json!({"settings": {"heartbeat": "9s"}})))
        .await;
    bare.resources.says("Broker", "main", not_yet, SOON).await;
    bring(&bare, &companion, "heartbeat").await;
    bare.broker_becomes("True", "Synced").await;
}
