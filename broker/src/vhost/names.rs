//! Names: which belong to the broker, which it makes, and what it strips from those of clients.
//!
//! Pure, but for chance.

use crate::error::{Error, Result};
use leveret_amqp::ShortString;

/// The name under which a client consumes direct replies.
pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// Prefix of the names of queues that direct replies go through.
pub(super) const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to.";

/// Prefix of the names of queues that the broker makes for subscribers of ZeroMQ.
pub(super) const SUBSCRIBER_QUEUE: &str = "amq.zmq-";

/// True for a queue that the broker has made for one subscriber: no right to it is asked for, as no client has named
/// it.
pub(super) fn is_subscriber_queue(name: &ShortString) -> bool {
    name.as_bytes().starts_with(SUBSCRIBER_QUEUE.as_bytes())
}

/// True for a queue of direct replies: no client has declared it, so lists leave it out.
pub fn is_reply_queue(name: &ShortString) -> bool {
    name.as_bytes().starts_with(REPLY_QUEUE.as_bytes())
}

/// A prefix and 22 random characters, as RabbitMQ names queues.
pub(super) fn random_name(prefix: &str, taken: impl Fn(&ShortString) -> bool) -> ShortString {
    loop {
        let random: [u8; 16] = rand::random();
        let random = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random);
        let name = ShortString::truncated(&format!("{prefix}{random}"));
        if !taken(&name) {
            return name;
        }
    }
}

/// Refuses names that belong to the broker (`amq.`), as RabbitMQ does.
pub(super) fn check_reserved(kind: &'static str, name: &ShortString) -> Result<()> {
    if name.as_bytes().starts_with(b"amq.") {
        let text = format!("{kind} name '{}' contains reserved prefix 'amq.*'", name.to_str_lossy());
        return Err(Error::AccessRefused(text.into()));
    }
    Ok(())
}

/// Names without carriage returns and line feeds, which RabbitMQ strips from declared names.
pub fn clean_name(name: &ShortString) -> ShortString {
    if !name.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return name.clone();
    }
    let clean: Vec<u8> = name
        .as_bytes()
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    ShortString::try_from(&clean[..]).unwrap_or_default()
}
