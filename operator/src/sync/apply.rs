//! Step 5 (broker): carries out a plan, phase by phase, and says how each resource came out of it.
//!
//! In: [`Plan`]. Out: [`Applied`], and [`Observed`] moved on. Does not know about sources, back-off, or statuses.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{Either, join_all};

use super::desired::describe;
use super::difference::{Plan, Step};
use super::observe::Observed;
use crate::broker::{Client, Error, Operation};
use crate::metrics::Metrics;
use crate::object::{ObjectKey, Reason};
use crate::topology::{End, Identity, Name, Topology};

/// Queues whose messages are counted at the same time.
const COUNTS: usize = 16;

/// How a plan came out.
#[derive(Debug, Default)]
pub struct Applied {
    /// What a resource came to own (`true`) or gave up (`false`).
    pub moved: Vec<(ObjectKey, Identity, bool)>,
    /// The first failure of each resource, and what failed.
    pub failed: BTreeMap<ObjectKey, Failure>,
    /// Resources for which something was done.
    pub touched: BTreeSet<ObjectKey>,
    /// The broker is away.
    pub lost: Option<String>,
}

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
    pub retry: Retry,
}

/// When a failed step is worth another try, beside a change of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With back-off: it may work soon.
    Soon,
    /// The same request gets the same answer; tried again rarely, as settings of the broker may change.
    Rarely,
}

/// Carries out `plan`. Steps of a phase go together; a step whose ground is missing by then is left out.
pub async fn apply<C: Client>(client: &C, plan: &Plan, observed: &mut Observed, metrics: &Metrics) -> Applied {
    let mut applied = Applied::default();
    let mut rest = plan.steps.as_slice();
    while let (Some(first), None) = (rest.first(), &applied.lost) {
        let phase = first.phase();
        let (steps, later) = rest.split_at(rest.partition_point(|step| step.phase() <= phase));
        rest = later;
        let ready: Vec<&Step> = steps
            .iter()
            .filter(|step| is_ready(step, observed, &mut applied))
            .collect();
        let ready = count_first(client, ready, observed, &mut applied).await;
        if ready.is_empty() {
            continue;
        }
        let operations: Vec<Operation> = ready
            .iter()
            .map(|step| sent(&step.operation, &observed.topology))
            .collect();
        let results = client.execute(operations).await;
        for (step, result) in ready.into_iter().zip(results) {
            let outcome = result.as_ref().map_or_else(Error::outcome, |()| "ok");
            metrics.broker_calls(step.operation.label(), outcome, 1);
            match result {
                Ok(()) => succeed(step, observed, &mut applied),
                Err(error) => fail(client, step, error, observed, &mut applied).await,
            }
        }
    }
    applied
}

/// Whether a step still makes sense after the phases before it.
fn is_ready(step: &Step, observed: &Observed, applied: &mut Applied) -> bool {
    if applied.failed.contains_key(&step.key) {
        return false;
    }
    let Operation::Bind(binding) = &step.operation else {
        return true;
    };
    let topology = &observed.topology;
    let missing = if !topology.has_end(End::Exchange, &binding.source_name()) {
        Some((Reason::WaitingForSource, Identity::Exchange(binding.source_name())))
    } else if !topology.has_end(binding.end, &binding.destination_name()) {
        let end = match binding.end {
            End::Exchange => Identity::Exchange(binding.destination_name()),
            End::Queue => Identity::Queue(binding.destination_name()),
        };
        Some((Reason::WaitingForDestination, end))
    } else {
        None
    };
    let Some((reason, end)) = missing else { return true };
    let failure = Failure {
        reason,
        message: format!("{} does not exist", describe(&end)),
        retry: Retry::Soon,
    };
    applied.failed.insert(step.key.clone(), failure);
    false
}

/// The queue that the broker would not spare when it holds messages, so that somebody must count them first.
///
/// RabbitMQ 4.3 deletes only classic queues on condition: a quorum queue answers `if-empty` with 540 and closes the
/// connection, a stream ignores it and is deleted with all it holds.
fn uncounted<'a>(operation: &'a Operation, topology: &Topology) -> Option<&'a Name> {
    let Operation::DeleteQueue { name, if_empty: true } = operation else {
        return None;
    };
    let type_ = topology.queues.get(name)?.arguments().get("x-queue-type")?;
    (type_ != "classic").then_some(name)
}

/// What goes to the broker for an operation: without a condition where the messages were counted.
fn sent(operation: &Operation, topology: &Topology) -> Operation {
    match uncounted(operation, topology) {
        Some(name) => Operation::DeleteQueue {
            name: name.clone(),
            if_empty: false,
        },
        None => operation.clone(),
    }
}

/// Leaves out the deletions of queues that hold messages, where the broker itself would not. A message that comes
/// between the count and the deletion is lost: nothing better exists for these queues.
async fn count_first<'a, C: Client>(
    client: &C,
    steps: Vec<&'a Step>,
    observed: &Observed,
    applied: &mut Applied,
) -> Vec<&'a Step> {
    let mut empty = Vec::new();
    let mut counted = Vec::new();
    for some in steps.chunks(COUNTS) {
        // No closures: they would make the loop's future too general for `tokio::spawn`.
        let mut counts = Vec::new();
        for step in some {
            match uncounted(&step.operation, &observed.topology) {
                Some(name) => counts.push(Either::Left(client.message_count(name))),
                None => counts.push(Either::Right(std::future::ready(Ok(None)))),
            }
        }
        counted.extend(some.iter().copied().zip(join_all(counts).await));
    }
    for (step, count) in counted {
        let (identity, _) = step.operation.effect();
        let failure = match count {
            Ok(None | Some(0)) => {
                empty.push(step);
                continue;
            }
            Ok(Some(count)) => blocked(&describe(&identity), count, ""),
            Err(error) if error.is_away() => {
                applied.lost = Some(error.to_string());
                return Vec::new();
            }
            Err(error) => judge(&step.operation, &error),
        };
        applied.failed.insert(step.key.clone(), failure);
    }
    empty
}

fn succeed(step: &Step, observed: &mut Observed, applied: &mut Applied) {
    observed.done(&step.operation);
    applied.touched.insert(step.key.clone());
    let (identity, gained) = step.operation.effect();
    applied.moved.push((step.key.clone(), identity, gained));
}

async fn fail<C: Client>(client: &C, step: &Step, error: Error, observed: &mut Observed, applied: &mut Applied) {
    if error.is_away() {
        applied.lost = Some(error.to_string());
        return;
    }
    let failure = match (&step.operation, &error) {
        (Operation::DeleteQueue { name, if_empty: true }, Error::Refused { code: 406, text }) => {
            let count = client.message_count(name).await.ok().flatten().unwrap_or_default();
            blocked(&describe(&Identity::Queue(name.clone())), count, text)
        }
        (operation, error) => judge(operation, error),
    };
    // The broker knows something that we do not.
    let surprise = matches!(failure.reason, Reason::WaitingForSource | Reason::WaitingForDestination)
        || failure.reason == Reason::Mismatch
        || matches!(error, Error::Refused { code: 540, .. });
    if surprise {
        observed.doubt();
    }
    applied.failed.insert(step.key.clone(), failure);
}

fn blocked(what: &str, count: u32, text: &str) -> Failure {
    let message = match count {
        0 => format!("{what} holds messages ({text}); set deletionPolicy to Delete or Retain, or empty it"),
        1 => format!("{what} holds 1 message; set deletionPolicy to Delete or Retain, or empty it"),
        count => format!("{what} holds {count} messages; set deletionPolicy to Delete or Retain, or empty it"),
    };
    Failure {
        reason: Reason::DeletionBlocked,
        message,
        retry: Retry::Soon,
    }
}

/// The meaning of a broker's answer, by reply code (AMQP 0-9-1, 1.2) and RabbitMQ's texts.
pub fn judge(operation: &Operation, error: &Error) -> Failure {
    let deletes = matches!(
        operation,
        Operation::DeleteQueue { .. } | Operation::DeleteExchange { .. }
    );
    let (reason, retry) = match error {
        Error::Vhost(_) => (Reason::WaitingForVhost, Retry::Soon),
        Error::Unencodable(_) => (Reason::InvalidArgument, Retry::Rarely),
        Error::Refused { code: 406, .. } if deletes => (Reason::DeletionBlocked, Retry::Soon),
        Error::Refused { code: 404, text } => match operation {
            Operation::Bind(binding) if text.contains(&format!("no exchange '{}'", binding.source)) => {
                (Reason::WaitingForSource, Retry::Soon)
            }
            Operation::Bind(_) => (Reason::WaitingForDestination, Retry::Soon),
            _ => (Reason::BrokerError, Retry::Soon),
        },
        Error::Refused { code: 406, text } if text.contains("inequivalent arg") => (Reason::Mismatch, Retry::Soon),
        Error::Refused { code: 403 | 530, .. } => (Reason::NotAllowed, Retry::Rarely),
        Error::Refused {
            code: 402 | 406 | 502 | 503 | 540,
            ..
        } => (Reason::InvalidArgument, Retry::Rarely),
        // RabbitMQ 4.3 answers so to a feature that is off, such as a queue that is neither durable nor exclusive.
        Error::Refused { code: 541, text } if text.contains("deprecated") => (Reason::InvalidArgument, Retry::Rarely),
        Error::Refused { .. } | Error::Credentials(_) | Error::Unreachable(_) => (Reason::BrokerError, Retry::Soon),
    };
    let message = match error {
        Error::Refused { code, text } => format!("the broker answered {code} {text}"),
        other => other.to_string(),
    };
    Failure { reason, message, retry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Name, QueueDefinition};

    #[test]
    fn answers_have_a_meaning() {
        let declare = Operation::DeclareQueue(Name::new("/", "q"), QueueDefinition::default());
        let refused = |code, text: &str| Error::Refused {
            code,
            text: text.to_owned(),
        };
        for (error, reason, retry) in [
            (
                refused(
                    406,
                    "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/'",
                ),
                Reason::InvalidArgument,
                Retry::Rarely,
            ),
            (
                refused(
                    406,
                    "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/'",
                ),
                Reason::Mismatch,
                Retry::Soon,
            ),
            (
                refused(403, "ACCESS_REFUSED - queue name 'amq.x' contains reserved"),
                Reason::NotAllowed,
                Retry::Rarely,
            ),
            (
                refused(405, "RESOURCE_LOCKED - cannot obtain exclusive access"),
                Reason::BrokerError,
                Retry::Soon,
            ),
            (refused(541, "INTERNAL_ERROR"), Reason::BrokerError, Retry::Soon),
            (
                refused(541, "INTERNAL_ERROR - Feature `x` is deprecated."),
                Reason::InvalidArgument,
                Retry::Rarely,
            ),
            (
                Error::Vhost("NOT_ALLOWED - vhost x not found".to_owned()),
                Reason::WaitingForVhost,
                Retry::Soon,
            ),
        ] {
            let failure = judge(&declare, &error);
            assert_eq!((failure.reason, failure.retry), (reason, retry), "{error}");
        }
        let failure = judge(&declare, &refused(406, "PRECONDITION_FAILED - invalid arg"));
        assert_eq!(
            failure.message,
            "the broker answered 406 PRECONDITION_FAILED - invalid arg"
        );
    }
}
