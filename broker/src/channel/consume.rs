//! basic.consume, basic.cancel, basic.qos: who gets messages on this channel, and how many at a time.
//!
//! Comes in: these methods. Goes out: consumers, handed to their queues; their end.

use super::state::{Channel, Consuming, Peer, Turn};
use super::subscription::{Subscription, ToClient, cancellation};
use crate::access::permissions::{Kind, Resource, Right};
use crate::error::{Error, Result};
use crate::limits::{Holding, Quota, tables};
use crate::queue::Refused;
use crate::queue::arguments::consumer::OfConsumer;
use crate::queue::consumers::{Consumer, Terms, cancelled};
use leveret_amqp::ShortString;
use leveret_amqp::method::{BasicCancel, BasicCancelOk, BasicConsume, BasicConsumeOk, BasicQos, BasicQosOk};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a consumer without its arguments, roughly.
const CONSUMER: u64 = 660;
/// Consumers of a channel that are not looked at for having ended.
const FEW: usize = 16;

impl Channel {
    /// basic.consume.
    ///
    /// # Errors
    /// 404, 405 for the queue; 530 the tag is in use, or too many consumers; 403 exclusive use; 406 arguments that are
    /// wrong or too large, or memory that is full.
    pub fn basic_consume(&mut self, peer: &Peer, turn: &mut Turn, consume: &BasicConsume) -> Result<()> {
        let tag = if consume.consumer_tag.is_empty() {
            generated_tag()
        } else {
            consume.consumer_tag.clone()
        };
        let same = self.consumers.get(&tag);
        if same.is_some_and(|consuming| consuming.queue.has_consumer(consuming.id)) {
            let text = format!("attempt to reuse consumer tag '{}'", tag.to_str_lossy());
            return Err(Error::NotAllowed(text.into()));
        }
        self.check_consumers(peer, &tag)?;
        tables::check(&consume.arguments, tables::ARGUMENTS)?;
        let takes = CONSUMER + consume.arguments.octets().len() as u64;
        // The first one of a channel is taken in any case: it may be what frees memory.
        if !self.consumers.is_empty() {
            peer.node.memory.admit(takes)?;
        }
        let queue = self.consumed_queue(peer, consume, &tag)?;
        let name = queue.name().clone();
        let OfConsumer { priority, timeout } =
            OfConsumer::parse(&consume.arguments, queue.definition.arguments.values.queue_type())
                .map_err(|invalid| peer.vhost.invalid(&name, invalid))?;
        if let Some(ended) = self.consumers.remove(&tag) {
            self.deliveries.retire_source(ended.source);
        }
        let id = peer.node.next_consumer_id();
        let source = self.sources.consumer(&self.deliveries, &queue, id);
        let terms = Terms {
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            prefetch: u32::from(self.prefetch),
            priority,
            timeout,
            arguments: consume.arguments.clone(),
        };
        let to_client = ToClient {
            tag: tag.clone(),
            no_ack: consume.no_ack,
            cancel_notify: peer.cancel_notify,
        };
        let (tap, held) = (
            Some(self.tap(peer, &queue)),
            peer.node.memory.hold(Holding::Tables, takes),
        );
        let subscription = Subscription::new(self.deliveries.clone(), source, to_client, tap, held);
        let consumer = Consumer::new(id, tag.clone(), self.id(peer), terms, Arc::new(subscription));
        // The reply must stand before the first delivery, and the queue may deliver as soon as it knows the consumer:
        // so the reply goes first and the consumer is added only if the queue will take it.
        if let Err(refused) = queue.may_consume(consume.exclusive) {
            self.deliveries.retire_source(source);
            return Err(self.consume_refused(peer, &name, &refused));
        }
        if !consume.no_wait {
            self.reply(
                peer,
                turn,
                BasicConsumeOk {
                    consumer_tag: tag.clone(),
                },
            );
        }
        match queue.consume(consumer, &mut turn.work) {
            Ok(()) => {
                self.consumers.insert(tag, Consuming { id, queue, source });
                let consumers = self.consumers.values();
                self.deliveries.tidy_line(consumers.map(|consuming| consuming.id));
                self.update_info();
                Ok(())
            }
            Err(refused) => {
                self.deliveries.retire_source(source);
                Err(self.consume_refused(peer, &name, &refused))
            }
        }
    }

    /// Room for one more consumer. Those whose queues have gone count no more, and most of them are not kept.
    fn check_consumers(&mut self, peer: &Peer, tag: &ShortString) -> Result<()> {
        if self.consumers.len() >= self.look_at {
            self.forget_ended();
            self.look_at = 2 * self.consumers.len() + FEW;
        }
        let Some(most) = peer.node.quotas.most(Quota::ConsumersPerChannel) else {
            return Ok(());
        };
        let reached = |consumers: &HashMap<_, _>| consumers.len() as u64 >= most && !consumers.contains_key(tag);
        if reached(&self.consumers) {
            self.forget_ended();
        }
        if reached(&self.consumers) {
            let text = format!("reached maximum ({most}) of consumers per channel");
            return Err(Error::NotAllowed(text.into()));
        }
        Ok(())
    }

    fn forget_ended(&mut self) {
        let ended = self
            .consumers
            .extract_if(|_, consuming| !consuming.queue.has_consumer(consuming.id));
        for (_, consuming) in ended {
            self.deliveries.retire_source(consuming.source);
        }
    }

    fn consume_refused(&self, peer: &Peer, name: &ShortString, refused: &Refused) -> Error {
        match refused {
            Refused::Gone => Error::missing("queue", name, &peer.vhost.name),
            _ => Error::ExclusiveUse {
                name: name.to_str_lossy().into_owned(),
                vhost: peer.vhost.name.clone(),
            },
        }
    }

    /// basic.cancel. Cancelling a consumer that isn't there succeeds, as RabbitMQ has it. What it has unacknowledged
    /// stays so.
    ///
    /// # Errors
    /// The log has failed.
    pub fn basic_cancel(&mut self, peer: &Peer, turn: &mut Turn, cancel: &BasicCancel) -> Result<()> {
        let mut goes_on = None;
        if let Some(consuming) = self.consumers.remove(&cancel.consumer_tag) {
            self.direct_reply
                .take_if(|reply| reply.consumer_tag == cancel.consumer_tag);
            let others = self.end_consumer(peer, turn, &consuming)?;
            goes_on = others.then_some(consuming.queue);
            self.update_info();
        }
        if !cancel.no_wait {
            self.reply(
                peer,
                turn,
                BasicCancelOk {
                    consumer_tag: cancel.consumer_tag.clone(),
                },
            );
        }
        if let Some(queue) = goes_on {
            queue.dispatch(&mut turn.work);
        }
        Ok(())
    }

    /// Cancels the consumers whose queues the user may not read any more, and tells the client.
    ///
    /// # Errors
    /// The log has failed.
    pub fn cancel_forbidden(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let vhost = peer.vhost.name.as_str();
        let forbidden = self.consumers.iter().filter(|(_, consuming)| {
            let (kind, name) = (Kind::Queue, consuming.queue.name().as_bytes());
            peer.actor.check(Right::Read, &Resource { vhost, kind, name }).is_err()
        });
        let forbidden: Vec<ShortString> = forbidden.map(|(tag, _)| tag.clone()).collect();
        for consumer_tag in forbidden {
            if peer.cancel_notify {
                self.reply(peer, turn, cancellation(consumer_tag.clone()));
            }
            let no_wait = true;
            self.basic_cancel(peer, turn, &BasicCancel { consumer_tag, no_wait })?;
        }
        Ok(())
    }

    /// Takes a consumer from its queue; an auto-delete queue goes with its last one. True if the queue has something
    /// for another one now.
    fn end_consumer(&self, peer: &Peer, turn: &mut Turn, consuming: &Consuming) -> Result<bool> {
        self.deliveries.retire_source(consuming.source);
        if consuming.queue.cancel(consuming.id) {
            let told = peer.vhost.expire_queue(&consuming.queue, true)?;
            cancelled(&told, &mut turn.work.wakes);
            return Ok(false);
        }
        Ok(consuming.queue.hands_over())
    }

    /// basic.qos. With global=true the limit is the channel's, shared by its consumers, as RabbitMQ before 4.3 has it.
    ///
    /// # Errors
    /// 540 for a prefetch size.
    pub fn basic_qos(&mut self, peer: &Peer, turn: &mut Turn, qos: &BasicQos) -> Result<()> {
        if qos.prefetch_size != 0 {
            return Err(Error::NotImplemented(
                format!("prefetch_size!=0 ({})", qos.prefetch_size).into(),
            ));
        }
        if qos.global {
            self.deliveries.set_channel_prefetch(u32::from(qos.prefetch_count));
        } else {
            self.prefetch = qos.prefetch_count;
        }
        self.update_info();
        self.reply(peer, turn, BasicQosOk {});
        if qos.global {
            self.offer_room(turn);
        }
        Ok(())
    }

    /// The channel-wide limit may leave room again: those that wait for it get it, one after the other.
    pub fn offer_room(&self, turn: &mut Turn) {
        while let Some((queue, consumer)) = self.deliveries.next_in_line() {
            queue.resume_consumer(consumer, &mut turn.work);
        }
    }
}

/// `amq.ctag-` and 22 random characters, as RabbitMQ names consumers.
fn generated_tag() -> ShortString {
    let random: [u8; 16] = rand::random();
    let text = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random);
    ShortString::truncated(&format!("amq.ctag-{text}"))
}
