//! basic.publish: checks a message and finds its queues.
//!
//! Comes in: whole messages. Goes out: to the stage with their routes, or to the channel's transaction; basic.return for what is
//! mandatory and leads nowhere.

use super::state::{Channel, Desk, Peer};
use crate::error::{Error, Result};
use crate::message::{BASIC, Message};
use crate::vhost::route::{NoExchange, has_extra_keys};
use leveret_amqp::method::BasicReturn;
use leveret_amqp::properties::raw;
use leveret_amqp::{BasicProperties, Method, ReplyCode, ShortString, put_content, put_method_frame};
use std::sync::atomic::Ordering;

impl Channel {
    /// Takes one message.
    ///
    /// # Errors
    /// 404 no such exchange, 403 internal exchange or without the right, 406 wrong user-id or expiration.
    pub fn publish(&mut self, peer: &Peer, desk: &mut Desk, message: Message, mandatory: bool) -> Result<()> {
        let mut changed = check(&peer.actor.user, &message)?;
        if let Some(request) = self.with_reply_queue(changed.as_ref().unwrap_or(&message))? {
            changed = Some(request);
        }
        if self.transaction.is_some() {
            return self.hold_publish(peer, desk, (message, changed), mandatory);
        }
        let confirm = self.confirms.as_mut().map(super::confirm::Confirms::next_tag);
        desk.received.0 += 1;
        desk.received.1 += u64::from(confirm.is_some());
        self.info.published.fetch_add(1, Ordering::Relaxed);
        let route = desk
            .routes
            .route(&peer.vhost, &peer.actor, &message)
            .map_err(|reason| no_exchange(reason, peer, &message))?;
        if route.queues.is_empty() {
            peer.node.totals.unroutable(mandatory);
            if mandatory {
                self.give_back(peer, desk, &message);
            }
        }
        if route.queues.is_empty() && confirm.is_none() {
            return Ok(());
        }
        desk.stage.push(self.number, route, changed.unwrap_or(message), confirm);
        Ok(())
    }

    /// basic.return of a message that no queue got.
    pub fn give_back(&self, peer: &Peer, desk: &mut Desk, message: &Message) {
        let method = Method::BasicReturn(BasicReturn {
            reply_code: ReplyCode::NoRoute.number(),
            reply_text: ShortString::from_static("NO_ROUTE"),
            exchange: ShortString::try_from(message.exchange()).unwrap_or_default(),
            routing_key: ShortString::try_from(message.routing_key()).unwrap_or_default(),
        });
        peer.outbox.append(&mut desk.work.wakes, |out| {
            put_method_frame(out, self.number, &method);
            put_content(
                out,
                self.number,
                peer.frame_max,
                BASIC,
                message.properties(),
                message.body(),
            );
        });
    }
}

/// Checks the properties that mean something to the broker. Gives the message as it is delivered, if that is another one.
///
/// # Errors
/// 406 wrong user-id, expiration, CC or BCC.
pub fn check(user: &str, message: &Message) -> Result<Option<Message>> {
    let properties = message.properties();
    if let Some(claimed) = raw::user_id(properties)
        && claimed != user.as_bytes()
    {
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

/// What a client is told that publishes to an exchange that isn't there, or isn't for clients.
pub fn no_exchange(reason: NoExchange, peer: &Peer, message: &Message) -> Error {
    let name = ShortString::try_from(message.exchange()).unwrap_or_default();
    match reason {
        NoExchange::Missing => Error::missing("exchange", &name, &peer.vhost.name),
        NoExchange::Internal => {
            let (name, vhost) = (name.to_str_lossy(), &peer.vhost.name);
            Error::AccessRefused(format!("cannot publish to internal exchange '{name}' in vhost '{vhost}'").into())
        }
        NoExchange::Denied(error) => *error,
    }
}

/// RabbitMQ refuses an expiration that isn't a number of milliseconds in decimal. Messages don't expire in this version, so a
/// right one is refused too, rather than kept for ever in silence.
fn check_expiration(expiration: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(expiration);
    if text.parse::<u32>().is_err() {
        return Err(Error::Precondition(
            format!("invalid expiration '{text}': not a number of milliseconds").into(),
        ));
    }
    let why = "message expiration is not supported by this version of the broker; publish without it";
    Err(Error::Precondition(
        format!("invalid expiration '{text}': {why}").into(),
    ))
}

/// CC and BCC must be arrays of text (RabbitMQ). Gives the message without BCC, if it has one: that isn't delivered.
fn check_extra_keys(message: &Message) -> Result<Option<Message>> {
    let Ok(mut properties) = BasicProperties::parse(message.properties()) else {
        return Ok(None);
    };
    let Some(headers) = &mut properties.headers else {
        return Ok(None);
    };
    for name in ["CC", "BCC"] {
        let Some(value) = headers.get(name) else { continue };
        let keys = value.as_array();
        if !keys.is_some_and(|keys| keys.iter().all(|key| key.as_bytes().is_some())) {
            let text = format!(
                "invalid message: header '{name}' must be an array of text, is {}",
                value.type_name()
            );
            return Err(Error::Precondition(text.into()));
        }
    }
    Ok(headers
        .remove("BCC")
        .map(|_| message.with_properties(&properties.to_bytes())))
}
