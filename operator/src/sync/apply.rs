//! Step 5 (broker): carries out a plan, phase by phase, and says how each resource came out of it.
//!
//! In: [`Plan`]. Out: [`Applied`], and [`Observed`] moved on. Does not know about sources, back-off, or statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::describe;
use super::difference::{Plan, Step};
use super::observe::Observed;
use crate::broker::{Client, Error, Operation};
use crate::metrics::Metrics;
use crate::source::{ObjectKey, Reason};
use crate::topology::{End, Identity};

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
        if ready.is_empty() {
            continue;
        }
        let operations: Vec<Operation> = ready.iter().map(|step| step.operation.clone()).collect();
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
            // Ready messages only; those with a consumer are not told by AMQP.
            let count = client.message_count(name).await.ok().flatten().unwrap_or_default();
            blocked(&describe(&Identity::Queue(name.clone())), count, text)
        }
        (operation, error) => judge(operation, error),
    };
    // The broker knows something that we do not.
    let surprise = matches!(failure.reason, Reason::WaitingForSource | Reason::WaitingForDestination)
        || (failure.reason == Reason::Mismatch);
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
