//! (pure) Step "status": what is written into a resource, and what its conditions looked like before.
//!
//! In: a `StatusReport` and the status that stands in the resource. Out: the status to write, if it differs, and the
//! transition worth a Kubernetes event. Does not know about a Kubernetes client.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::object::{BrokerFacts, ConditionStatus, Kind, LastStatus, QueueNumbers, Reason, StatusReport};
use crate::resource::{Condition, SecretRef};

/// Longest message that is written, in bytes; a broker's reply text is at most 255.
const MESSAGE_MAX: usize = 4096;
/// Before the time of the next attempt.
pub(super) const NEXT: &str = "; tried again at ";
/// A wait that ends within this time after a beginning is nothing to tell of.
const PATIENCE: Duration = Duration::from_secs(10);

/// The status of any kind, as it stands in the resource: fields that a kind does not have stay `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vhost: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) applied: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_sync_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) management_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) binding: Option<SecretRef>,
    /// Of a user of RabbitMQ's topology operator, where it must be there, as is the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<SecretRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ready: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) consumers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disk_free: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) objects: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_ready: Option<u32>,
}

impl Status {
    pub(super) fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Ready when it was last written.
    pub(super) fn is_ready(&self) -> bool {
        self.condition("Ready")
            .is_some_and(|ready| ready.status == ConditionStatus::True.as_str())
    }

    /// The part that deletion needs to know.
    pub(super) fn last(&self) -> LastStatus {
        LastStatus {
            name: self.name.clone(),
            vhost: self.vhost.clone(),
            applied: self.applied.clone(),
            queue: self.queue(),
            looked_at: self.observed_generation,
        }
    }

    fn queue(&self) -> Option<QueueNumbers> {
        Some(QueueNumbers {
            messages: self.messages?,
            ready: self.ready?,
            consumers: self.consumers?,
            drain: self.drain.clone()?,
        })
    }
}

/// The status to write for `report` where `before` stands; equal to `before` when nothing needs to be written.
///
/// `lastTransitionTime` moves only with the condition's status (Kubernetes API conventions), `lastSyncTime` only when
/// something was done on the broker. `now` is RFC 3339.
pub(super) fn next(report: &StatusReport, before: &Status, now: &str) -> Status {
    let because = |type_: &str, status: ConditionStatus, reason: &str, message: &str| {
        let since = before
            .condition(type_)
            .filter(|old| old.status == status.as_str())
            .map_or(now, |old| old.last_transition_time.as_str());
        Condition {
            type_: type_.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(report.generation),
            last_transition_time: since.to_owned(),
        }
    };
    let condition =
        |type_: &str, status: ConditionStatus, message: &str| because(type_, status, report.reason.as_str(), message);
    let message = &said(report);
    let only_if_true = |status: ConditionStatus| if status == ConditionStatus::True { message } else { "" };
    let facts = report.broker.as_ref();
    let did_something = report.did_something && report.key.kind != Kind::Broker;
    // What a queue no longer owns says nothing of it.
    let queue = report
        .queue
        .clone()
        .or_else(|| before.queue())
        .filter(|numbers| report.name.is_some() && numbers.is_told());
    let messages = queue.as_ref().map(|queue| queue.messages);
    let mut conditions = vec![
        condition("Ready", report.ready, message),
        condition("Reconciling", report.reconciling, only_if_true(report.reconciling)),
        condition("Stalled", report.stalled, only_if_true(report.stalled)),
    ];
    let more = facts.into_iter().flat_map(broker_conditions);
    conditions.extend(more.map(|more| because(more.type_, more.status, more.reason, &more.message)));
    Status {
        observed_generation: Some(report.generation),
        conditions,
        name: report.name.clone(),
        vhost: report.vhost.clone(),
        applied: report.applied.clone(),
        last_sync_time: if did_something {
            Some(now.to_owned())
        } else {
            before.last_sync_time.clone()
        },
        version: facts.and_then(|facts| facts.version.clone()),
        endpoint: facts.and_then(|facts| facts.endpoint.clone()),
        management_endpoint: facts.and_then(|facts| facts.management.clone()),
        binding: facts
            .and_then(|facts| facts.credentials.clone())
            .or_else(|| report.secret.clone())
            .map(|name| SecretRef { name }),
        username: None,
        credentials: None,
        address: report.socket.as_ref().and_then(|socket| socket.address.clone()),
        public_key: report.socket.as_ref().and_then(|socket| socket.public_key.clone()),
        messages: facts.and_then(|facts| facts.usage.messages).or(messages),
        ready: queue.as_ref().map(|queue| queue.ready),
        consumers: queue.as_ref().map(|queue| queue.consumers),
        drain: queue.map(|queue| queue.drain),
        disk_free: facts.and_then(|facts| facts.usage.disk_free).map(quantity),
        objects: facts.map(|facts| facts.objects),
        not_ready: facts.map(|facts| facts.not_ready),
    }
}

/// The message of a report, with the time of the next attempt where that is known.
pub(super) fn said(report: &StatusReport) -> String {
    let message = shortened(&report.message);
    let next = report
        .next_try
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    match next.and_then(|at| at.format(&Rfc3339).ok()) {
        Some(at) => format!("{message}{NEXT}{at}, or when this object is touched"),
        None => message.to_owned(),
    }
}

/// A condition that only a broker has.
struct More {
    type_: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

fn broker_conditions(facts: &BrokerFacts) -> Vec<More> {
    let reachable = facts.reachable.map(|status| More {
        type_: "Reachable",
        status,
        reason: match status {
            ConditionStatus::True => "Connected",
            ConditionStatus::False | ConditionStatus::Unknown => "NotConnected",
        },
        message: String::new(),
    });
    let persistent = facts.persistent.map(|persistent| More {
        type_: "Persistent",
        status: persistent.into(),
        reason: if persistent { "Volume" } else { "EmptyDir" },
        message: match persistent {
            true => String::new(),
            false => "no storage is given: messages and definitions go with the pod".to_owned(),
        },
    });
    let contested = facts.contender.as_ref().map(|contender| More {
        type_: "Contested",
        status: ConditionStatus::True,
        reason: "Conflict",
        message: format!("operator {contender} watches it too, and leaves it alone"),
    });
    reachable.into_iter().chain(persistent).chain(contested).collect()
}

/// Bytes as a quantity with three significant binary digits.
fn quantity(bytes: u64) -> String {
    let step = 1 << bytes.checked_ilog2().unwrap_or_default().saturating_sub(2);
    let bytes = bytes / step * step;
    let (shift, unit) = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")]
        .into_iter()
        .find(|(shift, _)| bytes >= 4 << shift)
        .unwrap_or((0, ""));
    format!("{}{unit}", bytes >> shift)
}

/// Something to tell as a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// `Warning` rather than `Normal`.
    pub(super) warning: bool,
    pub(super) reason: Reason,
    pub(super) message: String,
    /// It is told only if it lasts so long.
    pub(super) patience: Duration,
    /// All objects of a broker may say it at once.
    pub(super) by_the_dozen: bool,
}

/// The event to tell: one when Ready's status, reason or message changes. Waiting right after its creation, or for one
/// thing after the other, is told only if it lasts.
pub(super) fn transition(report: &StatusReport, before: &Status) -> Option<Transition> {
    let old = before.condition("Ready");
    let message = shortened(&report.message);
    let reason = report.reason;
    let same = old.is_some_and(|old| {
        let same = old.status == report.ready.as_str() && old.reason == reason.as_str();
        same && is_same_text(reason, old.message.split(NEXT).next().unwrap_or_default(), message)
    });
    if same {
        return None;
    }
    let was_ready = old.is_some_and(|old| old.status == ConditionStatus::True.as_str());
    let calm = match reason {
        Reason::WaitingForBroker => false,
        reason => report.ready == ConditionStatus::True || reason.is_waiting() || reason == Reason::Paused,
    };
    Some(Transition {
        warning: !calm,
        reason,
        message: message.to_owned(),
        patience: match reason.is_waiting() && !was_ready {
            true => PATIENCE,
            false => Duration::ZERO,
        },
        by_the_dozen: calm || (reason == Reason::WaitingForBroker && report.key.kind != Kind::Broker),
    })
}

/// A queue that is being emptied says another number every few seconds; that is no other text.
fn is_same_text(reason: Reason, old: &str, new: &str) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    match reason {
        Reason::DeletionBlocked => words(old) == words(new),
        _ => old == new,
    }
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ObjectKey, Usage};

    fn report(ready: ConditionStatus, reason: Reason) -> StatusReport {
        StatusReport {
            generation: 3,
            message: "text".to_owned(),
            name: Some("invoices".to_owned()),
            vhost: Some("/".to_owned()),
            ..StatusReport::sample(ObjectKey::new(Kind::Queue, "shop", "invoices"), ready, reason)
        }
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let first = next(
            &report(ConditionStatus::Unknown, Reason::WaitingForBroker),
            &Status::default(),
            "t1",
        );
        assert_eq!(first.last_sync_time, None);
        let again = next(&report(ConditionStatus::Unknown, Reason::WaitingForVhost), &first, "t2");
        assert!(
            again
                .conditions
                .iter()
                .all(|condition| condition.last_transition_time == "t1")
        );
        assert!(
            again
                .conditions
                .iter()
                .all(|condition| condition.reason == "WaitingForVhost")
        );
        let mut done = report(ConditionStatus::True, Reason::Synced);
        done.did_something = true;
        let ready = next(&done, &again, "t3");
        let times: Vec<&str> = ready
            .conditions
            .iter()
            .map(|condition| condition.last_transition_time.as_str())
            .collect();
        assert_eq!(times, ["t3", "t1", "t1"]);
        assert_eq!(ready.last_sync_time.as_deref(), Some("t3"));
        assert_eq!(
            next(&report(ConditionStatus::True, Reason::Synced), &ready, "t4"),
            ready,
            "nothing to write"
        );
    }

    #[test]
    fn written_and_read_back_is_equal() {
        let mut full = report(ConditionStatus::True, Reason::Synced);
        full.applied = Some(serde_json::json!({"key": "a"}));
        full.broker = Some(BrokerFacts {
            version: Some("x".to_owned()),
            objects: 3,
            reachable: Some(ConditionStatus::True),
            persistent: Some(false),
            credentials: Some("main-admin".to_owned()),
            ..BrokerFacts::default()
        });
        let status = next(&full, &Status::default(), "t1");
        let types: Vec<&str> = status
            .conditions
            .iter()
            .map(|condition| condition.type_.as_str())
            .collect();
        assert_eq!(types, ["Ready", "Reconciling", "Stalled", "Reachable", "Persistent"]);
        let text = serde_json::to_string(&status).expect("json");
        assert_eq!(serde_json::from_str::<Status>(&text).expect("status"), status);
    }

    #[test]
    fn numbers_of_a_queue_stand_until_there_are_new_ones() {
        let numbers = QueueNumbers {
            messages: 3,
            ready: 2,
            consumers: 1,
            drain: "4s".to_owned(),
        };
        let mut told = report(ConditionStatus::True, Reason::Synced);
        told.queue = Some(numbers.clone());
        let first = next(&told, &Status::default(), "t1");
        let later = next(&report(ConditionStatus::True, Reason::Synced), &first, "t2");
        assert_eq!((later.last().queue, &later), (Some(numbers), &first));
        let mut lost = report(ConditionStatus::False, Reason::Conflict);
        lost.name = None;
        assert_eq!(next(&lost, &first, "t3").last().queue, None);
    }

    #[test]
    fn free_space_is_told_roughly_and_changes_seldom() {
        for (bytes, text) in [
            (0, "0"),
            (60 << 30, "56Gi"),
            (5 << 30, "5Gi"),
            (3_700_000_000, "3072Mi"),
            (5000, "4Ki"),
        ] {
            assert_eq!(quantity(bytes), text);
        }
        let usage = |bytes| Usage {
            messages: Some(bytes),
            disk_free: Some(bytes),
        };
        let after = |new, old| usage(new).after(&usage(old)).disk_free;
        assert_eq!(after(105, 100), Some(100));
        assert_eq!(after(95, 100), Some(100));
        assert_eq!(after(80, 100), Some(80));
        assert_eq!(usage(5).after(&Usage::default()), usage(5));
    }

    #[test]
    fn events_tell_what_is_so_now() {
        let none = Status::default();
        let waiting = report(ConditionStatus::Unknown, Reason::WaitingForBroker);
        let patient = transition(&waiting, &none).expect("if it lasts");
        assert_eq!((patient.warning, patient.patience), (true, PATIENCE));
        let synced = report(ConditionStatus::True, Reason::Synced);
        let after_waiting = next(&waiting, &none, "t1");
        assert!(transition(&synced, &after_waiting).is_some_and(|told| !told.warning));
        let after_synced = next(&synced, &after_waiting, "t2");
        assert_eq!(transition(&synced, &after_synced), None);
        let lost = transition(&waiting, &after_synced).expect("it was Ready");
        assert!(lost.warning && lost.patience.is_zero() && lost.by_the_dozen);
        let mut refused = report(ConditionStatus::False, Reason::InvalidArgument);
        refused.message = "x-message-ttl is 60000, wanted 120000".to_owned();
        assert!(transition(&refused, &after_synced).is_some_and(|told| told.warning));
        let after_refused = next(&refused, &after_synced, "t3");
        let again = StatusReport {
            next_try: Some(1_800_000_000),
            ..refused.clone()
        };
        assert_eq!(
            transition(&again, &after_refused),
            None,
            "the time of another attempt is no news"
        );
        let after_again = next(&again, &after_refused, "t4");
        let ready = after_again.condition("Ready").expect("Ready");
        assert_eq!(
            ready.message,
            format!(
                "{}; tried again at 2027-01-15T08:00:00Z, or when this object is touched",
                refused.message
            )
        );
        assert_eq!(transition(&again, &after_again), None);
        let other = StatusReport {
            message: "x-max-length is not set, wanted 5".to_owned(),
            ..refused
        };
        assert_eq!(
            transition(&other, &after_again).map(|told| told.message),
            Some(other.message),
            "another text is another event"
        );
        let mut blocked = report(ConditionStatus::False, Reason::DeletionBlocked);
        blocked.message = "holds 5 messages".to_owned();
        let after_blocked = next(&blocked, &after_synced, "t5");
        blocked.message = "holds 41 messages".to_owned();
        assert_eq!(transition(&blocked, &after_blocked), None);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let mut long = report(ConditionStatus::False, Reason::BrokerError);
        long.message = format!("a{}", "é".repeat(4000));
        let status = next(&long, &Status::default(), "t");
        assert!(
            status
                .conditions
                .iter()
                .all(|condition| condition.message.len() <= MESSAGE_MAX)
        );
    }
}
