//! Properties of a message that mean something to the broker.
//!
//! Comes in: a message and its user, who may say to be another with RabbitMQ's tag for that. Goes out: the message as
//! it is delivered, if that is another one, or the error.
//! Pure.

use crate::access::Actor;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::queue::arguments::LONGEST;
use crate::vhost::route::has_extra_keys;
use leveret_amqp::BasicProperties;
use leveret_amqp::properties::raw;

/// Checks the size of the header (at most `max_header` bytes), user-id, expiration, CC and BCC. Gives the message as it
/// is delivered, if that is another one.
///
/// # Errors
/// 406 for one of them.
pub fn check(actor: &Actor, message: &Message, max_header: u64) -> Result<Option<Message>> {
    let properties = message.properties();
    if properties.len() as u64 > max_header {
        return Err(header_too_large(properties.len(), max_header));
    }
    if let Some(claimed) = raw::user_id(properties)
        && claimed != actor.user.as_bytes()
        && !actor.tags.is_impersonator()
    {
        let user = &actor.user;
        let claimed = String::from_utf8_lossy(claimed);
        let text = format!("user_id property set to '{claimed}' but authenticated user was '{user}'");
        return Err(Error::Precondition(text.into()));
    }
    if let Some(expiration) = raw::expiration(properties) {
        check_expiration(expiration)?;
    }
    if has_extra_keys(message) {
        return check_extra_keys(message);
    }
    Ok(None)
}

#[cold]
fn header_too_large(len: usize, most: u64) -> Error {
    let text = format!("message header size {len} is larger than configured max size {most}");
    Error::Precondition(text.into())
}

/// An expiration is a number of milliseconds in decimal, ten years at most. What is wrong with another one is said in
/// RabbitMQ's words.
fn check_expiration(expiration: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(expiration);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let rest = digits.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number = text.strip_suffix(rest).map_or(Ok(0), str::parse::<i64>);
    let wrong = match number {
        _ if rest.len() == digits.len() => "no_integer".to_owned(),
        _ if !rest.is_empty() => format!("{{leftover_string,{rest:?}}}"),
        Ok(negative @ ..0) => format!("{{value_negative,{negative}}}"),
        Ok(millis) if millis.unsigned_abs() <= LONGEST => return Ok(()),
        _ => format!("{{value_too_large,{}}}", text.trim_start_matches('+')),
    };
    Err(Error::Precondition(
        format!("invalid expiration '{text}': {wrong}").into(),
    ))
}

/// CC and BCC must be arrays; what is no text in them means nothing (RabbitMQ). Gives the message without BCC, if it
/// has one: that isn't delivered.
fn check_extra_keys(message: &Message) -> Result<Option<Message>> {
    let Ok(mut properties) = BasicProperties::parse(message.properties()) else {
        return Ok(None);
    };
    let Some(headers) = &mut properties.headers else {
        return Ok(None);
    };
    for name in ["CC", "BCC"] {
        let Some(value) = headers.get(name) else { continue };
        if value.as_array().is_none() {
            let found = value.type_name();
            let text = format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{found}}}");
            return Err(Error::Precondition(text.into()));
        }
    }
    Ok(headers
        .remove("BCC")
        .map(|_| message.with_properties(&properties.to_bytes())))
}
