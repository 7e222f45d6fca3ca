//! A volume that is lost: the claim is deleted under the broker, and another pod starts on an empty one.
//!
//! In: a node with topology on its broker. Out: how long after the new broker's first answer everything is declared
//! again. Does not know who declares it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use harness::http::Http;
use harness::wait::eventually;
use serde_json::Value;

use crate::node::{Node, SOON};

/// The time that is promised.
const DECLARED: Duration = Duration::from_secs(10);
const CLAIM: &str = "data-main-0";

/// The API of the pod that runs, without a Service in between, which would wait for its readiness.
fn api(node: &Node) -> Option<Http> {
    let address = node.kubectl(&[
        "get",
        "pod",
        "main-0",
        "--ignore-not-found",
        "-o",
        "jsonpath={.status.podIP}",
    ]);
    let address: IpAddr = address.parse().ok()?;
    let (user, password) = node.credentials();
    Some(Http::with_credentials(
        SocketAddr::new(address, 15672),
        &user,
        &password,
    ))
}

/// Everything that stands on the broker but queues that somebody made for himself, under names that no second one has;
/// an error while it does not answer.
fn topology(api: &Http) -> Result<BTreeSet<String>, String> {
    let mut all = BTreeSet::new();
    for kind in ["exchanges", "queues", "bindings"] {
        let answer = api.try_request("GET", &format!("/api/{kind}"), None);
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(answer.body);
        }
        for object in answer.json().as_array().into_iter().flatten() {
            let fields = ["name", "source", "destination", "routing_key", "type"];
            let named: Vec<&str> = fields.iter().filter_map(|name| object[name].as_str()).collect();
            let named = named.join(" ");
            if !named.contains("amq.gen-") {
                all.insert(format!("{kind} {named}"));
            }
        }
    }
    Ok(all)
}

/// Loses the volume; what stood on it comes back, without its messages.
pub(crate) fn volume(node: &Node) {
    let before = topology(&api(node).expect("a pod")).expect("an answer");
    assert!(before.len() > 12, "the topology of the example: {before:?}");
    node.volume("spare");
    let (start, pod) = (Instant::now(), node.pod_uid());
    let claimed = |node: &Node| node.kubectl(&["get", "pvc", CLAIM, "-o", "jsonpath={.metadata.uid}"]);
    let claim = claimed(node);
    node.kubectl(&["delete", "pvc", CLAIM, "--wait=false"]);
    node.kubectl(&["delete", "pod", "main-0"]);
    let (api, _) = eventually("an address of another pod", SOON, || {
        let now = node.pod_uid();
        let other = !now.is_empty() && now != pod;
        other.then(|| api(node)).flatten().ok_or(now)
    });
    eventually("the new broker answers", SOON, || topology(&api));
    let reachable = Instant::now();
    eventually("everything is declared again", SOON, || {
        let now = topology(&api)?;
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let took = reachable.elapsed();
    println!(
        "volume lost: everything declared again {took:.1?} after the new broker's first answer, {:.1?} after the loss",
        start.elapsed()
    );
    assert!(took < DECLARED, "{took:?}");
    assert_ne!(claimed(node), claim, "it is another volume");
    node.wait("pod/main-0");
    node.wait("brokers.leveret.dev/main");
    for kind in ["exchanges", "queues", "bindings"] {
        let all = format!("{kind}.leveret.dev");
        node.kubectl(&["wait", &all, "--all", "--for=condition=Ready", "--timeout=60s"]);
    }
    let queues = api.get("/api/queues");
    let messages = |queue: &Value| queue["messages"].as_u64();
    assert!(
        queues
            .as_array()
            .into_iter()
            .flatten()
            .all(|queue| messages(queue) == Some(0)),
        "{queues}"
    );
}
