//! What `kubectl get` and `kubectl explain` show.

use std::collections::BTreeSet;

use harness::kubectl::Tools;
use serde_json::json;

use crate::{SOON, manifest, stage, text};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_matters_under_names_that_are_used_once() {
    let Some(stage) = stage("columns").await else { return };
    let Some(tools) = Tools::new() else { return };
    for manifest in [
        stage.exchange("x", "topic"),
        stage.exchange("y", "fanout"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "k.#"),
        stage.manifest("User", "u", json!({"name": stage.name("u")})),
        stage.manifest(
            "ZeroMqSocket",
            "z",
            json!({"name": stage.name("z"), "type": "pull", "port": 0, "address": "127.0.0.1",
                "queue": stage.name("q"), "user": "guest"}),
        ),
    ] {
        stage.synced(&manifest).await;
    }
    let mut to_exchange = stage.binding("between", "x", "q", "");
    to_exchange["spec"]["destination"] = json!({"exchange": stage.name("y")});
    stage.synced(&to_exchange).await;
    let get = |arguments: &[&str]| tools.kubectl_well(&[&["-n", &stage.namespace, "get"], arguments].concat());
    for (short, name, columns) in [
        ("lvb", "main", "NAME ENGINE VERSION OBJECTS READY REASON AGE"),
        ("lvu", "u", "NAME BROKER READY REASON AGE"),
        ("lvx", "x", "NAME BROKER VHOST TYPE READY REASON AGE"),
        ("lvq", "q", "NAME BROKER VHOST TYPE READY REASON AGE"),
        ("lvz", "z", "NAME BROKER VHOST TYPE ADDRESS READY REASON AGE"),
        (
            "lvbind",
            "b",
            "NAME BROKER VHOST SOURCE KEY QUEUE EXCHANGE READY REASON AGE",
        ),
    ] {
        let header = |table: &str| -> Vec<String> {
            let first = table.lines().next().unwrap_or_default();
            first.split_whitespace().map(str::to_owned).collect()
        };
        let table = get(&[short]);
        assert_eq!(header(&table).join(" "), columns);
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert!(
            row.is_some_and(|row| row.contains(" True ") && row.contains("Synced")),
            "{table}"
        );
        let wide = header(&get(&[short, "-o", "wide"]));
        assert!(wide.len() > columns.split(' ').count(), "{wide:?}");
        assert_eq!(
            wide.iter().collect::<BTreeSet<_>>().len(),
            wide.len(),
            "twice: {wide:?}"
        );
    }
    let row = get(&["lvbind", "between", "--no-headers"]);
    assert!(row.contains(&stage.name("y")), "the destination is shown: {row}");
    let all = get(&["leveret", "-o", "name"]);
    assert_eq!(all.lines().count(), 8, "the category has all kinds: {all}");

    // The name on the broker is that of the resource unless it says otherwise, and durable unless it says otherwise.
    let plain = manifest("Queue", "columns-plain", json!({"brokerRef": {"name": "main"}}));
    stage.apply(&plain).await;
    stage
        .resources
        .becomes("Queue", "columns-plain", "True", "Synced", SOON)
        .await;
    let queue = stage.http().get("/api/queues/%2F/columns-plain");
    assert_eq!(
        (text(&queue, "/name"), &queue["durable"]),
        ("columns-plain".to_owned(), &json!(true))
    );
    stage.resources.delete("Queue", "columns-plain").await;
    stage.resources.goes("Queue", "columns-plain", SOON).await;
    let explained = tools.kubectl_well(&["explain", "brokers.spec.settings"]);
    assert!(explained.contains("max_message_size"), "{explained}");
}
