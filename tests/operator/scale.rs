//! A thousand queues and bindings at once, and then nothing to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use harness::api_server::api_server;
use harness::http::Http;
use harness::operator_process::Operator;
use harness::wait::eventually_async;
use serde_json::{Value, json};

use crate::{SOON, Stage, stage};

const COUNT: usize = 1000;

/// The time during which nothing may happen.
const IDLE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_become_ready_and_then_there_is_silence() {
    let Some(stage) = stage("scale").await else { return };
    let start = Instant::now();
    let exchange = stage.exchange("x", "topic");
    let queues = (0..COUNT).map(|n| stage.queue(&format!("q-{n}")));
    let bindings = (0..COUNT).map(|n| stage.binding(&format!("b-{n}"), "x", &format!("q-{n}"), &format!("key.{n}.#")));
    let all: Vec<Value> = bindings.chain(queues).chain([exchange]).collect();
    stream::iter(&all)
        .for_each_concurrent(16, |manifest| stage.apply(manifest))
        .await;
    println!("{} objects applied after {:?}", all.len(), start.elapsed());
    let ready = || async {
        let counts = (not_ready(&stage, "Queue").await, not_ready(&stage, "Binding").await);
        if counts == (0, 0) { Ok(()) } else { Err(counts) }
    };
    eventually_async("all are ready", Duration::from_secs(120), ready).await;
    println!("all of them ready after {:?}", start.elapsed());
    let bound = stage
        .http()
        .get(&format!("/api/exchanges/%2F/{}/bindings/source", stage.name("x")));
    assert_eq!(bound.as_array().map(Vec::len), Some(COUNT));

    let (before, declares) = (settled(&stage).await, declares(&stage.http()));
    tokio::time::sleep(IDLE).await;
    let after = versions(&stage).await;
    let changed: Vec<&String> = after
        .iter()
        .filter(|(object, now)| before.get(*object) != Some(now))
        .map(|(object, _)| object)
        .collect();
    if let Some(first) = changed.first() {
        panic!(
            "written while idle: {changed:?}\n{:?}\n{:?}",
            before.get(*first),
            after.get(*first)
        );
    }
    if !stage.broker.is_external() {
        assert_eq!(self::declares(&stage.http()), declares, "declared while idle");
    }
    remove(&stage, &all).await;
}

/// All that stands is known by one list: a new operator declares nothing of it again, and what is new waits for
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_many_objects_declares_none_of_them_again() {
    const MANY: usize = 500;
    let Some(mut stage) = stage("restart").await else {
        return;
    };
    let Some(cluster) = api_server() else { return };
    let all: Vec<Value> = (0..MANY).map(|n| stage.queue(&format!("q-{n}"))).collect();
    stream::iter(&all)
        .for_each_concurrent(16, |manifest| stage.apply(manifest))
        .await;
    for number in 0..MANY {
        let name = format!("q-{number}");
        stage
            .resources
            .becomes("Queue", &name, "True", "Synced", SOON * 3)
            .await;
    }
    assert!(stage.operator.terminate(SOON).success());
    let before = declares(&stage.http());
    stage.apply(&stage.queue("new")).await;
    stage.operator = Operator::start(&cluster, &stage.namespace, &["--leader-election", "false"]);
    let start = Instant::now();
    stage.resources.becomes("Queue", "new", "True", "Synced", SOON).await;
    println!(
        "a new queue beside {MANY} was ready {:?} after the operator",
        start.elapsed()
    );
    if !stage.broker.is_external() {
        // The new one, and the operator's own of events.
        let new = declares(&stage.http())
            .as_u64()
            .zip(before.as_u64())
            .map(|(now, before)| now - before);
        assert!(new.is_some_and(|new| new <= 2), "declared again: {new:?}");
    }
    let all: Vec<Value> = all.into_iter().chain([stage.queue("new")]).collect();
    remove(&stage, &all).await;
}

async fn not_ready(stage: &Stage, kind: &str) -> usize {
    let objects = stage
        .resources
        .api(kind)
        .list(&Default::default())
        .await
        .expect("a list");
    let ready = |object: &&kube::api::DynamicObject| {
        harness::api_server::condition(object).is_some_and(|condition| condition.status == "True")
    };
    COUNT - objects.items.iter().filter(ready).count()
}

/// True when the Broker's status counts no message any more: those in the operator's own queue of events, of which a
/// slow machine may have left some at the last look, are told once more when they are gone.
fn counts_none(versions: &BTreeMap<String, String>) -> bool {
    let brokers = versions.iter().filter(|(object, _)| object.starts_with("Broker "));
    let mut statuses = brokers.filter_map(|(_, json)| serde_json::from_str::<Value>(json).ok());
    statuses.all(|broker| broker.pointer("/status/messages").is_none_or(|count| count == 0))
}

/// The state once nothing has been written for three seconds: the last to become ready has been seen by all.
async fn settled(stage: &Stage) -> BTreeMap<String, String> {
    let start = Instant::now();
    let mut before = versions(stage).await;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = versions(stage).await;
        if now == before && counts_none(&now) {
            println!("nothing more was written after {:?}", start.elapsed());
            return now;
        }
        assert!(start.elapsed() < IDLE, "writing goes on and on");
        before = now;
    }
}

/// Every object of the namespace, events included, with its version and all else.
async fn versions(stage: &Stage) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for kind in ["Broker", "Exchange", "Queue", "Binding", "Event"] {
        let objects = stage
            .resources
            .api(kind)
            .list(&Default::default())
            .await
            .expect("a list");
        for object in objects.items {
            let name = object.metadata.name.clone().unwrap_or_default();
            versions.insert(
                format!("{kind} {name}"),
                serde_json::to_string(&object).expect("an object is JSON"),
            );
        }
    }
    versions
}

/// Declarations of queues, as the broker counts them.
fn declares(http: &Http) -> Value {
    http.get("/api/overview")
        .pointer("/churn_rates/queue_declared")
        .cloned()
        .unwrap_or(json!(null))
}

/// A broker that others use too is left as it was.
async fn remove(stage: &Stage, all: &[Value]) {
    if !stage.broker.is_external() {
        return;
    }
    for kind in ["Binding", "Queue", "Exchange"] {
        let api = stage.resources.api(kind);
        api.delete_collection(&Default::default(), &Default::default())
            .await
            .expect("a deletion");
    }
    let gone = || async {
        let left = stage
            .resources
            .api("Queue")
            .list(&Default::default())
            .await
            .expect("a list")
            .items
            .len();
        if left == 0 { Ok(()) } else { Err(left) }
    };
    eventually_async(
        &format!("{} objects are gone", all.len()),
        Duration::from_secs(120),
        gone,
    )
    .await;
}
