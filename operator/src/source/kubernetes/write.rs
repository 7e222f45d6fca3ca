//! Everything the operator writes to the API server: finalizers, status, events. Each counted, each bounded in time.
//!
//! In: keys and reports from the pipeline. Out: requests, only where something differs from what stands there.
//! Does not know about why something is written.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::MutexGuard;
use tracing::{debug, warn};

use super::api::{MANAGER, finalizer, resource as api_resource, version};
use super::cache::{Change, Written};
use super::events::{Told, When, resource};
use super::shared::Shared;
use super::status::{self, Status};
use super::theirs;
use crate::metrics::ApiWrite;
use crate::object::{Group, ObjectKey, StatusReport};
use crate::source::seam::SourceError;

/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(10);
/// First and longest pause before a status is written again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Attempts at a finalizer patch while other clients write in between.
const CONFLICTS: usize = 5;

pub(super) fn api(shared: &Shared, key: &ObjectKey) -> Api<DynamicObject> {
    Api::namespaced_with(shared.client.clone(), &key.namespace, &api_resource(key.group_kind()))
}

/// The outcome of a request.
pub(super) enum Answer {
    Done,
    /// The object is gone, or another one has its name.
    Gone,
    /// Another client has written in between.
    Conflict,
    Refused(String),
    Failed(String),
}

pub(super) async fn patch(
    shared: &Shared,
    what: ApiWrite,
    key: &ObjectKey,
    request: impl Future<Output = kube::Result<DynamicObject>>,
) -> Answer {
    let answer = tokio::time::timeout(REQUEST, request).await;
    shared.metrics.api_write(what, matches!(answer, Ok(Ok(_))));
    match answer {
        Ok(Ok(object)) => {
            let change = shared.cache.lock().answered(key.group_kind(), object);
            if change == Change::Relevant {
                shared.bump();
            }
            Answer::Done
        }
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => Answer::Gone,
            409 => Answer::Conflict,
            400..=428 => Answer::Refused(status.message),
            _ => Answer::Failed(status.message),
        },
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(_) => Answer::Failed(format!("no answer of the API server in {} s", REQUEST.as_secs())),
    }
}

/// Reads the object into the cache again, after a conflict.
pub(super) async fn refresh(shared: &Shared, key: &ObjectKey) {
    let answer = tokio::time::timeout(REQUEST, api(shared, key).get_opt(&key.name)).await;
    match answer {
        Ok(Ok(Some(object))) => {
            if shared.cache.lock().answered(key.group_kind(), object) == Change::Relevant {
                shared.bump();
            }
        }
        // The watch will tell that it is gone, and what has come instead.
        Ok(Ok(None)) => debug!(object = %key, "gone"),
        Ok(Err(error)) => debug!(object = %key, %error, "cannot be read"),
        Err(_) => debug!(object = %key, "cannot be read in time"),
    }
}

/// Adds the finalizer, if it is missing.
pub(super) async fn ensure_finalizer(shared: &Shared, key: &ObjectKey) -> Result<(), SourceError> {
    let finalizer = finalizer(key.group_kind());
    set_finalizers(shared, key, |names| {
        if names.iter().any(|name| *name == finalizer) {
            return None;
        }
        let ours = std::iter::once(finalizer.to_string());
        Some(names.iter().cloned().chain(ours).collect())
    })
    .await
}

/// Removes the finalizer, if it is there.
pub(super) async fn remove_finalizer(shared: &Shared, key: &ObjectKey) -> Result<(), SourceError> {
    let finalizer = finalizer(key.group_kind());
    set_finalizers(shared, key, |names| {
        if !names.iter().any(|name| *name == finalizer) {
            return None;
        }
        Some(names.iter().filter(|name| **name != finalizer).cloned().collect())
    })
    .await
}

/// The smallest patch there is: the list of finalizers, on condition that no other client has written in between.
async fn set_finalizers(
    shared: &Shared,
    key: &ObjectKey,
    change: impl Fn(&[String]) -> Option<Vec<String>>,
) -> Result<(), SourceError> {
    let _permit = shared.writers.acquire().await;
    for _ in 0..CONFLICTS {
        let Some(known) = shared.cache.lock().written(key).cloned() else {
            return Ok(());
        };
        let Some(finalizers) = change(&known.finalizers) else {
            return Ok(());
        };
        let body = json!({ "metadata": {
            "uid": known.uid, "resourceVersion": known.resource_version, "finalizers": finalizers,
        }});
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = api(shared, key);
        let merge = Patch::Merge(&body);
        match patch(
            shared,
            ApiWrite::Finalizer,
            key,
            api.patch(&key.name, &parameters, &merge),
        )
        .await
        {
            Answer::Done | Answer::Gone => return Ok(()),
            Answer::Conflict => refresh(shared, key).await,
            Answer::Refused(why) | Answer::Failed(why) => return Err(SourceError(format!("{key}: {why}"))),
        }
    }
    Err(SourceError(format!("{key}: another client keeps writing")))
}

/// Writes one status, trying again until it stands, the object is gone, or a newer report has come.
pub(super) async fn write_one(shared: &Shared, mut report: StatusReport) {
    let number = {
        let mut tickets = shared.tickets.lock();
        let ticket = tickets.entry(report.key.clone()).or_default();
        ticket.succeed(&mut report)
    };
    let mut told = false;
    let mut pause = RETRY.0;
    loop {
        let turn = turn(shared, &report.key).await;
        let permit = shared.writers.acquire().await;
        if !is_newest(shared, &report.key, number) {
            return;
        }
        let known = shared.cache.lock().written(&report.key).cloned();
        let Some(known) = known.filter(|known| known.uid == report.uid) else {
            break;
        };
        if !told {
            told = true;
            tell(shared, &report, &known.status);
        }
        match attempt(shared, &report, &known).await {
            Answer::Done | Answer::Gone => break,
            Answer::Conflict => {
                // Only the uid can conflict: another object has the name now, which the watch will tell.
                debug!(object = %report.key, "status belongs to an object that is gone");
                break;
            }
            Answer::Refused(why) => {
                // The next report may pass; what was done is in its place then.
                warn!(object = %report.key, why, "the API server refuses the status");
                return;
            }
            Answer::Failed(why) => debug!(object = %report.key, why, "status not written"),
        }
        drop((turn, permit));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
    let mut tickets = shared.tickets.lock();
    if tickets.get(&report.key).is_some_and(|ticket| ticket.number == number) {
        tickets.remove(&report.key);
    }
}

fn is_newest(shared: &Shared, key: &ObjectKey, number: u64) -> bool {
    shared
        .tickets
        .lock()
        .get(key)
        .is_some_and(|ticket| ticket.number == number)
}

/// Writes of one object never overtake each other: each waits for its turn.
async fn turn<'a>(shared: &'a Shared, key: &ObjectKey) -> Option<MutexGuard<'a, ()>> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let turns = u64::try_from(shared.turns.len()).unwrap_or(1).max(1);
    let index = usize::try_from(hasher.finish() % turns).unwrap_or_default();
    match shared.turns.get(index) {
        Some(turn) => Some(turn.lock().await),
        None => None,
    }
}

async fn attempt(shared: &Shared, report: &StatusReport, known: &Written) -> Answer {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok();
    let now = now.and_then(|now| now.format(&Rfc3339).ok()).unwrap_or_default();
    let next: Status = match report.key.group {
        Group::Leveret => status::next(report, &known.status, &now),
        Group::RabbitMq => theirs::next(report, &known.status, &known.remarks, &now),
    };
    if next == known.status {
        return Answer::Done;
    }
    let key = &report.key;
    let body = json!({
        "apiVersion": version(key.group),
        "kind": key.kind.as_str(),
        // With the uid the API server refuses to write into, or create, another object of that name.
        "metadata": { "name": key.name, "namespace": key.namespace, "uid": report.uid },
        "status": next,
    });
    let api = api(shared, key);
    let parameters = PatchParams::apply(MANAGER).force();
    let apply = Patch::Apply(&body);
    patch(
        shared,
        ApiWrite::Status,
        key,
        api.patch_status(&key.name, &parameters, &apply),
    )
    .await
}

fn tell(shared: &Shared, report: &StatusReport, before: &Status) {
    let transition = match report.key.group {
        Group::Leveret => status::transition(report, before),
        Group::RabbitMq => theirs::transition(report, before),
    };
    if let Some(transition) = transition {
        shared.events.tell(Told {
            about: resource(&report.key, report.uid.clone()),
            warning: transition.warning,
            reason: transition.reason.as_str(),
            message: transition.message,
            when: When::IfItLasts(transition.patience),
            by_the_dozen: transition.by_the_dozen,
        });
    }
}

/// A warning event that no condition tells.
pub(super) fn warn(shared: &Shared, key: &ObjectKey, reason: &'static str, message: String) {
    let uid = shared.cache.lock().written(key).map(|written| written.uid.clone());
    shared.events.tell(Told {
        about: resource(key, uid.unwrap_or_default()),
        warning: true,
        reason,
        message,
        when: When::Aside,
        by_the_dozen: false,
    });
}
