//! Changed by hand on the broker: put right in under a second.

use std::time::Duration;

use harness::call;
use harness::requests::*;
use harness::wait::until;

use crate::{SOON, Stage, stage};

/// The promise.
const SECOND: Duration = Duration::from_secs(1);

async fn topology(what: &str) -> Option<Stage> {
    let stage = stage(what).await?;
    for manifest in [
        stage.exchange("x", "topic"),
        stage.queue("q"),
        stage.binding("b", "x", "q", "k.#"),
    ] {
        stage.synced(&manifest).await;
    }
    Some(stage)
}

fn repaired(what: &str, holds: impl FnMut() -> bool) {
    let took = until(what, SOON, holds);
    println!("{what} after {took:?}");
    assert!(took < SECOND, "{what} after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_comes_back_with_its_bindings() {
    let Some(stage) = topology("queue").await else { return };
    for _ in 0..3 {
        let mut client = stage.amqp();
        call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
        repaired("the queue is back and bound", || {
            stage.has_queue("q") && stage.keys("x", "q") == ["k.#"]
        });
    }
    stage.resources.becomes("Queue", "q", "True", "Synced", SOON).await;
    stage.resources.becomes("Binding", "b", "True", "Synced", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_over_http_comes_back() {
    let Some(stage) = topology("http").await else { return };
    let path = format!("/api/queues/%2F/{}", stage.name("q"));
    assert_eq!(stage.http().request("DELETE", &path, None).status, 204);
    repaired("the queue is back", || stage.has_queue("q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_exchange_comes_back_with_its_bindings() {
    let Some(stage) = topology("exchange").await else {
        return;
    };
    let mut client = stage.amqp();
    call!(client, 1, delete_exchange(&stage.name("x")) => ExchangeDeleteOk);
    repaired("the exchange is back and bound", || {
        stage.has_exchange("x") && stage.keys("x", "q") == ["k.#"]
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_binding_comes_back() {
    let Some(stage) = topology("binding").await else { return };
    let mut client = stage.amqp();
    call!(client, 1, unbind(&stage.name("q"), &stage.name("x"), "k.#") => QueueUnbindOk);
    repaired("the binding is back", || stage.keys("x", "q") == ["k.#"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_nobody_is_left_alone() {
    let Some(stage) = topology("foreign").await else { return };
    let mut client = stage.amqp();
    let foreign = stage.name("by-hand");
    call!(client, 1, durable(&foreign) => QueueDeclareOk);
    call!(client, 1, bind(&stage.name("q"), &stage.name("x"), "by.hand") => QueueBindOk);
    call!(client, 1, delete(&stage.name("q")) => QueueDeleteOk);
    repaired("the queue is back", || stage.has_queue("q"));
    assert!(stage.has_queue("by-hand"));
    call!(client, 1, delete(&foreign) => QueueDeleteOk);
}
