//! The arguments of a queue: which there are, what they may be, and when two sets of them are the same.
//!
//! Comes in: `x-arguments` of a declaration. Goes out: nothing, or what is wrong with them. Pure.

use crate::error::{Error, Inequivalent, Result};
use leveret_amqp::{FieldTable, FieldValue, ShortString};

/// Arguments that mean something in RabbitMQ and that this version does not do: refused rather than ignored.
const NOT_SUPPORTED: [&str; 26] = [
    "x-message-ttl",
    "x-expires",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-max-priority",
    "x-delivery-limit",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
    "x-quorum-initial-group-size",
    "x-max-in-memory-length",
    "x-message-deduplication",
    "x-cache-size",
    "x-cache-ttl",
    "x-deduplication-header",
];

/// Arguments that must be equal when a queue is declared again (RabbitMQ ignores what it doesn't know).
const COMPARED: [&str; 1] = ["x-queue-type"];

/// Checks the arguments of a new queue.
///
/// # Errors
/// 406 `invalid arg` with the argument, its value and what is allowed.
pub fn check(arguments: &FieldTable, name: &ShortString, vhost: &str) -> Result<()> {
    let invalid = |arg: &str, reason: String| Error::InvalidArgument {
        arg: arg.to_owned(),
        name: name.to_str_lossy().into_owned(),
        vhost: vhost.to_owned(),
        reason,
    };
    for (key, value) in arguments.iter() {
        let key = key.to_str_lossy();
        if NOT_SUPPORTED.contains(&key.as_ref()) {
            return Err(invalid(
                &key,
                "not supported by this version of the broker; declare the queue without it".into(),
            ));
        }
        if key == "x-queue-type" && value.as_str() != Some("classic") {
            let given = value.as_str().map_or_else(|| format!("{value:?}"), str::to_owned);
            return Err(invalid(
                &key,
                format!("queue type '{given}' is not supported; use 'classic'"),
            ));
        }
        if key == "x-queue-version" && value.as_i64() != Some(2) {
            return Err(invalid(
                &key,
                format!("unsupported queue version '{value:?}'; use 2 or leave it out"),
            ));
        }
    }
    Ok(())
}

/// Compares the arguments of a declaration with those of the queue that exists.
///
/// # Errors
/// 406 `inequivalent arg` for the first one that differs.
pub fn compare(current: &FieldTable, received: &FieldTable, name: &ShortString, vhost: &str) -> Result<()> {
    let classic = FieldValue::LongString("classic".into());
    for arg in COMPARED {
        let (have, got) = (current.get(arg), received.get(arg));
        let default = Some(&classic).filter(|_| arg == "x-queue-type");
        let same = match (have.or(default), got.or(default)) {
            (Some(a), Some(b)) => crate::exchange::headers::same(a, b),
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Err(inequivalent("queue", arg, name, vhost, described(got), described(have)));
        }
    }
    Ok(())
}

/// 406 `inequivalent arg`.
pub fn inequivalent(
    kind: &'static str,
    arg: &str,
    name: &ShortString,
    vhost: &str,
    received: String,
    current: String,
) -> Error {
    let name = name.to_str_lossy().into_owned();
    Error::Inequivalent(Box::new(Inequivalent {
        arg: arg.to_owned(),
        kind,
        name,
        vhost: vhost.to_owned(),
        received,
        current,
    }))
}

/// A value as RabbitMQ shows it in `inequivalent arg`.
pub fn described(value: Option<&FieldValue>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    let shown = match value {
        FieldValue::LongString(_) => value.as_str().map_or_else(|| format!("{value:?}"), str::to_owned),
        FieldValue::Bool(on) => on.to_string(),
        other => other
            .as_i64()
            .map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    };
    format!("the value '{shown}' of type '{}'", value.type_name())
}
