//! Step 6 (pure): what a user is told of a resource.
//!
//! In: what came out for an [`Item`]. Out: its [`StatusReport`], as kstatus reads conditions.
//! Does not know about where statuses are written.

use std::collections::BTreeSet;

use serde_json::Value;

use super::apply::Failure;
use super::away::{Away, Endpoint};
use super::desired::{Deletion, Item, Standing, describe, is_set};
use super::difference::Verdict;
use crate::object::{
    BrokerFacts, EngineState, LastStatus, Meta, Object, ObjectKey, PAUSED, Reason, StatusReport, Tri, Usage,
};
use crate::resource::BrokerSpec;
use crate::topology::{BindingDefinition, Identity, Name};

/// The three kstatus conditions that belong to a reason: Ready, Reconciling, Stalled.
pub fn conditions(reason: Reason) -> (Tri, Tri, Tri) {
    match reason {
        Reason::Synced => (Tri::True, Tri::False, Tri::False),
        Reason::WaitingForBroker
        | Reason::WaitingForSource
        | Reason::WaitingForDestination
        | Reason::WaitingForVhost => (Tri::Unknown, Tri::True, Tri::False),
        Reason::BrokerError
        | Reason::DeletionBlocked
        | Reason::Starting
        | Reason::Unschedulable
        | Reason::ImagePull => (Tri::False, Tri::True, Tri::False),
        Reason::Paused => (Tri::Unknown, Tri::False, Tri::False),
        Reason::Conflict
        | Reason::Mismatch
        | Reason::Immutable
        | Reason::InvalidArgument
        | Reason::NotAllowed
        | Reason::Crashed => (Tri::False, Tri::False, Tri::True),
    }
}

/// The report on an item. `None` for one that is let go.
pub fn report(
    item: &Item,
    verdict: &Verdict,
    failure: Option<&Failure>,
    owned: &BTreeSet<Identity>,
    did_something: bool,
) -> Option<StatusReport> {
    let (reason, message) = match (failure, verdict) {
        (Some(failure), _) => (failure.reason, failure.message.clone()),
        (None, Verdict::Synced(identity)) => (Reason::Synced, format!("{} is as declared", describe(identity))),
        (None, Verdict::Not(reason, message) | Verdict::Disowned(reason, message)) => (*reason, message.clone()),
        (None, Verdict::Released(_)) => return None,
    };
    let (ready, reconciling, stalled) = conditions(reason);
    let last = remember(owned);
    Some(StatusReport {
        key: item.key.clone(),
        uid: item.uid.clone(),
        generation: item.generation,
        ready,
        reconciling,
        stalled,
        reason,
        message,
        name: last.name,
        vhost: last.vhost,
        applied: last.applied,
        did_something,
        broker: None,
        queue: None,
    })
}

/// What a connected broker says.
pub struct Connected<'a> {
    pub version: &'a str,
    pub endpoint: &'a Endpoint,
    pub usage: Usage,
}

/// The report on the broker itself. `counted`: resources that refer to it, and how many of them are not Ready.
pub fn broker_report(
    broker: &Object<BrokerSpec>,
    state: Result<Connected<'_>, &Away>,
    engine: Option<&EngineState>,
    counted: (usize, usize),
) -> StatusReport {
    let meta = &broker.meta;
    let paused = is_set(&meta.annotations, PAUSED);
    let trouble = engine.and_then(|engine| trouble(engine, meta));
    let (reason, message) = match (&state, trouble) {
        _ if paused => (
            Reason::Paused,
            "paused: nothing is done for it and what refers to it".to_owned(),
        ),
        (_, Some(trouble)) => trouble,
        (Ok(connected), None) => (Reason::Synced, format!("connected to {}", connected.version)),
        (Err(Away::NoBroker), None) => (Reason::WaitingForBroker, "not connected".to_owned()),
        (Err(Away::Unusable(reason, text) | Away::Unreachable(reason, text)), None) => (*reason, text.clone()),
    };
    let (ready, reconciling, stalled) = conditions(reason);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut facts = BrokerFacts {
        reachable: Some(state.is_ok().into()),
        persistent: engine.map(|engine| engine.persistent),
        credentials: engine.and_then(|engine| engine.credentials.clone()),
        objects: number(counted.0),
        not_ready: number(counted.1),
        ..BrokerFacts::default()
    };
    if let Ok(connected) = state {
        facts.version = Some(connected.version.to_owned());
        facts.endpoint = Some(connected.endpoint.amqp.clone());
        facts.management = Some(connected.endpoint.management.clone());
        facts.usage = connected.usage;
    }
    StatusReport {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        ready,
        reconciling,
        stalled,
        reason,
        message,
        name: None,
        vhost: None,
        applied: None,
        did_something: false,
        broker: Some(facts),
        queue: None,
    }
}

/// What is wrong with a broker that the operator runs. It may answer and not be as declared yet.
fn trouble(engine: &EngineState, meta: &Meta) -> Option<(Reason, String)> {
    if engine.generation < meta.generation {
        return Some((Reason::Starting, "the change is being applied".to_owned()));
    }
    engine.problem.as_ref().or(engine.pending.as_ref()).cloned()
}

/// What is said of an item while its broker is away, and when (Unix seconds) that will change by itself.
///
/// Deletion is never stuck: what cannot be reached any more counts as gone, what does not answer is waited for
/// `patience_seconds` from the beginning of the deletion.
pub fn offline(
    item: &Item,
    owned: &BTreeSet<Identity>,
    away: &Away,
    broker: &ObjectKey,
    now: i64,
    patience_seconds: i64,
) -> (Verdict, Option<i64>) {
    let waiting = Verdict::Not(Reason::WaitingForBroker, away.brief(broker));
    match &item.standing {
        Standing::Wanted(_) => (waiting, None),
        Standing::Paused => (
            Verdict::Not(Reason::Paused, "paused: nothing is done for it".to_owned()),
            None,
        ),
        Standing::Refused(Reason::Conflict, message) => (Verdict::Disowned(Reason::Conflict, message.clone()), None),
        Standing::Refused(reason, message) => (Verdict::Not(*reason, message.clone()), None),
        Standing::Leaving { .. } if item.deletion == Deletion::Retain || owned.is_empty() => {
            (Verdict::Released(None), None)
        }
        Standing::Leaving { since, forced } => {
            let deadline = since.saturating_add(patience_seconds);
            let stays: Vec<String> = owned.iter().map(describe).collect();
            let left = |why: String| Verdict::Released(Some(format!("{} may be left behind: {why}", stays.join(", "))));
            match away {
                Away::NoBroker | Away::Unusable(..) => (left(away.explain(broker)), None),
                Away::Unreachable(..) if *forced => (left(away.explain(broker)), None),
                Away::Unreachable(..) if now >= deadline => (
                    left(format!(
                        "{}, for {patience_seconds} s since the deletion",
                        away.explain(broker)
                    )),
                    None,
                ),
                Away::Unreachable(..) => {
                    let message = format!(
                        "deletion waits for the broker, for {patience_seconds} s at most (annotation {}: \"true\" ends it at once): {}",
                        crate::object::FORCE_DELETE,
                        away.brief(broker)
                    );
                    (Verdict::Not(Reason::WaitingForBroker, message), Some(deadline))
                }
            }
        }
    }
}

/// What a status must hold so that [`recall`] finds it again.
pub fn remember(owned: &BTreeSet<Identity>) -> LastStatus {
    let mut last = LastStatus::default();
    let mut bindings = Vec::new();
    for identity in owned {
        match identity {
            Identity::Exchange(name) | Identity::Queue(name) => {
                last.name = Some(name.name.clone());
                last.vhost = Some(name.vhost.clone());
            }
            Identity::Binding(binding) => {
                last.vhost = Some(binding.vhost.clone());
                bindings.extend(serde_json::to_value(binding).ok());
            }
        }
    }
    if !bindings.is_empty() {
        last.applied = Some(Value::Array(bindings));
    }
    last
}

/// What the resource owned when its status was last written.
pub fn recall(meta: &Meta) -> BTreeSet<Identity> {
    use crate::object::Kind;
    let status = &meta.status;
    let name = match (&status.vhost, &status.name) {
        (Some(vhost), Some(name)) => Some(Name::new(vhost, name)),
        _ => None,
    };
    match meta.key.kind {
        Kind::Broker => BTreeSet::new(),
        Kind::Exchange => name.map(Identity::Exchange).into_iter().collect(),
        Kind::Queue => name.map(Identity::Queue).into_iter().collect(),
        Kind::Binding => {
            let bindings = status
                .applied
                .clone()
                .and_then(|applied| serde_json::from_value(applied).ok());
            let bindings: Vec<BindingDefinition> = bindings.unwrap_or_default();
            bindings.into_iter().map(Identity::Binding).collect()
        }
    }
}

#[cfg(test)]
mod tests;
