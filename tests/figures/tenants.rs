//! A thousand tenants at once, each with a virtual host, a user and a policy; and then nothing to do.

use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::Broker;
use harness::api_server::{Resources, api_server};
use harness::kubectl::Tools;
use harness::operator_process::Operator;
use serde_json::{Value, json};

use crate::{all_ready, asked, counted, create, main_broker};

const TENANTS: usize = 1_000;
/// The promise, on two cores that do nothing else.
const PROMISE: Duration = Duration::from_secs(15);
/// A time in which nothing may happen.
const IDLE: Duration = Duration::from_secs(45);

fn manifest(kind: &str, number: usize) -> Value {
    let vhost = format!("tenant-{number}");
    let mut spec = match kind {
        "Vhost" => json!({"deletionPolicy": "Delete"}),
        "User" => json!({"permissions": [{"vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}]}),
        _ => json!({"vhost": vhost, "pattern": ".*", "definition": {"max-length": 1000}}),
    };
    spec["brokerRef"] = json!({"name": "main"});
    json!({"apiVersion": "leveret.dev/v1alpha1", "kind": kind, "metadata": {"name": vhost}, "spec": spec})
}

/// Writes to the API server, and calls of the broker that are no lists.
fn done(operator: &Operator) -> (u64, u64) {
    let calls = counted(operator, "leveret_operator_broker_calls_total", "");
    let lists = counted(operator, "leveret_operator_broker_calls_total", "operation=\"list\"");
    (
        counted(operator, "leveret_operator_api_writes_total", ""),
        calls - lists,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_thousand_tenants_cost() {
    if !asked() {
        return;
    }
    let Some(cluster) = api_server() else { return };
    let tools = Tools::at(cluster.clone());
    let client = cluster.client().await;
    let namespace = cluster.namespace(&client, "tenants").await;
    let resources = Resources::new(&client, &namespace);
    let broker = Broker::start();
    let operator = Operator::start(&cluster, &namespace, &["--leader-election", "false"]);
    tools.apply(&namespace, &main_broker(&broker), &[]);
    const KINDS: [&str; 3] = ["Vhost", "User", "Policy"];
    let start = Instant::now();
    let made = KINDS.map(|kind| create(&resources, kind, (0..TENANTS).map(move |number| manifest(kind, number))));
    join_all(made).await;
    let posted = start.elapsed();
    join_all(KINDS.map(|kind| all_ready(&resources, kind, TENANTS))).await;
    let took = start.elapsed();
    println!("{TENANTS} users, vhosts and policies: all Ready after {took:.1?}; the last was made after {posted:.1?}");
    if std::env::var("LEVERET_SHOW").is_ok() {
        println!("{}", operator.serve().request("GET", "/metrics", None).body);
    }
    let (writes, calls) = done(&operator);
    let lists = counted(&operator, "leveret_operator_broker_calls_total", "operation=\"list\"");
    println!("{writes} writes to the API server, {calls} calls of the broker, {lists} lists of it");
    assert!(took < PROMISE * 8, "{took:?}");
    // Events come a little later.
    let mut before = done(&operator);
    loop {
        tokio::time::sleep(Duration::from_secs(15)).await;
        let now = done(&operator);
        if std::mem::replace(&mut before, now) == now {
            break;
        }
        assert!(
            start.elapsed() < took + Duration::from_secs(120),
            "writing goes on and on"
        );
    }
    tokio::time::sleep(IDLE).await;
    let after = done(&operator);
    println!(
        "in {IDLE:?} after that {} writes and {} calls",
        after.0 - before.0,
        after.1 - before.1
    );
    assert_eq!(before, after, "nothing is done while nothing changes");
    drop(operator);
    let start = Instant::now();
    let operator = Operator::start(&cluster, &namespace, &["--leader-election", "false"]);
    let known = || counted(&operator, "leveret_operator_objects", "kind=\"User\",ready=\"true\"");
    harness::wait::until("all are known again", Duration::from_secs(60), || {
        known() == TENANTS as u64
    });
    println!(
        "all of them known again {:.1?} after a start, with {:?} writes and calls",
        start.elapsed(),
        done(&operator)
    );
}
