//! Limits of users in requests and answers.
//!
//! Comes in: JSON, limits. Goes out: limits, RabbitMQ's fields, or 400 with its words. Pure.

use super::error::{Failure, Result};
use super::json::Object;
use crate::access::user::Limits;
use crate::erlang::plain;
use leveret_amqp::FieldValue;
use serde_json::{Map, Value};

/// The limits of a user, by name.
pub fn of(limits: &Limits, o: &mut Object<'_>) {
    limits.set().for_each(|(name, most)| o.integer(name, most));
}

/// The limits of a user in a request's body.
///
/// # Errors
/// 400 with RabbitMQ's words.
pub fn of_user(fields: &Map<String, Value>) -> Result<Limits> {
    let mut limits = Limits::default();
    for (name, value) in fields {
        let most = number(name, value)?;
        let limit = limits.get_mut(name).ok_or_else(|| unknown(name, value))?;
        *limit = Some(most);
    }
    Ok(limits)
}

/// A limit that is set by its name.
///
/// # Errors
/// 400 with RabbitMQ's words, for a name of no limit and for what is no number.
pub fn one(name: &str, value: &Value) -> Result<i64> {
    if Limits::default().get_mut(name).is_none() {
        return Err(unknown(name, value));
    }
    number(name, value)
}

fn number(name: &str, value: &Value) -> Result<i64> {
    value.as_i64().ok_or_else(|| {
        let found = erlang(value);
        Failure::BadRequest(format!("{name} should be a number, actually was {found}"))
    })
}

fn unknown(name: &str, value: &Value) -> Failure {
    Failure::BadRequest(format!(
        "Unrecognised terms [{{<<\"{name}\">>,{}}}] in user-limits",
        erlang(value)
    ))
}

fn erlang(value: &Value) -> String {
    match value {
        Value::String(text) => plain(&FieldValue::from(text.as_str())),
        other => other.to_string(),
    }
}
