//! Values of arguments as they come from clients, checked as RabbitMQ checks them.
//!
//! Comes in: a field of a table. Goes out: its typed value, or what is wrong with it, in RabbitMQ's words. Pure.
//! Does not know which argument has which value.

use super::retry::RetryType;
use super::values::{Overflow, QueueType};
use leveret_amqp::{FieldValue, ShortString};

/// Ten years in milliseconds, the longest time that RabbitMQ takes.
pub const LONGEST: u64 = 315_360_000_000;

/// The reason why a queue can't have an argument.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// A value that isn't allowed, or an argument that isn't supported: a text for the client.
    Value(String),
    /// A value of this type, where a name is wanted.
    Type(&'static str),
    /// An argument of other queue types than this one.
    QueueType(QueueType),
}

/// A queue type.
pub(super) fn queue_type(value: &FieldValue) -> Result<QueueType, Reason> {
    match text(value)? {
        "classic" => Ok(QueueType::Classic),
        "quorum" => Ok(QueueType::Quorum),
        "stream" => Err(Reason::Value(
            "queue type 'stream' is not supported; use 'classic' or 'quorum'".into(),
        )),
        other => Err(Reason::Value(format!("\"unsupported queue type '{other}'\""))),
    }
}

/// The conduct of a full queue.
pub(super) fn overflow(value: &FieldValue) -> Result<Overflow, Reason> {
    match text(value)? {
        "drop-head" => Ok(Overflow::DropHead),
        "reject-publish" => Ok(Overflow::Reject),
        "reject-publish-dlx" => Ok(Overflow::RejectToDeadLetters),
        _ => Err(Reason::Value("invalid_overflow".into())),
    }
}

/// A strategy for dead letters. There is one here, better than both: a move is one batch of the log.
pub(super) fn dead_letter_strategy(value: &FieldValue) -> Result<(), Reason> {
    match text(value)? {
        "at-most-once" | "at-least-once" => Ok(()),
        _ => Err(Reason::Value("invalid_dlx_strategy".into())),
    }
}

/// A version of classic queues: there is one.
pub(super) fn version(value: &FieldValue) -> Result<(), Reason> {
    match count(value)? {
        2 => Ok(()),
        other => Err(Reason::Value(format!("\"unsupported queue version '{other}'\""))),
    }
}

/// A rule by which a cluster places queues.
pub(super) fn leader_locator(value: &FieldValue) -> Result<(), Reason> {
    match text(value)? {
        "client-local" | "balanced" | "random" | "least-leaders" => Ok(()),
        _ => Err(Reason::Value("invalid_queue_locator_arg".into())),
    }
}

/// Any value.
#[expect(clippy::unnecessary_wraps, reason = "a row's check")]
pub(super) fn anything(_: &FieldValue) -> Result<(), Reason> {
    Ok(())
}

/// An integer of any width.
pub(super) fn integer(value: &FieldValue) -> Result<i64, Reason> {
    value.as_i64().ok_or_else(|| {
        let found = value.type_name();
        Reason::Value(format!("\"expected integer, got {found}\""))
    })
}

/// An integer of any width that isn't negative.
pub(super) fn count(value: &FieldValue) -> Result<u64, Reason> {
    let number = integer(value)?;
    u64::try_from(number).map_err(|_| Reason::Value(format!("{{value_negative,{number}}}")))
}

/// The returns after which a message waits.
pub(super) fn retry_type(value: &FieldValue) -> Result<RetryType, Reason> {
    use RetryType::{All, Disabled, Failed, Returned};
    let name = text(value)?;
    let known = [All, Failed, Returned, Disabled]
        .into_iter()
        .find(|known| known.name() == name);
    known.ok_or_else(|| Reason::Value("invalid_delayed_retry_type".into()))
}

/// Milliseconds, at least one.
pub(super) fn pause(value: &FieldValue) -> Result<u64, Reason> {
    match count(value)? {
        0 => Err(Reason::Value("{value_zero,0}".into())),
        millis => Ok(millis),
    }
}

/// A number that is of no account.
pub(super) fn any_count(value: &FieldValue) -> Result<(), Reason> {
    count(value).map(|_| ())
}

/// The size of a group of replicas, of which there is one here.
pub(super) fn group_size(value: &FieldValue) -> Result<(), Reason> {
    match count(value)? {
        0 => Err(Reason::Value("{value_zero,0}".into())),
        _ => Ok(()),
    }
}

/// A number of levels.
pub(super) fn highest_priority(value: &FieldValue) -> Result<u8, Reason> {
    let number = count(value)?;
    u8::try_from(number).map_err(|_| Reason::Value(format!("{{max_value_exceeded,{number}}}")))
}

/// Milliseconds: ten years at most, as in RabbitMQ.
pub(super) fn time_to_live(value: &FieldValue) -> Result<u64, Reason> {
    match count(value)? {
        large if large > LONGEST => Err(Reason::Value(format!("{{value_too_large,{large}}}"))),
        millis => Ok(millis),
    }
}

/// Milliseconds, at least one.
pub(super) fn lease(value: &FieldValue) -> Result<u64, Reason> {
    match time_to_live(value)? {
        0 => Err(Reason::Value("{value_zero,0}".into())),
        millis => Ok(millis),
    }
}

/// The name of an exchange. RabbitMQ takes one that is too long for an exchange to have; then there is none.
pub(super) fn exchange(value: &FieldValue) -> Result<ShortString, Reason> {
    match value {
        FieldValue::LongString(bytes) => Ok(ShortString::try_from(bytes.clone()).unwrap_or_default()),
        other => Err(Reason::Type(other.type_name())),
    }
}

/// A routing key.
pub(super) fn routing_key(value: &FieldValue) -> Result<ShortString, Reason> {
    match value {
        FieldValue::LongString(bytes) => {
            ShortString::try_from(bytes.clone()).map_err(|_| Reason::Value("\"longer than 255 octets\"".into()))
        }
        other => Err(unacceptable(other)),
    }
}

/// A boolean.
pub(super) fn flag(value: &FieldValue) -> Result<bool, Reason> {
    match value {
        FieldValue::Bool(flag) => Ok(*flag),
        other => Err(unacceptable(other)),
    }
}

/// A long string. One that isn't UTF-8 is none that an argument knows.
fn text(value: &FieldValue) -> Result<&str, Reason> {
    match value {
        FieldValue::LongString(bytes) => Ok(std::str::from_utf8(bytes).unwrap_or_default()),
        other => Err(unacceptable(other)),
    }
}

/// The reason for a value of a wrong type.
fn unacceptable(value: &FieldValue) -> Reason {
    Reason::Value(format!("{{unacceptable_type,{}}}", value.type_name()))
}

/// The reason for an argument that this version does not obey.
pub(super) fn not_supported() -> Reason {
    Reason::Value("not supported by this version of the broker; declare the queue without it".into())
}
