//! (client) Keeps all brokers that the operator runs: a pass over a broker when it or one of its objects has changed.
//!
//! In: the source's `Broker`s, the ports that ZeroMQ sockets have at them, and changes of what was made. Out: objects
//! as declared, and an `EngineState` for each broker. Nothing is watched before there is a broker to run. Does not know
//! about what the objects are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::children::{Children, Seen};
use super::cluster_keys::{ClusterKeys, Known};
use super::keeper::{self, Keeper, Problem, Settings, Tools};
use super::turn::{Bell, turn};
use crate::engine::{ChildKind, names, pods};
use crate::metrics::Metrics;
use crate::object::{EngineState, Object, ObjectKey, PAUSED, Reason, Snapshot, is_set};
use crate::resource::{BrokerSpec, Engine};
use crate::source::Source;
use crate::source::dereference::tls_problem;
use crate::source::kubernetes::Kubernetes;

/// Longest wait for the first answer of the API server.
const FIRST_READ: Duration = Duration::from_secs(10);
/// Brokers that are worked on at the same time.
const AT_ONCE: usize = 8;
/// Pause after a change, in which others come.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// First and longest pause after a problem.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A volume that is asked to grow, and other things that no watch tells of, are looked at so often.
const REVIEW: Duration = Duration::from_secs(300);
/// As long as it can't grow because there is none yet.
const UNBOUND: Duration = Duration::from_secs(5);

/// One broker.
struct Kept {
    keeper: Keeper,
    /// The inputs of the last pass; `None` when another one is due whatever happens.
    made_for: Option<Inputs>,
    problem: Option<Problem>,
    attempts: u32,
    due: Instant,
}

/// Everything a pass depends on.
#[derive(Clone, PartialEq)]
struct Inputs {
    uid: String,
    generation: i64,
    hands_off: bool,
    /// A Secret is not for this Broker, so nothing is made with it.
    refused: Option<String>,
    there: BTreeMap<(ChildKind, String), Seen>,
    /// The cluster as an issuer, where the broker takes its tokens.
    keys: Known,
    /// Ports of ZeroMQ sockets.
    sockets: BTreeSet<u16>,
}

/// Says which ports of a broker others reach for ZeroMQ sockets.
pub type Ports = fn(&Snapshot, &ObjectKey) -> BTreeSet<u16>;

/// Runs until `stop`; leaves everything as it is.
pub async fn run(
    client: Client,
    source: Arc<Kubernetes>,
    namespaces: Vec<String>,
    settings: Settings,
    ports: Ports,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut changed = source.changed();
    loop {
        if brokers(&source).next().is_some() {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changed.changed() => if changed.is_err() { return },
        }
    }
    let monitors = has_monitors(&client).await;
    let kinds: Vec<ChildKind> = ChildKind::COMMON
        .into_iter()
        .chain(monitors.then_some(ChildKind::ServiceMonitor))
        .collect();
    let bell = Arc::new(Bell::new());
    let mut moved = bell.changed();
    let children = Children::start(&client, &namespaces, &kinds, &bell);
    let keys = ClusterKeys::start(client.clone(), bell);
    tokio::select! {
        () = stop.cancelled() => return,
        () = children.read() => {}
        () = sleep(FIRST_READ) => warn!("StatefulSets and pods cannot be read yet"),
    }
    let tools = Tools {
        client,
        metrics,
        settings,
        monitors,
    };
    let mut kept: BTreeMap<ObjectKey, Kept> = BTreeMap::new();
    loop {
        changed.mark_unchanged();
        moved.mark_unchanged();
        pass(&tools, &source, &children, (&keys, ports), &mut kept).await;
        let due = kept.values().map(|kept| kept.due).min();
        if !turn(&stop, &mut changed, &mut moved, due, DEBOUNCE).await {
            break;
        }
    }
}

fn brokers(source: &Kubernetes) -> impl Iterator<Item = Arc<Object<BrokerSpec>>> {
    let snapshot = source.snapshot();
    let ours = |broker: &&Arc<Object<BrokerSpec>>| !snapshot.others.contains(&broker.meta.key);
    let all: Vec<_> = snapshot.iter::<BrokerSpec>().filter(ours).cloned().collect();
    // One that is being deleted and held is still looked at, and no longer changed.
    let stays = |broker: &Object<BrokerSpec>| broker.meta.deleting.is_none() || broker.meta.finalized;
    all.into_iter()
        .filter(move |broker| broker.spec.engine == Engine::Leveret && stays(broker))
}

/// True when the cluster has the Prometheus operator's CRDs. Looked at once: they come before the operator, or at its
/// next start.
async fn has_monitors(client: &Client) -> bool {
    let (group, version, kind) = ChildKind::ServiceMonitor.names();
    let resources = client.list_api_group_resources(&format!("{group}/{version}")).await;
    resources.is_ok_and(|list| list.resources.iter().any(|resource| resource.kind == kind))
}

async fn pass(
    tools: &Tools,
    source: &Kubernetes,
    children: &Children,
    (keys, ports): (&ClusterKeys, Ports),
    kept: &mut BTreeMap<ObjectKey, Kept>,
) {
    let wanted: BTreeMap<ObjectKey, Arc<Object<BrokerSpec>>> = brokers(source)
        .map(|broker| (broker.meta.key.clone(), broker))
        .collect();
    drop_others(tools, source, children, kept, &wanted).await;
    for key in wanted.keys() {
        kept.entry(key.clone()).or_insert_with(|| Kept {
            keeper: Keeper::default(),
            made_for: None,
            problem: None,
            attempts: 0,
            due: Instant::now(),
        });
    }
    let takes_tokens = |broker: &Object<BrokerSpec>| broker.spec.service_account_tokens.is_some();
    let keys = keys.known(wanted.values().any(|broker| takes_tokens(broker))).await;
    let snapshot = source.snapshot();
    stream::iter(kept.iter_mut())
        .for_each_concurrent(AT_ONCE, |(key, kept)| {
            let broker = wanted.get(key).cloned();
            let keys = keys.clone();
            let sockets = ports(&snapshot, key);
            async move {
                if let Some(broker) = broker {
                    let keys = Some(keys).filter(|_| takes_tokens(&broker)).unwrap_or_default();
                    tend(tools, source, children, &broker, (keys, sockets), kept).await;
                }
            }
        })
        .await;
}

/// Objects made for a Broker go with it by themselves; those made for one with another engine now are removed here.
async fn drop_others(
    tools: &Tools,
    source: &Kubernetes,
    children: &Children,
    kept: &mut BTreeMap<ObjectKey, Kept>,
    wanted: &BTreeMap<ObjectKey, Arc<Object<BrokerSpec>>>,
) {
    let gone: Vec<ObjectKey> = kept.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
    for key in gone {
        kept.remove(&key);
        source.set_engine(&key, None);
    }
    let snapshot = source.snapshot();
    for broker in snapshot
        .iter::<BrokerSpec>()
        .filter(|broker| broker.spec.engine != Engine::Leveret && !snapshot.others.contains(&broker.meta.key))
    {
        let there = children.of(&broker.meta.key);
        if !there.is_empty()
            && let Err(problem) = Keeper::default().remove(tools, broker, &there).await
        {
            warn!(broker = %broker.meta.key, why = problem.message, "what was made for it cannot be removed");
        }
    }
}

async fn tend(
    tools: &Tools,
    source: &Kubernetes,
    children: &Children,
    broker: &Object<BrokerSpec>,
    (keys, sockets): (Known, BTreeSet<u16>),
    kept: &mut Kept,
) {
    let key = &broker.meta.key;
    let hands_off = is_set(&broker.meta.annotations, PAUSED) || broker.meta.deleting.is_some();
    let certificates = tls_problem(broker, source).await;
    let refused = certificates
        .as_ref()
        .filter(|(reason, _)| *reason == Reason::NotAllowed)
        .map(|(_, text)| text.clone());
    let inputs = Inputs {
        uid: broker.meta.uid.clone(),
        generation: broker.meta.generation,
        hands_off,
        refused,
        there: children.of(key),
        keys,
        sockets,
    };
    let set = children.set(key);
    if kept.made_for.is_none() {
        // Before anything is made: no connection must be tried to a broker whose Service is not there yet.
        let pending = pods::pending(set.as_deref(), children.pod(key).as_deref());
        source.set_engine(key, Some(state(broker, kept, None, pending, children.has_run(key))));
    }
    if kept.made_for.as_ref() != Some(&inputs) || kept.due <= Instant::now() {
        let size = set.as_deref().and_then(volume_size);
        let result = match (hands_off, &inputs.refused) {
            (true, _) => Ok(keeper::Outcome::Whole),
            (false, Some(text)) => Err(Problem::new(Reason::NotAllowed, text.clone())),
            (false, None) => {
                let Inputs {
                    there, keys, sockets, ..
                } = &inputs;
                let keeper = &mut kept.keeper;
                keeper.keep(tools, broker, there, size.as_ref(), keys, sockets).await
            }
        };
        after(kept, key, inputs, result);
    }
    // Certificates that are missing are no reason not to apply the rest: the pod waits for them by itself.
    let problem = kept.problem.clone().map(|problem| (problem.reason, problem.message));
    let pod = children.pod(key);
    if let Some(uid) = pod.as_deref().and_then(pods::held_back).filter(|_| !hands_off)
        && let Err(problem) = Keeper::replace_pod(tools, broker, uid).await
    {
        warn!(broker = %key, why = problem.message, "its pod cannot be replaced; it is restarted later");
    }
    // What the watch shows may be older than what was applied.
    let applied = kept.keeper.applied_generation(broker);
    let set = set.filter(|set| set.metadata.generation >= applied);
    let problem = problem.or(certificates);
    let pending = pods::pending(set.as_deref(), pod.as_deref());
    source.set_engine(key, Some(state(broker, kept, problem, pending, children.has_run(key))));
}

fn state(
    broker: &Object<BrokerSpec>,
    kept: &Kept,
    problem: Option<(Reason, String)>,
    pending: Option<(Reason, String)>,
    has_run: bool,
) -> EngineState {
    // Where nothing is written, the broker is asked about nothing.
    let writes = !is_set(&broker.meta.annotations, PAUSED) && broker.meta.deleting.is_none();
    EngineState {
        generation: broker.meta.generation,
        problem,
        pending,
        persistent: broker.spec.storage.is_some(),
        has_run,
        settings: writes.then(|| kept.keeper.settings_mark(broker)).flatten(),
        credentials: Some(names::admin(&broker.meta.key)),
    }
}

fn after(kept: &mut Kept, key: &ObjectKey, inputs: Inputs, result: Result<keeper::Outcome, Problem>) {
    let later = matches!(result, Ok(keeper::Outcome::GrowsLater));
    let problem = result.err();
    if let Some(problem) = problem
        .as_ref()
        .filter(|problem| kept.problem.as_ref() != Some(*problem))
    {
        warn!(broker = %key, reason = %problem.reason, "{}", problem.message);
    }
    kept.attempts = if problem.is_some() {
        kept.attempts.saturating_add(1)
    } else {
        0
    };
    let pause = match &problem {
        Some(_) => (RETRY.0 * 2_u32.saturating_pow(kept.attempts.min(8))).min(RETRY.1),
        None if later => UNBOUND,
        None => REVIEW,
    };
    kept.due = Instant::now() + pause;
    kept.made_for = Some(inputs);
    kept.problem = problem;
}

/// The volume's size in the StatefulSet that is there.
fn volume_size(set: &k8s_openapi::api::apps::v1::StatefulSet) -> Option<Value> {
    let templates = set.spec.volume_claim_templates.as_ref()?;
    let claim = templates
        .iter()
        .find(|claim| claim.metadata.name.as_deref() == Some("data"))?;
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| Value::String(size.0.clone()))
}
