//! Step 5 (broker): carries out a plan, phase by phase, and says how each resource came out of it.
//!
//! In: `Plan`. Out: `Applied`, and `Observed` moved on. Does not know about sources, back-off, or statuses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use futures::future::{Either, join_all};

use super::difference::{Plan, Step};
use super::observe::Observed;
use crate::broker::{Backlogs, Client, Dialect, Error, Operation, Order};
use crate::metrics::BrokerMetrics;
use crate::object::{ObjectKey, Reason};
use crate::topology::{Declared, Effect, Identity, Name, Named, Need, Topology};

/// Queues whose messages are counted at the same time.
const COUNTS: usize = 16;
/// Most queues that a message names.
const MOST_NAMED: usize = 5;
/// RabbitMQ's words for a parameter that nothing in it knows.
const NO_ZEROMQ: &str = "component zeromq-socket not found";

/// The outcome of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Objects that resources came to own, or gave up.
    pub moved: Vec<Moved>,
    /// The first failure of each resource, and what failed.
    pub failed: BTreeMap<ObjectKey, Failure>,
    /// Resources for which something was done.
    pub touched: BTreeSet<ObjectKey>,
    /// The broker is away.
    pub lost: Option<String>,
    /// A part of something was left out, and what it waited for stands now.
    pub again: bool,
}

/// The effect of a step for its resource: it owns what stands now, and gave up what is gone.
#[derive(Debug)]
pub struct Moved {
    pub key: ObjectKey,
    pub effect: Effect,
}

/// A step that did not succeed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
    pub retry: Retry,
}

/// The time after which a failed step is worth another try, beside a change of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With back-off: it may work soon.
    Soon,
    /// The same request gets the same answer; tried again rarely, as settings of the broker may change.
    Rarely,
}

/// Carries out `plan`. Steps of a phase go together; a step whose ground is missing by then is left out.
pub async fn apply<C: Client>(client: &C, plan: &Plan, observed: &mut Observed, metrics: &BrokerMetrics) -> Applied {
    let mut applied = Applied::default();
    let mut waits = Vec::new();
    let mut rest = plan.steps.as_slice();
    while let (Some(first), None) = (rest.first(), &applied.lost) {
        let phase = first.phase();
        let (steps, later) = rest.split_at(rest.partition_point(|step| step.phase() <= phase));
        rest = later;
        if let Err(error) = look_again(client, steps, observed).await {
            applied.lost = Some(error.to_string());
            break;
        }
        let backlogs = client.backlogs();
        let ready: Vec<&Step> = steps
            .iter()
            .filter(|step| is_ready(step, observed, &backlogs, &mut applied))
            .collect();
        let ready = count_first(client, ready, &mut applied).await;
        if ready.is_empty() {
            continue;
        }
        let parts: Vec<Part> = ready
            .iter()
            .map(|step| Part::of(&step.operation, &observed.topology))
            .collect();
        let order = |part: &Part| {
            let operation = sent(&part.operation, &observed.topology, client.about().dialect);
            Order::new(operation, &observed.topology)
        };
        let results = client.execute(parts.iter().map(order).collect()).await;
        for ((step, part), result) in ready.into_iter().zip(parts).zip(results) {
            let outcome = result.as_ref().map_or_else(Error::outcome, |()| "ok");
            metrics.calls(step.operation.label(), outcome, 1);
            match result {
                Ok(()) => succeed(step, &part.operation, observed, &mut applied),
                Err(error) => fail(client, step, error, observed, &mut applied).await,
            }
            if let Some(need) = part.waits {
                waits.push(need.target.clone());
                applied.failed.entry(step.key.clone()).or_insert(missing(&need));
            }
        }
    }
    applied.again = waits.iter().any(|target| observed.topology.has(target));
    applied
}

/// As much of an operation as can be done now.
struct Part {
    operation: Operation,
    /// Awaited by the rest.
    waits: Option<Need>,
}

impl Part {
    fn of(operation: &Operation, topology: &Topology) -> Self {
        let Operation::Declare(declared) = operation else {
            return Self {
                operation: operation.clone(),
                waits: None,
            };
        };
        let (part, waits) = declared.within(topology, |_| false);
        Self {
            operation: Operation::Declare(part.into_owned()),
            waits,
        }
    }
}

/// Something needed is not there.
fn missing(need: &Need) -> Failure {
    Failure {
        reason: need.reason,
        message: format!("{} does not exist", need.target),
        retry: Retry::Soon,
    }
}

/// Lists the broker again before virtual hosts go that must be empty: the broker would take along whatever stands in
/// them.
async fn look_again<C: Client>(client: &C, steps: &[Step], observed: &mut Observed) -> Result<(), Error> {
    if steps.iter().any(|step| must_be_empty(&step.operation).is_some()) {
        *observed = Observed::listed(client.list().await?);
    }
    Ok(())
}

fn must_be_empty(operation: &Operation) -> Option<&Name> {
    match operation {
        Operation::Remove {
            identity: Identity::Vhost(name),
            if_free: true,
        } => Some(name),
        _ => None,
    }
}

/// True when a step still makes sense after the phases before it.
fn is_ready(step: &Step, observed: &Observed, backlogs: &Backlogs, applied: &mut Applied) -> bool {
    if applied.failed.contains_key(&step.key) {
        return false;
    }
    let topology = &observed.topology;
    let inside = must_be_empty(&step.operation).and_then(|name| {
        let messages = messages_in(name, backlogs);
        messages.or_else(|| topology.inside(name).map(|inside| format!("there is {inside}")))
    });
    let failure = match (step.operation.missing(topology), inside) {
        (None, None) => return true,
        (Some(need), _) => missing(&need),
        (None, Some(inside)) => Failure {
            reason: Reason::DeletionBlocked,
            message: format!(
                "{} is not empty, {inside}; set deletionPolicy to Delete or Retain, or empty it",
                step.operation.identity()
            ),
            retry: Retry::Soon,
        },
    };
    applied.failed.insert(step.key.clone(), failure);
    false
}

/// The words for the messages in a virtual host, those queues first that hold most; `None` where there are none.
fn messages_in(vhost: &Name, backlogs: &Backlogs) -> Option<String> {
    let held = backlogs.iter().filter(|(name, _)| name.vhost == vhost.name);
    let mut queues: Vec<(u64, &str)> = held
        .map(|(name, backlog)| (backlog.messages(), name.name.as_str()))
        .collect();
    queues.retain(|(count, _)| *count > 0);
    queues.sort_by_key(|(count, name)| (Reverse(*count), *name));
    let all: u64 = queues.iter().map(|(count, _)| count).sum();
    let named = queues
        .iter()
        .take(MOST_NAMED)
        .map(|(count, name)| format!("{count} in queue '{name}'"));
    let named: Vec<String> = named.collect();
    let more = match queues.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and others in {more} more"),
    };
    let messages = if all == 1 { "message" } else { "messages" };
    (all > 0).then(|| format!("it holds {all} {messages}: {}{more}", named.join(", ")))
}

/// The queue whose messages must be counted before it is deleted, since the broker would not spare all of them.
///
/// RabbitMQ takes a queue whose messages are all in consumers' hands for empty; and it deletes only classic queues on
/// condition: a quorum queue answers `if-empty` with 540 and closes the connection, a stream ignores it and is deleted
/// with all it holds.
fn counted(operation: &Operation, dialect: Dialect) -> Option<&Name> {
    match operation {
        Operation::Remove {
            identity: Identity::Queue(name),
            if_free: true,
        } if dialect != Dialect::Leveret => Some(name),
        _ => None,
    }
}

/// The operation as it goes to the broker: without a condition where it knows none, with the queue's type where queues
/// without one have another, and with the password in the best form that it knows.
fn sent(operation: &Operation, topology: &Topology, dialect: Dialect) -> Operation {
    if let (Operation::Declare(Declared::User(user)), Dialect::Leveret) = (operation, dialect) {
        let definition = user.definition.clone().for_leveret();
        return Operation::Declare(Declared::User(Named::new(user.name.clone(), definition)));
    }
    if let Operation::Declare(Declared::Queue(queue)) = operation
        && may_prefer_another_type(&queue.name.vhost, topology, dialect)
    {
        let definition = queue.definition.clone().with_type();
        return Operation::Declare(Declared::Queue(Named::new(queue.name.clone(), definition)));
    }
    match counted(operation, dialect) {
        Some(name) if !is_classic(name, topology) => Operation::Remove {
            identity: Identity::Queue(name.clone()),
            if_free: false,
        },
        _ => operation.clone(),
    }
}

fn is_classic(name: &Name, topology: &Topology) -> bool {
    let queue = topology.queues.get(name);
    let type_ = queue.and_then(|queue| queue.arguments().get("x-queue-type"));
    type_.is_none_or(|type_| type_ == "classic")
}

/// True if a queue that is declared without a type may become another than a classic one: its virtual host prefers
/// another, or says nothing, and then its node may. Users who may not list virtual hosts see none.
fn may_prefer_another_type(vhost: &str, topology: &Topology, dialect: Dialect) -> bool {
    let found = topology.vhosts.get(&Name::new("", vhost));
    match found.and_then(|vhost| vhost.default_queue_type.as_deref()) {
        Some(preferred) => preferred != "classic",
        None => dialect == Dialect::RabbitMq4,
    }
}

/// Leaves out the deletions of queues that hold messages, where the broker itself would not. A message that comes, or
/// goes into a consumer's hand, between the count and the deletion is lost: nothing better exists there.
async fn count_first<'a, C: Client>(client: &C, steps: Vec<&'a Step>, applied: &mut Applied) -> Vec<&'a Step> {
    let dialect = client.about().dialect;
    let mut empty = Vec::new();
    let mut counts_of = Vec::new();
    for some in steps.chunks(COUNTS) {
        // No closures: they would make the loop's future too general for `tokio::spawn`.
        let mut counts = Vec::new();
        for step in some {
            match counted(&step.operation, dialect) {
                Some(name) => counts.push(Either::Left(client.message_count(name))),
                None => counts.push(Either::Right(std::future::ready(Ok(None)))),
            }
        }
        counts_of.extend(some.iter().copied().zip(join_all(counts).await));
    }
    for (step, count) in counts_of {
        let failure = match count {
            Ok(None | Some(0)) => {
                empty.push(step);
                continue;
            }
            Ok(Some(count)) => blocked(&step.operation.identity(), count, ""),
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

fn succeed(step: &Step, done: &Operation, observed: &mut Observed, applied: &mut Applied) {
    observed.done(done);
    move_over(step, applied);
}

fn move_over(step: &Step, applied: &mut Applied) {
    applied.touched.insert(step.key.clone());
    applied.moved.push(Moved {
        key: step.key.clone(),
        effect: step.operation.effect(),
    });
}

async fn fail<C: Client>(client: &C, step: &Step, error: Error, observed: &mut Observed, applied: &mut Applied) {
    let error = match error {
        Error::Partly(error) => {
            // It stands, though not as it should: whatever comes next, it is this resource's.
            move_over(step, applied);
            observed.doubt();
            *error
        }
        error => error,
    };
    if error.is_away() {
        applied.lost = Some(error.to_string());
        return;
    }
    let failure = match (&step.operation, &error) {
        (
            Operation::Remove {
                identity: identity @ Identity::Queue(name),
                if_free: true,
            },
            Error::Refused { code: 406, text },
        ) => {
            let count = client.message_count(name).await.ok().flatten().unwrap_or_default();
            blocked(identity, count, text)
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

fn blocked(what: &Identity, count: u32, text: &str) -> Failure {
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

/// The meaning of a broker's answer.
pub fn judge(operation: &Operation, error: &Error) -> Failure {
    let (reason, retry) = match error {
        Error::Refused { code, .. } if operation.is_http() => judge_http(*code),
        error => judge_amqp(operation, error),
    };
    let message = match error {
        Error::Refused { code: 400, text } if text.contains(NO_ZEROMQ) => {
            format!(
                "this broker does not speak ZeroMQ's protocol: it answered 400 {}",
                text.trim().replace('\n', " ")
            )
        }
        Error::Refused {
            code: code @ (405 | 501),
            text,
        } if operation.is_http() => format!("the broker cannot do this: it answered {code} {text}"),
        Error::Refused { code, text } => format!("the broker answered {code} {text}"),
        other => other.to_string(),
    };
    Failure { reason, message, retry }
}

/// By reply code (AMQP 0-9-1, 1.2) and RabbitMQ's texts.
fn judge_amqp(operation: &Operation, error: &Error) -> (Reason, Retry) {
    let (needs, deletes) = match operation {
        Operation::Declare(declared) => (declared.identity().needs(), false),
        Operation::Remove { identity, .. } => (Vec::new(), identity.target().is_some()),
    };
    match error {
        Error::Vhost(_) => (Reason::WaitingForVhost, Retry::Soon),
        Error::Unencodable(_) => (Reason::InvalidArgument, Retry::Rarely),
        Error::Refused { code: 406, .. } if deletes => (Reason::DeletionBlocked, Retry::Soon),
        Error::Refused { code: 404, text } => {
            let named =
                |need: &&Need| text.contains(&format!("no {} '{}'", need.target.kind.word(), need.target.name.name));
            let need = needs.iter().find(named).or(needs.last());
            (need.map_or(Reason::BrokerError, |need| need.reason), Retry::Soon)
        }
        Error::Refused { code: 406, text } if text.contains("inequivalent arg") => (Reason::Mismatch, Retry::Soon),
        Error::Refused { code: 403 | 530, .. } => (Reason::NotAllowed, Retry::Rarely),
        Error::Refused {
            code: 402 | 406 | 502 | 503 | 540,
            ..
        } => (Reason::InvalidArgument, Retry::Rarely),
        // RabbitMQ 4.3 answers so to a feature that is off, such as a queue that is neither durable nor exclusive.
        Error::Refused { code: 541, text } if text.contains("deprecated") => (Reason::InvalidArgument, Retry::Rarely),
        Error::Forbidden(_) => (Reason::NotAllowed, Retry::Rarely),
        Error::Refused { .. }
        | Error::Credentials(_)
        | Error::TooMuch(_)
        | Error::Unreachable(_)
        | Error::Partly(_) => (Reason::BrokerError, Retry::Soon),
    }
}

/// By status code. 401: the user may read and not write; 405 and 501: the broker cannot do such a thing.
fn judge_http(code: u16) -> (Reason, Retry) {
    match code {
        401 | 403 => (Reason::NotAllowed, Retry::Rarely),
        400 | 405 | 409 | 413 | 414 | 422 | 501 => (Reason::InvalidArgument, Retry::Rarely),
        _ => (Reason::BrokerError, Retry::Soon),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::vhost::VhostDefinition;
    use crate::topology::{Declared, Named, QueueDefinition};

    #[test]
    fn a_queue_is_sent_with_its_type_where_another_may_be_preferred() {
        use Dialect::{Leveret, Other, RabbitMq4};
        let declare = |arguments| {
            let definition = QueueDefinition::new(true, false, false, serde_json::from_value(arguments).unwrap());
            Operation::Declare(Declared::Queue(Named::new(Name::new("shop", "q"), definition)))
        };
        let (classic, quorum) = (
            declare(serde_json::json!({})),
            declare(serde_json::json!({"x-queue-type": "quorum"})),
        );
        for (preferred, dialect, explicit) in [
            (None, Leveret, false),
            (None, Other, false),
            // The node's own preference does not show.
            (None, RabbitMq4, true),
            (Some("classic"), RabbitMq4, false),
            (Some("quorum"), RabbitMq4, true),
            (Some("quorum"), Other, true),
        ] {
            let mut topology = Topology::default();
            let vhost = VhostDefinition {
                default_queue_type: preferred.map(str::to_owned),
                ..VhostDefinition::default()
            };
            topology.vhosts.insert(Name::new("", "shop"), vhost);
            let Operation::Declare(Declared::Queue(queue)) = sent(&classic, &topology, dialect) else {
                panic!("a declaration");
            };
            let type_ = queue.definition.arguments().get("x-queue-type");
            assert_eq!(type_, explicit.then(|| "classic".into()), "{preferred:?} {dialect:?}");
            assert_eq!(sent(&quorum, &topology, dialect), quorum);
        }
    }

    #[test]
    fn messages_are_counted_where_the_broker_does_not_spare_all() {
        let name = Name::new("/", "q");
        let remove = |if_free| Operation::Remove {
            identity: Identity::Queue(name.clone()),
            if_free,
        };
        let mut topology = Topology::default();
        for (type_, dialect, counts, condition) in [
            ("classic", Dialect::Leveret, false, true),
            ("quorum", Dialect::Leveret, false, true),
            ("classic", Dialect::RabbitMq4, true, true),
            ("quorum", Dialect::RabbitMq4, true, false),
            ("stream", Dialect::Other, true, false),
        ] {
            let arguments = serde_json::from_value(serde_json::json!({"x-queue-type": type_})).unwrap();
            topology
                .queues
                .insert(name.clone(), QueueDefinition::new(true, false, false, arguments));
            assert_eq!(counted(&remove(true), dialect).is_some(), counts, "{type_} {dialect:?}");
            assert_eq!(
                sent(&remove(true), &topology, dialect),
                remove(condition),
                "{type_} {dialect:?}"
            );
            assert_eq!(counted(&remove(false), dialect), None);
        }
        assert_eq!(Dialect::of("RabbitMQ", "4.3.6"), Dialect::RabbitMq4);
        assert_eq!(Dialect::of("RabbitMQ", "3.13.7"), Dialect::Other);
        assert_eq!(Dialect::of("Leveret", "0.1.0"), Dialect::Leveret);
    }

    #[test]
    fn answers_have_a_meaning() {
        let queue = Named::new(Name::new("/", "q"), QueueDefinition::default());
        let declare = Operation::Declare(Declared::Queue(queue));
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
        let vhost = Named::new(Name::new("", "shop"), VhostDefinition::default());
        let put = Operation::Declare(Declared::Vhost(vhost));
        for (code, reason, retry) in [
            (401, Reason::NotAllowed, Retry::Rarely),
            (405, Reason::InvalidArgument, Retry::Rarely),
            (503, Reason::BrokerError, Retry::Soon),
        ] {
            let failure = judge(&put, &refused(code, ""));
            assert_eq!((failure.reason, failure.retry), (reason, retry), "{code}");
        }
        let failure = judge(&declare, &refused(406, "PRECONDITION_FAILED - invalid arg"));
        assert_eq!(
            failure.message,
            "the broker answered 406 PRECONDITION_FAILED - invalid arg"
        );
    }
}
