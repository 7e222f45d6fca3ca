//! Direct reply-to: answers to requests without a queue that anybody declares (RabbitMQ's `amq.rabbitmq.reply-to`).
//!
//! Comes in: basic.consume of that name, messages whose reply-to is that name. Goes out: a queue that belongs to the
//! channel's consumer alone, and messages that name it instead. Who answers publishes to the default exchange with that
//! name as routing key.

use super::state::{Channel, DirectReply, Peer};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::queue::Queue;
use crate::vhost::names::REPLY_TO;
use leveret_amqp::method::BasicConsume;
use leveret_amqp::properties::raw;
use leveret_amqp::{BasicProperties, ShortString};
use std::sync::Arc;

impl Channel {
    /// The queue of a basic.consume: the one of that name, or a new one for direct replies.
    ///
    /// # Errors
    /// 404, 405 for a queue; 406 a second reply consumer, or one that would acknowledge.
    pub fn consumed_queue(&mut self, peer: &Peer, consume: &BasicConsume, tag: &ShortString) -> Result<Arc<Queue>> {
        let name = self.queue_name(&consume.queue)?;
        if name.as_bytes() != REPLY_TO.as_bytes() {
            return peer.vhost.queue(&name, &peer.actor);
        }
        if !consume.no_ack {
            return Err(Error::Precondition("reply consumer cannot acknowledge".into()));
        }
        if self.direct_reply.is_some() {
            return Err(Error::Precondition("reply consumer already set".into()));
        }
        let queue = peer.vhost.declare_reply_queue(&peer.actor)?;
        peer.info.own(queue.clone());
        self.direct_reply = Some(Box::new(DirectReply {
            consumer_tag: tag.clone(),
            name: queue.name().clone(),
        }));
        Ok(queue)
    }

    /// A request whose answers are to come directly, with the name that they can come to. `None` for any other message.
    ///
    /// # Errors
    /// 406 if the channel has no consumer for them.
    pub fn with_reply_queue(&self, message: &Message) -> Result<Option<Message>> {
        if raw::reply_to(message.properties()) != Some(REPLY_TO.as_bytes()) {
            return Ok(None);
        }
        let Some(reply) = &self.direct_reply else {
            return Err(Error::Precondition("fast reply consumer does not exist".into()));
        };
        let Ok(mut properties) = BasicProperties::parse(message.properties()) else {
            return Ok(None);
        };
        properties.reply_to = Some(reply.name.clone());
        Ok(Some(message.with_properties(&properties.to_bytes())))
    }
}
