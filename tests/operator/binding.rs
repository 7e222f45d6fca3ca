//! Bindings: edited without a gap, removed, restored with their ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::requests::{mandatory, no_properties, passive};
use harness::wait::until;
use harness::{Client, call};
use serde_json::{Value, json};

use crate::{SOON, stage};

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_key_takes_the_old_ones_place() {
    let Some(stage) = stage("edit").await else { return };
    for manifest in [
        stage.exchange("x", "topic"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "old.#"),
    ] {
        stage.synced(&manifest).await;
    }
    stage.synced(&stage.binding("b", "x", "q", "new.#")).await;
    until("only the new key is bound", SOON, || stage.keys("x", "q") == ["new.#"]);
}

/// A flag that is raised when this goes.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While the key changes from `a.#` to `#`, messages with the key `a.b` are published all the time: the new binding
/// stands before the old one goes, so all of them arrive.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_while_a_key_changes() {
    let Some(stage) = stage("gapless").await else { return };
    for manifest in [
        stage.exchange("x", "topic"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "a.#"),
    ] {
        stage.synced(&manifest).await;
    }
    let (exchange, queue, address) = (stage.name("x"), stage.name("q"), stage.broker.amqp());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = Client::with_channel(address);
            let mut sent = 0u32;
            while !stop.load(Ordering::Relaxed) {
                client.publish_with(1, mandatory(&exchange, "a.b"), &no_properties(), b"x");
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            client.quiet(Duration::from_millis(200)); // nothing was returned
            sent
        });
        let publisher_ends = Raised(&stop); // also when a check below fails
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for key in ["#", "a.*", "a.#", "#.b"] {
                    stage.synced(&stage.binding("b", "x", "q", key)).await;
                    until("only that key is bound", SOON, || stage.keys("x", "q") == [key]);
                }
            });
        });
        drop(publisher_ends);
        let sent = publisher.join().expect("nothing was returned");
        let mut client = stage.amqp();
        let arrived = || call!(client, 1, passive(&queue) => QueueDeclareOk).message_count;
        let mut arrived = arrived;
        until("all have arrived", SOON, || arrived() == sent);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_binding_is_unbound() {
    let Some(stage) = stage("unbind").await else { return };
    let manifests = [
        stage.exchange("x", "direct"),
        stage.queue("q"),
        stage.binding("one", "x", "q", "1"),
        stage.binding("two", "x", "q", "2"),
    ];
    for manifest in &manifests {
        stage.synced(manifest).await;
    }
    stage.resources.delete("Binding", "one").await;
    stage.resources.goes("Binding", "one", SOON).await;
    assert_eq!(stage.keys("x", "q"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_leaves_its_binding_waiting() {
    let Some(stage) = stage("waiting").await else { return };
    for manifest in [
        stage.exchange("x", "direct"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "k"),
    ] {
        stage.synced(&manifest).await;
    }
    stage.resources.delete("Queue", "q").await;
    stage.resources.goes("Queue", "q", SOON).await;
    stage
        .resources
        .becomes("Binding", "b", "Unknown", "WaitingForDestination", SOON)
        .await;
    stage.synced(&stage.queue("q")).await;
    stage.resources.becomes("Binding", "b", "True", "Synced", SOON).await;
    assert_eq!(stage.keys("x", "q"), ["k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_that_differ_in_arguments_only_are_told_apart() {
    let Some(stage) = stage("arguments").await else { return };
    for manifest in [stage.exchange("x", "headers"), stage.queue("q")] {
        stage.synced(&manifest).await;
    }
    let binding = |name: &str, arguments: Value| {
        let destination = json!({"queue": stage.name("q")});
        let spec = json!({"source": stage.name("x"), "destination": destination, "arguments": arguments});
        stage.manifest("Binding", name, spec)
    };
    let long = |end: &str| json!({"x-match": "all", "text": "y".repeat(300) + end});
    let both = format!("exchange '{}' to queue '{}'", stage.name("x"), stage.name("q"));
    let mut texts = Vec::new();
    for (name, arguments, words) in [
        (
            "red",
            json!({"x-match": "all", "colour": "red"}),
            r#" with colour="red", x-match="all" "#,
        ),
        (
            "two",
            json!({"size": 2, "x-match": "any"}),
            r#" with size=2, x-match="any" "#,
        ),
        ("long", long("a"), "... (#"),
        ("longer", long("b"), "... (#"),
    ] {
        stage.synced(&binding(name, arguments)).await;
        let message = stage.resources.ready("Binding", name).await.expect("a status").message;
        assert!(message.contains(&both) && message.contains(words), "{message}");
        assert!(message.len() < 400, "{message}");
        texts.push(message);
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4, "{texts:?}");
    // The one that is deleted goes, and no other.
    let path = format!("/api/bindings/%2F/e/{}/q/{}", stage.name("x"), stage.name("q"));
    stage.resources.delete("Binding", "red").await;
    stage.resources.goes("Binding", "red", SOON).await;
    let left = stage.http().get(&path);
    let left: Vec<&Value> = left
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| &row["arguments"])
        .collect();
    assert_eq!(left.len(), 3);
    assert!(
        left.iter().all(|arguments| arguments.get("colour").is_none()),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_exchanges_are_bound_too() {
    let Some(stage) = stage("kinds").await else { return };
    for manifest in [
        stage.exchange("from", "headers"),
        stage.exchange("to", "fanout"),
        stage.queue("q"),
    ] {
        stage.synced(&manifest).await;
    }
    let spec = json!({
        "source": stage.name("from"),
        "destination": {"exchange": stage.name("to")},
        "arguments": {"x-match": "any", "colour": "red", "size": 7},
    });
    stage.synced(&stage.manifest("Binding", "exchanges", spec)).await;
    stage.synced(&stage.binding("queue", "to", "q", "")).await;
    let path = format!("/api/bindings/%2F/e/{}/e/{}", stage.name("from"), stage.name("to"));
    let bindings = stage.http().get(&path);
    assert_eq!(
        bindings[0]["arguments"],
        json!({"x-match": "any", "colour": "red", "size": 7})
    );
}
