//! Step 6 (pure): what a user is told of a resource.
//!
//! In: what came out for an `Item`. Out: its `StatusReport`, as kstatus reads conditions.
//! Does not know about where statuses are written.

use std::collections::BTreeSet;

use super::apply::Failure;
use super::away::{Away, Endpoint};
use super::desired::{Item, Standing};
use super::difference::{Verdict, left_barred, left_while_paused, unkept};
use crate::object::{
    BrokerFacts, ConditionStatus, EngineState, LastStatus, Meta, Object, ObjectKey, PAUSED, Reason, StatusReport,
    Usage, is_set,
};
use crate::resource::BrokerSpec;
use crate::topology::{Deletion, Identity};

/// The three kstatus conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    pub ready: ConditionStatus,
    pub reconciling: ConditionStatus,
    pub stalled: ConditionStatus,
}

/// The conditions that belong to a reason.
pub fn conditions(reason: Reason) -> Conditions {
    let (ready, reconciling, stalled) = match reason {
        Reason::Synced | Reason::Observed => (ConditionStatus::True, ConditionStatus::False, ConditionStatus::False),
        Reason::WaitingForBroker
        | Reason::WaitingForSource
        | Reason::WaitingForDestination
        | Reason::WaitingForVhost
        | Reason::WaitingForUser
        | Reason::WaitingForSecret => (ConditionStatus::Unknown, ConditionStatus::True, ConditionStatus::False),
        Reason::BrokerError
        | Reason::DeletionBlocked
        | Reason::Starting
        | Reason::Unschedulable
        | Reason::ImagePull => (ConditionStatus::False, ConditionStatus::True, ConditionStatus::False),
        Reason::Paused => (ConditionStatus::Unknown, ConditionStatus::False, ConditionStatus::False),
        Reason::Conflict
        | Reason::Mismatch
        | Reason::Immutable
        | Reason::InvalidArgument
        | Reason::NotAllowed
        | Reason::Crashed => (ConditionStatus::False, ConditionStatus::False, ConditionStatus::True),
    };
    Conditions {
        ready,
        reconciling,
        stalled,
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
        (None, Verdict::Synced(identity)) => (Reason::Synced, format!("{identity} is as declared")),
        (
            None,
            Verdict::Not(reason, message) | Verdict::Disowned(reason, message) | Verdict::Kept(_, reason, message),
        ) => (*reason, message.clone()),
        (None, Verdict::Released(_) | Verdict::Later) => return None,
    };
    let Conditions {
        ready,
        reconciling,
        stalled,
    } = conditions(reason);
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
        next_try: None,
        name: last.name,
        vhost: last.vhost,
        applied: last.applied,
        did_something,
        secret: item.secret.clone(),
        broker: None,
        queue: None,
        socket: None,
    })
}

/// Says of what stands as declared that its broker is about to go, or is not up.
pub fn starting(report: &mut StatusReport, broker: &ObjectKey) {
    let Conditions {
        ready,
        reconciling,
        stalled,
    } = conditions(Reason::WaitingForBroker);
    (report.ready, report.reconciling, report.stalled) = (ready, reconciling, stalled);
    report.reason = Reason::WaitingForBroker;
    report.message = format!("{broker} is starting; its status says why");
}

/// Facts that a connected broker tells.
pub struct Connected<'a> {
    pub version: &'a str,
    pub endpoint: &'a Endpoint,
    pub usage: Usage,
    /// Another Broker that leads to the same broker.
    pub twin: Option<ObjectKey>,
}

/// Resources that refer to a broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub all: usize,
    pub not_ready: usize,
}

/// The end of the Broker's message where others lead to the same broker.
fn beside(twin: Option<&ObjectKey>) -> String {
    twin.map_or_else(String::new, |twin| {
        format!("; {twin} leads to the same broker: what two resources want there belongs to the older one")
    })
}

/// The report on the broker itself. `doubt`: why it could not be connected to now, although it is. `waits`: what keeps
/// it from going, while it is being deleted.
pub fn broker_report(
    broker: &Object<BrokerSpec>,
    state: Result<Connected<'_>, &Away>,
    doubt: Option<(Reason, String)>,
    engine: Option<&EngineState>,
    counted: Counted,
    waits: Option<&str>,
) -> StatusReport {
    let meta = &broker.meta;
    let paused = is_set(&meta.annotations, PAUSED);
    let trouble = engine.and_then(|engine| trouble(engine, meta));
    let (reason, message) = match (&state, trouble) {
        _ if waits.is_some() => (Reason::DeletionBlocked, waits.unwrap_or_default().to_owned()),
        _ if paused => (
            Reason::Paused,
            "paused: nothing is done for it and what refers to it".to_owned(),
        ),
        (_, Some(trouble)) => trouble,
        (Ok(connected), None) => doubt.unwrap_or_else(|| {
            let text = format!("connected to {}{}", connected.version, beside(connected.twin.as_ref()));
            (Reason::Synced, text)
        }),
        (Err(Away::NoBroker), None) => (Reason::WaitingForBroker, "not connected".to_owned()),
        (Err(Away::TooMuch(text)), None) => (Reason::BrokerError, text.clone()),
        (Err(Away::Unusable(reason, text) | Away::Unreachable(reason, text)), None) => (*reason, text.clone()),
    };
    let Conditions {
        ready,
        reconciling,
        stalled,
    } = conditions(reason);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut facts = BrokerFacts {
        reachable: Some(state.is_ok().into()),
        persistent: engine.map(|engine| engine.persistent),
        credentials: engine.and_then(|engine| engine.credentials.clone()),
        objects: number(counted.all),
        not_ready: number(counted.not_ready),
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
        next_try: None,
        name: None,
        vhost: None,
        applied: None,
        did_something: false,
        secret: None,
        broker: Some(facts),
        queue: None,
        socket: None,
    }
}

/// Trouble of a broker that the operator runs. It may answer and not be as declared yet.
fn trouble(engine: &EngineState, meta: &Meta) -> Option<(Reason, String)> {
    if engine.generation < meta.generation {
        return Some((Reason::Starting, "the change is being applied".to_owned()));
    }
    engine.problem.as_ref().or(engine.pending.as_ref()).cloned()
}

/// The verdict on an item while its broker is away, and when (Unix seconds) that will change by itself.
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
        Standing::Wanted(_) | Standing::Waiting(..) | Standing::Unknown | Standing::Observed(_) => (waiting, None),
        Standing::Paused => (
            Verdict::Not(Reason::Paused, "paused: nothing is done for it".to_owned()),
            None,
        ),
        Standing::Refused(Reason::Conflict, message) => (Verdict::Disowned(Reason::Conflict, message.clone()), None),
        Standing::Refused(reason, message) => (Verdict::Not(*reason, unkept(*reason, message, owned)), None),
        Standing::Leaving { .. } if item.paused => (Verdict::Released(left_while_paused(owned)), None),
        Standing::Leaving { .. } if item.deletion == Deletion::Retain || owned.is_empty() => {
            (Verdict::Released(None), None)
        }
        Standing::Leaving { .. } if owned.iter().all(|identity| item.barred.contains_key(identity)) => {
            (Verdict::Released(left_barred(item, owned)), None)
        }
        Standing::Leaving { since, forced } => {
            let deadline = since.saturating_add(patience_seconds);
            let left = |why: String| Verdict::Released(Some(left_behind(owned, &why)));
            match away {
                // What is missing may be gone for good; a permission can be given, so that is waited for.
                Away::NoBroker => (left(away.explain(broker)), None),
                Away::Unusable(reason, _) if *reason != Reason::NotAllowed => (left(away.explain(broker)), None),
                _ if *forced => (left(away.explain(broker)), None),
                _ if now >= deadline => (
                    left(format!(
                        "{}, for {patience_seconds} s since the deletion",
                        away.explain(broker)
                    )),
                    None,
                ),
                _ => {
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

/// The words for what a resource leaves on a broker where nobody knows, or can do, any better.
pub fn left_behind(owned: &BTreeSet<Identity>, why: &str) -> String {
    let stays: Vec<String> = owned.iter().map(Identity::to_string).collect();
    format!("{} may be left behind: {why}", stays.join(", "))
}

/// The part of a status from which [`recall`] finds again what is owned.
pub fn remember(owned: &BTreeSet<Identity>) -> LastStatus {
    let mut last = LastStatus::default();
    owned.iter().for_each(|identity| identity.remember(&mut last));
    last
}

/// Everything that the resource owned when its status was last written.
pub fn recall(meta: &Meta) -> BTreeSet<Identity> {
    Identity::recall(meta.key.kind, &meta.status)
}

#[cfg(test)]
mod tests;
