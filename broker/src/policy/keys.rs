//! The keys that the definition of a policy may have, in one table: their values, the queue types that a policy with
//! them is not for, and what counts when an operator policy has them too.
//!
//! Comes in: definitions. Goes out: the fault in one, in RabbitMQ's words; two definitions merged. Pure.
//! Does not know what a value does to a queue: `queue::arguments` and exchanges do.
//!
//! A new key is a row of `TABLE`. A key of queues also stands in the table of their arguments, which says whether the
//! policy or the argument counts.

use super::kind::Kind;
use crate::erlang::{binary, plain};
use leveret_amqp::{FieldTable, FieldValue, ShortString};
use std::borrow::Cow;

/// Largest segment of a stream, bytes.
const SEGMENT_MAX: i64 = 3_000_000_000;
/// Width at which RabbitMQ breaks a list in a text.
const WIDTH: usize = 79;

/// A row of the table.
struct Key {
    name: &'static str,
    /// True for values that it may have.
    check: fn(&FieldValue) -> bool,
    /// The thing that a wrong value is not, in RabbitMQ's words.
    noun: &'static str,
    /// The value that counts of a policy and an operator policy; `None` if an operator policy can't have it.
    merge: Option<Merge>,
    /// Types of queues to which a policy with this key does not apply, with all that it says (RabbitMQ's rule).
    not_for: &'static [Kind],
    /// The one among them to which it does apply if it is for this type alone: queues of this type have the argument
    /// here, and not in RabbitMQ.
    unless_named: Option<Kind>,
}

/// The value that counts of a policy's and an operator policy's.
#[derive(Clone, Copy)]
enum Merge {
    Smaller,
    Larger,
    /// The smaller one; a negative one is no limit.
    SmallerLimit,
    Operator,
}

const STREAM: &[Kind] = &[Kind::Stream];
const QUEUES: &[Kind] = &[Kind::Classic, Kind::Quorum];
const NOT_QUORUM: &[Kind] = &[Kind::Classic, Kind::Stream];
const NOT_CLASSIC: &[Kind] = &[Kind::Quorum, Kind::Stream];
const NONE: &[Kind] = &[];

/// All keys, by name, which is the order in which values are checked.
#[rustfmt::skip]
static TABLE: &[Key] = &[
    row("alternate-exchange", text, "alternate exchange name", None, NONE),
    row("consumer-disconnected-timeout", count, "consumer disconnected timeout", None, NONE),
    row("consumer-timeout", count, "consumer timeout", None, NONE),
    row("dead-letter-exchange", text, "dead letter exchange name", None, STREAM),
    row("dead-letter-routing-key", text, "dead letter routing key", None, STREAM),
    row("dead-letter-strategy", strategy, "dead letter strategy", None, NOT_QUORUM),
    row("delayed-retry-max", positive, "delayed retry maximum delay. Must be a positive integer", Some(Merge::Smaller), NONE),
    row("delayed-retry-min", positive, "delayed retry minimum delay. Must be a positive integer", Some(Merge::Larger), NONE),
    row("delayed-retry-type", retry_type, "delayed retry type. Must be one of: all, failed, returned, disabled", Some(Merge::Operator), NONE),
    row("delivery-limit", integer, "delivery limit", Some(Merge::SmallerLimit), NOT_QUORUM).unless_named(Kind::Classic),
    row("expires", positive, "queue expiry", Some(Merge::Smaller), STREAM),
    // Kept for whatever will run them, as the parameters that they name are.
    row("federation-upstream", text, "federation upstream name", None, NONE),
    row("federation-upstream-pattern", text, "federation upstream pattern name", None, NONE),
    row("federation-upstream-set", text, "federation upstream set name", None, NONE),
    row("initial-cluster-size", count, "cluster size", None, QUEUES),
    row("max-age", age, "max age", None, QUEUES),
    row("max-in-memory-bytes", count, "maximum memory in bytes", Some(Merge::Smaller), NOT_QUORUM),
    row("max-in-memory-length", count, "maximum memory in bytes", Some(Merge::Smaller), NOT_QUORUM),
    row("max-length", count, "maximum length", Some(Merge::Smaller), STREAM),
    row("max-length-bytes", count, "maximum length in bytes", Some(Merge::Smaller), NONE),
    row("message-ttl", count, "message TTL", Some(Merge::Smaller), STREAM),
    row("overflow", overflow, "overflow value", Some(Merge::Operator), STREAM),
    row("queue-leader-locator", locator, "queue leader locator value", None, NONE),
    row("queue-mode", mode, "queue-mode value", None, NOT_CLASSIC),
    row("queue-version", version, "queue-version value", Some(Merge::Operator), NONE),
    row("stream-filter-size-bytes", filter_size, "filter size. Valid range is 16-255", None, NONE),
    row("stream-max-segment-size-bytes", segment_size, "segment size", None, QUEUES),
    row("target-group-size", positive, "qq target count value", Some(Merge::Larger), NOT_QUORUM),
];

const fn row(
    name: &'static str,
    check: fn(&FieldValue) -> bool,
    noun: &'static str,
    merge: Option<Merge>,
    not_for: &'static [Kind],
) -> Key {
    Key {
        name,
        check,
        noun,
        merge,
        not_for,
        unless_named: None,
    }
}

impl Key {
    const fn unless_named(self, kind: Kind) -> Self {
        Self {
            unless_named: Some(kind),
            ..self
        }
    }
}

fn find(name: &ShortString) -> Option<&'static Key> {
    TABLE.iter().find(|row| row.name.as_bytes() == name.as_bytes())
}

/// Looks at a definition before it is taken.
///
/// # Errors
/// The fault in RabbitMQ's words: a wrong value, or keys that such a policy can't have.
pub fn check(definition: &FieldTable, operator: bool) -> Result<(), String> {
    if definition.is_empty() {
        return Err("no policy provided".to_owned());
    }
    let known = |key: &&Key| !operator || key.merge.is_some();
    let mut unknown = Vec::new();
    for (name, value) in definition {
        match find(name).filter(known) {
            Some(key) if !(key.check)(value) => return Err(format!("{} is not a valid {}", plain(value), key.noun)),
            Some(_) => {}
            None => unknown.push(format!("{{{},{}}}", binary(name.as_bytes()), plain(value))),
        }
    }
    check_retry(definition)?;
    if unknown.is_empty() {
        return Ok(());
    }
    let on_one_line = unknown.join(",");
    let list = match on_one_line.len() + 2 > WIDTH {
        true => Cow::from(unknown.join(",\n ")),
        false => on_one_line.into(),
    };
    Err(format!("[{list}] are not recognised policy settings"))
}

fn check_retry(definition: &FieldTable) -> Result<(), String> {
    let number = |key| definition.get(key).and_then(FieldValue::as_i64);
    let kind = definition.get("delayed-retry-type").and_then(FieldValue::as_str);
    let kind = kind.filter(|kind| *kind != "disabled");
    match (kind, number("delayed-retry-min"), number("delayed-retry-max")) {
        (Some(kind), None, _) => Err(format!(
            "delayed-retry-min is required when delayed-retry-type is {kind}"
        )),
        (_, Some(min), Some(max)) if max < min => Err(format!(
            "delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})"
        )),
        _ => Ok(()),
    }
}

/// True if a policy with this definition is for objects of a kind. `named`: it is for this kind alone.
pub fn is_for(definition: &FieldTable, kind: Kind, named: bool) -> bool {
    let mut keys = definition.iter().filter_map(|(name, _)| find(name));
    keys.all(|key| !key.not_for.contains(&kind) || (named && key.unless_named == Some(kind)))
}

/// The definition that counts of a policy's and an operator policy's, by key.
pub fn merge(policy: &FieldTable, operator: &FieldTable) -> FieldTable {
    let mut merged = policy.clone();
    for (name, value) in operator {
        let of_policy = name.as_str().and_then(|name| policy.get(name));
        let merge = find(name).and_then(|key| key.merge).unwrap_or(Merge::Operator);
        let counts = match of_policy {
            Some(of_policy) => merge.choose(of_policy, value),
            None => value,
        };
        merged.set(name.clone(), counts.clone());
    }
    merged.0.sort_by(|a, b| a.0.cmp(&b.0));
    merged
}

impl Merge {
    fn choose<'a>(self, policy: &'a FieldValue, operator: &'a FieldValue) -> &'a FieldValue {
        let (Some(a), Some(b)) = (policy.as_i64(), operator.as_i64()) else {
            return operator;
        };
        let policy_counts = match self {
            Self::Smaller => a <= b,
            Self::Larger => a >= b,
            Self::SmallerLimit if a < 0 || b < 0 => a >= b,
            Self::SmallerLimit => a <= b,
            Self::Operator => false,
        };
        if policy_counts { policy } else { operator }
    }
}

fn text(value: &FieldValue) -> bool {
    matches!(value, FieldValue::LongString(_))
}

fn integer(value: &FieldValue) -> bool {
    value.as_i64().is_some()
}

fn count(value: &FieldValue) -> bool {
    value.as_i64().is_some_and(|value| value >= 0)
}

fn positive(value: &FieldValue) -> bool {
    value.as_i64().is_some_and(|value| value > 0)
}

fn one_of(value: &FieldValue, names: &[&str]) -> bool {
    value.as_str().is_some_and(|text| names.contains(&text))
}

fn strategy(value: &FieldValue) -> bool {
    one_of(value, &["at-most-once", "at-least-once"])
}

fn retry_type(value: &FieldValue) -> bool {
    one_of(value, &["all", "failed", "returned", "disabled"])
}

fn overflow(value: &FieldValue) -> bool {
    one_of(value, &["drop-head", "reject-publish", "reject-publish-dlx"])
}

fn locator(value: &FieldValue) -> bool {
    one_of(value, &["client-local", "balanced", "random", "least-leaders"])
}

fn mode(value: &FieldValue) -> bool {
    one_of(value, &["default", "lazy"])
}

fn version(value: &FieldValue) -> bool {
    matches!(value.as_i64(), Some(1 | 2))
}

fn filter_size(value: &FieldValue) -> bool {
    value.as_i64().is_some_and(|size| (16..=255).contains(&size))
}

fn segment_size(value: &FieldValue) -> bool {
    value.as_i64().is_some_and(|size| (0..=SEGMENT_MAX).contains(&size))
}

/// A number and a unit: `7D`.
fn age(value: &FieldValue) -> bool {
    let Some(text) = value.as_str() else { return false };
    let number = text.strip_suffix(['Y', 'M', 'D', 'h', 'm', 's']).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
