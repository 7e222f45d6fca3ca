//! The time that a thousand queues take, what ten thousand objects and a gigabyte of other people's Secrets cost the
//! operator, what busy queues cost the API server, and the time to Ready after each kind of trouble.
//!
//! In: a control plane, programs built for release (`make figures` names them). Out: lines for docs/operations.md, and
//! a failure when the operator takes many times what it took when this was written. Without `LEVERET_FIGURES=1` this is
//! skipped: it takes minutes and its numbers mean little beside other work.

use std::collections::HashSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use harness::Broker;
use harness::api_server::{Resources, api_server, condition};
use harness::kubectl::Tools;
use harness::operator_process::Operator;
use harness::process;
use harness::wait::until;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

/// The operator's writes while queues are busy.
mod busy;

/// Logins, and clients that come back.
mod logins;

/// A thousand virtual hosts, users and policies.
mod tenants;

/// The time to Ready after trouble.
mod troubles;

/// Objects that `kubectl apply` brings at once.
const APPLIED: usize = 1_000;
/// Objects altogether.
const OBJECTS: usize = 10_000;
/// Secrets that no Broker names, and the bytes of each.
const SECRETS: usize = 10_000;
const SECRET_BYTES: usize = 100_000;
/// Requests to the API server at a time.
const AT_ONCE: usize = 16;
/// Resident memory that would be a mistake, MiB.
const TOO_MUCH: u64 = 200;

fn queue(number: usize) -> Value {
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Queue", "metadata": {"name": format!("q-{number}")},
        "spec": {"brokerRef": {"name": "main"}}})
}

/// Resident memory of a process, MiB.
fn resident(pid: u32) -> u64 {
    process::resident(pid) / 1024
}

async fn create(resources: &Resources, kind: &str, objects: impl Iterator<Item = Value>) {
    let api = resources.api(kind);
    let requests = objects.map(|object| {
        let api = api.clone();
        async move {
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            api.create(&PostParams::default(), &object).await.map(drop)
        }
    });
    let failed = stream::iter(requests)
        .buffer_unordered(AT_ONCE)
        .filter_map(|answer| async { answer.err() })
        .collect::<Vec<_>>()
        .await;
    assert!(failed.is_empty(), "{:?}", failed.first());
}

/// Waits until so many objects are Ready, as one watch tells it. Lists again and again would cost the API server a
/// quarter of what is measured here.
async fn all_ready(resources: &Resources, kind: &str, count: usize) {
    let watch = watcher(resources.api(kind), Config::default()).default_backoff();
    let mut watch = pin!(watch);
    let mut ready = HashSet::new();
    let mut take = |object: &DynamicObject| {
        let name = object.metadata.name.clone();
        match condition(object).is_some_and(|ready| ready.status == "True") {
            true => ready.insert(name),
            false => ready.remove(&name),
        };
        ready.len()
    };
    let all = async {
        while let Some(event) = watch.next().await {
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) if take(&object) == count => return,
                Ok(_) => {}
                Err(error) => println!("watch of {kind}: {error}"),
            }
        }
    };
    let all = timeout(Duration::from_secs(1800), all).await;
    assert!(all.is_ok(), "all {kind} objects are Ready");
}

/// The sum of a metric's samples whose labels have these words.
fn counted(operator: &Operator, name: &str, words: &str) -> u64 {
    let text = operator.serve().request("GET", "/metrics", None).body;
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(words));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Queues that the operator has found as declared.
fn known(operator: &Operator) -> u64 {
    counted(operator, "leveret_operator_objects", "kind=\"Queue\",ready=\"true\"")
}

/// True where measuring is asked for; says so where not.
fn asked() -> bool {
    let asked = std::env::var("LEVERET_FIGURES").is_ok();
    if !asked {
        harness::skip("REQUIRE_FIGURES", "measuring takes minutes: run `make figures`");
    }
    asked
}

/// The Secret and the Broker `main` of a broker that runs.
fn main_broker(broker: &Broker) -> [Value; 2] {
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "admin", "annotations": {"leveret.dev/broker": "main"}},
        "stringData": {"username": "guest", "password": "guest"}});
    let external = json!({
        "uri": format!("amqp://{}", broker.amqp()), "managementUri": format!("http://{}", broker.http()),
        "credentialsSecretRef": {"name": "admin"},
    });
    let main = json!({"apiVersion": "leveret.dev/v1alpha1", "kind": "Broker", "metadata": {"name": "main"},
        "spec": {"engine": "External", "external": external}});
    [secret, main]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_objects_cost() {
    if !asked() {
        return;
    }
    let Some(cluster) = api_server() else { return };
    let tools = Tools::at(cluster.clone());
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, "figures").await;
    let resources = Resources::new(&client, &namespace);
    let broker = Broker::start();
    let operator = Operator::start(&cluster, &namespace, &["--leader-election", "false"]);
    tools.apply(&namespace, &main_broker(&broker), &[]);
    let connected = [
        "-n",
        &namespace,
        "wait",
        "brokers.leveret.dev/main",
        "--for=condition=Ready",
        "--timeout=2m",
    ];
    tools.kubectl_well(&connected);
    println!("operator with one Broker: {} MiB", resident(operator.pid()));

    let start = Instant::now();
    tools.apply(&namespace, &(0..APPLIED).map(queue).collect::<Vec<_>>(), &[]);
    let applied = start.elapsed();
    all_ready(&resources, "Queue", APPLIED).await;
    let took = start.elapsed();
    println!(
        "kubectl apply of {APPLIED} queues: all Ready after {took:.1?}, of which kubectl itself took {applied:.1?}"
    );

    let start = Instant::now();
    create(&resources, "Queue", (APPLIED..OBJECTS).map(queue)).await;
    let posted = start.elapsed();
    all_ready(&resources, "Queue", OBJECTS).await;
    let took = start.elapsed();
    println!(
        "{OBJECTS} objects Ready, the last {} in {took:.1?}, {:.1?} after the last was made",
        OBJECTS - APPLIED,
        took - posted
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    let with_objects = resident(operator.pid());
    println!("operator with {OBJECTS} objects: {with_objects} MiB");

    let payload = "x".repeat(SECRET_BYTES);
    let secrets = (0..SECRETS).map(|number| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("other-{number}")},
            "stringData": {"payload": payload}})
    });
    create(&resources, "Secret", secrets).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let with_secrets = resident(operator.pid());
    println!("operator beside {SECRETS} Secrets of {SECRET_BYTES} bytes that no Broker names: {with_secrets} MiB");
    assert!(with_secrets < TOO_MUCH, "{with_secrets} MiB");

    // A new process, which meets all of it at once.
    drop(operator);
    let start = Instant::now();
    let operator = Operator::start(&cluster, &namespace, &["--leader-election", "false"]);
    until("all objects are known again", Duration::from_secs(60), || {
        known(&operator) == OBJECTS as u64
    });
    println!("all of them known again {:.1?} after the start", start.elapsed());
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!("the same after a restart: {} MiB", resident(operator.pid()));
    assert!(start.elapsed() < Duration::from_secs(60), "it was ready in time");
    assert!(resident(operator.pid()) < TOO_MUCH);
}
