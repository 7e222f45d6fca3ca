//! (client) Claims the Brokers that this operator sees, and leaves alone those that another one keeps.
//!
//! In: Brokers as they stand in the cluster. Out: `status.operator` of each, written only when it changes hands or is
//! asked for, and an event on those that are another's. Does not know about what keeping a Broker means.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cache::Written;
use super::claim::{Claim, Contest, Move};
use super::shared::{Shared, WRITERS};
use super::write::{self, Answer};
use crate::metrics::ApiWrite;
use crate::object::ObjectKey;

/// Until a claim that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// The writer of claims is another one than that of statuses: neither takes away what the other wrote.
const MANAGER: &str = "leveret-operator-claim";

/// One Broker's contest, and what was said of it.
#[derive(Default)]
struct Followed {
    contest: Contest,
    said: Option<String>,
    due: Option<Instant>,
}

/// Claims Brokers and answers others until `stop`.
pub(super) async fn run(shared: &Shared, patience: Duration, stop: CancellationToken) {
    let mut changed = shared.changed.subscribe();
    let mut followed: HashMap<ObjectKey, Followed> = HashMap::new();
    loop {
        changed.mark_unchanged();
        let brokers = shared.cache.lock().brokers();
        followed.retain(|key, _| brokers.iter().any(|(broker, _)| broker == key));
        let mut work = Vec::new();
        for (key, written) in brokers {
            work.push((followed.remove(&key).unwrap_or_default(), key, written));
        }
        let tended = stream::iter(work).map(|(mut one, key, written)| async move {
            one.due = tend(shared, &mut one, &key, &written, patience).await;
            (key, one)
        });
        followed = tended.buffer_unordered(WRITERS).collect().await;
        let due = followed.values().filter_map(|one| one.due).min();
        tokio::select! {
            () = stop.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// One Broker; the answer is when to look at it again.
async fn tend(
    shared: &Shared,
    followed: &mut Followed,
    key: &ObjectKey,
    written: &Written,
    patience: Duration,
) -> Option<Instant> {
    let me = shared.operator.to_string();
    let claim = written.claim.as_ref();
    match claim {
        Some(claim) if claim.name != me => {
            if followed.said.as_ref() != Some(&claim.name) {
                followed.said = Some(claim.name.clone());
                let text = format!(
                    "operator {} keeps it, operator {me} leaves it alone: let only one of them watch its namespace",
                    claim.name
                );
                warn!(broker = %key, "{text}");
                write::warn(shared, key, "Conflict", text);
            }
        }
        _ => followed.said = None,
    }
    match followed.contest.next(claim, &me, Instant::now(), patience) {
        Move::Wait(due) => due,
        Move::Write(next) => {
            if next.name == me
                && let Some(claim) = claim.filter(|claim| claim.name != me)
            {
                warn!(broker = %key, from = claim.name, "taken over: the operator that kept it does not answer");
            }
            put(shared, key, written, &next).await
        }
    }
}

/// Writes a claim, on condition that nobody else has written in between.
async fn put(shared: &Shared, key: &ObjectKey, written: &Written, claim: &Claim) -> Option<Instant> {
    let body = json!({
        "metadata": { "uid": written.uid, "resourceVersion": written.resource_version },
        // Nulls take away what is no longer said.
        "status": { "operator": {
            "name": claim.name, "contender": claim.contender, "asked": claim.asked, "answered": claim.answered,
        }},
    });
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = write::api(shared, key);
    let merge = Patch::Merge(&body);
    let request = api.patch_status(&key.name, &parameters, &merge);
    match write::patch(shared, ApiWrite::Status, key, request).await {
        Answer::Done => {
            let known = shared
                .cache
                .lock()
                .written(key)
                .and_then(|written| written.claim.clone());
            if known.is_none() && shared.cache.lock().cannot_be_claimed(key) {
                info!(broker = %key, "the definitions are of an older version: several operators would not see each other");
                shared.bump();
            }
            None
        }
        Answer::Gone => None,
        Answer::Conflict => {
            write::refresh(shared, key).await;
            Some(Instant::now() + RETRY / 10)
        }
        Answer::Refused(why) | Answer::Failed(why) => {
            warn!(broker = %key, why, "the Broker cannot be claimed");
            Some(Instant::now() + RETRY)
        }
    }
}
