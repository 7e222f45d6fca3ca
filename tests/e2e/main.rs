//! The way a user meets it, on a node with real pods: install, a broker with a volume, topology, messages while the
//! broker is taken away in every manner, upgrade, uninstall.
//!
//! In: the node that `run.sh` has started (`make e2e`), with the images on it. Out: every confirmed message, and how
//! long things took. Without such a node this is skipped with the reason printed.
//! Does not know about the programs' insides.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::place;
use harness::wait::{eventually, until};
use serde_json::json;

use client_pod::ClientPod;
use node::{NAMESPACE, Node, SOON, node};
use sender::Sender;

/// A client as a pod: it finds the broker as an application does, by the Secret, and says in its log what was
/// confirmed.
mod client_pod;

/// A volume that grows under a running broker.
mod grow;

/// A volume that is lost: the claim is deleted under the broker, and another pod starts on an empty one.
mod lost;

/// The node with real pods, and what can be done to a broker on it.
mod node;

/// A client beside the cluster: it sends without end and remembers what was confirmed.
mod sender;

/// Sends numbered messages without end, and tells which were confirmed, whatever happens to the broker.
mod sending;

/// The queue of the client beside the cluster, and of one in it.
const QUEUE: &str = "invoices";
const POD_QUEUE: &str = "shipments";
/// The queue of one that has no password.
const TOKEN_QUEUE: &str = "receipts";

/// A way to take the broker away, until it is back.
type Blow = (&'static str, fn(&Node));

const BLOWS: [Blow; 6] = [
    ("process killed", Node::kill_process),
    // The kubelet would wait now: the operator has another pod made.
    ("process killed again", |node| {
        let before = node.pod_uid();
        // Less would count as a process that never got through its start.
        std::thread::sleep(Duration::from_secs(11));
        node.kill_container("main-0");
        node.replaced(&before);
    }),
    ("pod deleted", |node| {
        let before = node.pod_uid();
        node.kubectl(&["delete", "pod", "main-0"]);
        node.replaced(&before);
    }),
    ("pod deleted by force", |node| {
        let before = node.pod_uid();
        node.kubectl(&["delete", "pod", "main-0", "--grace-period=0", "--force"]);
        node.replaced(&before);
    }),
    ("pod evicted", |node| {
        let before = node.pod_uid();
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": "main-0", "namespace": NAMESPACE}});
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/main-0/eviction");
        let said = node
            .tools
            .kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
        assert!(said.well, "{}", said.all);
        node.replaced(&before);
    }),
    ("image changed", |node| {
        let before = node.pod_uid();
        let patch = r#"{"spec":{"image":"kcp.local/leveret:e2e-next"}}"#;
        node.kubectl(&["patch", "brokers.leveret.dev", "main", "--type=merge", "-p", patch]);
        node.replaced(&before);
    }),
];

fn topology(node: &Node) {
    let start = Instant::now();
    let path = place::repository().join("examples/orders/topology.yaml");
    node.kubectl(&["apply", "-f", &path.display().to_string()]);
    for kind in ["exchanges", "queues", "bindings"] {
        let all = format!("{kind}.leveret.dev");
        node.kubectl(&["wait", &all, "--all", "--for=condition=Ready", "--timeout=60s"]);
    }
    println!("topology ready after {:.1?}", start.elapsed());
}

/// A setting that the broker takes by itself: it does, and the pod stays.
fn reload(node: &Node) {
    let before = node.pod_uid();
    let start = Instant::now();
    let patch = r#"{"spec":{"settings":{"heartbeat":"17s"}}}"#;
    node.kubectl(&["patch", "brokers.leveret.dev", "main", "--type=merge", "-p", patch]);
    eventually("the broker reads its settings anew", Duration::from_secs(150), || {
        let log = node.kubectl(&["logs", "main-0"]);
        if log.contains("settings=\"heartbeat\"") {
            Ok(())
        } else {
            Err(log)
        }
    });
    println!("a reloadable setting took effect after {:.1?}", start.elapsed());
    assert_eq!(node.pod_uid(), before, "the pod was replaced for nothing");
    // The operator has asked it.
    node.wait("brokers.leveret.dev/main");
}

/// Another image: when Helm has returned the broker has it, and is ready.
fn upgrade(node: &Node) {
    let before = node.pod_uid();
    let patch = r#"{"spec":{"image":null}}"#;
    node.kubectl(&["patch", "brokers.leveret.dev", "main", "--type=merge", "-p", patch]);
    node.replaced(&before);
    node.wait("brokers.leveret.dev/main");
    let took = node.helm("upgrade", &["--set", "operator.log=debug,image.tag=e2e-next"]);
    println!("helm upgrade --wait, with the broker: {took:.1?}");
    let path = "jsonpath={.spec.containers[0].image} {.status.conditions[?(@.type==\"Ready\")].status}";
    let pod = node.kubectl(&["get", "pod", "main-0", "-o", path]);
    assert_eq!(pod, "kcp.local/leveret:e2e-next True");
}

fn all_found(who: &str, confirmed: &BTreeSet<u64>, found: &BTreeSet<u64>) {
    let lost: Vec<u64> = confirmed.difference(found).copied().collect();
    println!(
        "{who}: {} confirmed, {} found, {} lost",
        confirmed.len(),
        found.len(),
        lost.len()
    );
    assert!(
        confirmed.len() > 100 && lost.is_empty(),
        "confirmed, but not there: {lost:?}"
    );
}

fn nothing_was_forbidden(node: &Node) {
    let log = node.kubectl(&["logs", "deployment/leveret"]);
    let lines = log.lines();
    let refused: Vec<&str> = lines.filter(|line| line.to_lowercase().contains("forbidden")).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

fn uninstall(node: &Node) {
    let start = Instant::now();
    let release = ["uninstall", "leveret", "-n", NAMESPACE, "--wait", "--timeout", "3m"];
    node.tools.helm_well(&release);
    println!("helm uninstall --wait: {:.1?}", start.elapsed());
    let left = node.kubectl(&["get", "leveret", "-o", "jsonpath={.items[*].metadata.finalizers}"]);
    assert_eq!(left, "", "no finalizer waits for an operator that is gone");
}

/// An installation of an older chart comes up to date by its hook, on a cluster that knows the older definitions. No
/// operator runs before: this version's may not read kinds that the older chart has no rights for.
fn from_an_older_chart(node: &Node) {
    let names = ["brokers", "exchanges", "queues", "bindings", "vhosts"].map(|kind| format!("{kind}.leveret.dev"));
    let names = names.each_ref().map(String::as_str);
    node.tools
        .kubectl_well(&[&["delete", "crds", "--timeout=60s"], &names[..]].concat());
    let old = place::repository().join("tests/charts/fixtures/leveret-0.0.9.tgz");
    let nothing_runs = ["--set", "broker.create=false,operator.replicas=0"];
    node.helm_of("install", &old.display().to_string(), &nothing_runs);
    let fields = |what: &str| node.tools.kubectl(&["explain", what], "").well;
    // The API server publishes what it knows a moment after it knows it.
    for newer in ["brokers.spec.settings", "vhosts.spec"] {
        until(&format!("the older definitions don't know {newer}"), SOON, || {
            !fields(newer)
        });
    }
    let took = node.helm("upgrade", &["--set", "broker.spec.settings.log=info"]);
    println!("helm upgrade --wait from an older chart, with a Broker: {took:.1?}");
    for newer in ["brokers.spec.settings", "vhosts.spec"] {
        until(&format!("the definitions know {newer}"), SOON, || fields(newer));
    }
    node.wait("brokers.leveret.dev/main");
    nothing_was_forbidden(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_install_to_uninstall() {
    let Some(node) = node() else { return };
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that it is installed already
    node.volume("broker");
    let start = Instant::now();
    println!("helm install --wait with a Broker: {:.1?}", node.helm("install", &[]));
    topology(&node);
    let sender = Sender::start(node.uri(), QUEUE);
    sender.confirms_more(SOON).await;
    println!("helm install to the first confirmed message: {:.1?}", start.elapsed());
    let pod = ClientPod::start(&node, POD_QUEUE);
    let start = Instant::now();
    let token_pod = ClientPod::start_with_token(&node, TOKEN_QUEUE);
    println!("from YAML to a login without a password: {:.1?}", start.elapsed());
    node.tools.helm_well(&["test", "leveret", "-n", NAMESPACE]);

    for (what, blow) in BLOWS {
        sender.forget_pause();
        let from = pod.last();
        tokio::task::block_in_place(|| blow(&node));
        sender.confirms_more(SOON).await;
        // What it has confirmed since then may have been before the blow.
        pod.confirms_more(pod.last());
        let (outside, inside) = (sender.longest_pause(), pod.longest_pause(from));
        println!("{what}: longest time without a confirm {outside:.1?}, in the cluster {inside:.1?}");
    }
    reload(&node);
    upgrade(&node);
    sender.confirms_more(SOON).await;
    pod.confirms_more(pod.last());
    token_pod.confirms_more(token_pod.last());

    let confirmed = sender.stop().await;
    all_found(
        "beside the cluster",
        &confirmed,
        &sender::drain(&node.uri(), QUEUE).await,
    );
    let confirmed = pod.stop();
    all_found(
        "in the cluster",
        &confirmed,
        &sender::drain(&node.uri(), POD_QUEUE).await,
    );
    let confirmed = token_pod.stop();
    all_found(
        "in the cluster, by its token",
        &confirmed,
        &sender::drain(&node.uri(), TOKEN_QUEUE).await,
    );
    lost::volume(&node);
    nothing_was_forbidden(&node);

    uninstall(&node);
    let claims = node.kubectl(&["get", "persistentvolumeclaims", "-o", "name"]);
    assert!(claims.contains("data-main-0"), "the volume stays: {claims}");
    from_an_older_chart(&node);
    uninstall(&node);
    node.tools
        .kubectl_well(&["delete", "namespace", NAMESPACE, "--timeout=90s"]);
}
