//! AMQP's part of publishing: the tags of a channel with confirms, basic.return, and the turn-off to transactions.
//!
//! Comes in: whole messages; how far the log has come. Goes out: messages to `publish` or to the channel's transaction;
//! basic.return for a mandatory message that leads nowhere, basic.ack for those that are safe.

use super::state::{Channel, Peer, Turn};
use crate::error::Result;
use crate::message::Message;
use crate::outbox::frames::REFERRED;
use crate::publish::check::check;
use crate::publish::confirm::Confirms;
use leveret_amqp::method::{BasicNack, BasicReturn};
use leveret_amqp::{Method, ReplyCode, ShortString, put_ack, put_method_frame};
use leveret_store::Lsn;
use std::sync::atomic::Ordering;

impl Channel {
    /// Takes one message.
    ///
    /// # Errors
    /// 404 no such exchange, 403 internal exchange or without the right, 406 wrong user-id or expiration.
    pub fn publish(&mut self, peer: &Peer, turn: &mut Turn, message: Message, mandatory: bool) -> Result<()> {
        let mut changed = check(&peer.actor, &message, peer.node.max_header_bytes())?;
        if let Some(request) = self.with_reply_queue(changed.as_ref().unwrap_or(&message))? {
            changed = Some(request);
        }
        if self.transaction.is_some() {
            return self.hold_publish(peer, turn, (message, changed), mandatory);
        }
        let tag = self.confirms.as_deref_mut().map(Confirms::next_tag);
        self.info.published.fetch_add(1, Ordering::Relaxed);
        let route = turn
            .publisher
            .get()
            .route(&peer.vhost, &peer.actor, &message, tag.is_some())?;
        self.trace(peer, changed.as_ref().unwrap_or(&message), &route, &mut turn.work);
        if route.queues.is_empty() {
            self.lead_nowhere(peer, mandatory);
            if mandatory {
                self.give_back(peer, turn, &message);
            }
            if tag.is_none() {
                return Ok(());
            }
        }
        let mut message = changed.unwrap_or(message);
        let publisher = turn.publisher.get();
        if route.queues.len() > 1 || message.body_len() as usize >= REFERRED {
            message = publisher.batch.count(&peer.node.memory, message);
        }
        publisher.stage.push(self.number, route, message, tag);
        Ok(())
    }

    /// Counts a message that no queue got.
    pub fn lead_nowhere(&self, peer: &Peer, returned: bool) {
        peer.node.totals.published.unroutable(returned);
        peer.vhost.published.unroutable(returned);
        let counter = match returned {
            true => &self.info.deliveries.returned,
            false => &self.info.deliveries.dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// basic.return of a message that no queue got.
    pub fn give_back(&self, peer: &Peer, turn: &mut Turn, message: &Message) {
        let method = Method::BasicReturn(BasicReturn {
            reply_code: ReplyCode::NoRoute.number(),
            reply_text: ShortString::from_static("NO_ROUTE"),
            exchange: ShortString::try_from(message.exchange()).unwrap_or_default(),
            routing_key: ShortString::try_from(message.routing_key()).unwrap_or_default(),
        });
        let outbox = &peer.outbox;
        outbox.append(&mut turn.work.wakes, |out| {
            put_method_frame(out.encoded(), self.number, &method);
            out.put_content(
                self.number,
                peer.frame_max,
                message.properties(),
                message.body(),
                || outbox.refer_to(message.shared_body(), message.is_counted()),
            );
        });
    }

    /// basic.nack of the messages that a queue has refused, basic.ack of those that are safe now that the log is
    /// durable up to `durable`. True while others wait.
    pub fn confirm(&mut self, peer: &Peer, durable: Lsn, frames: &mut Vec<u8>) -> bool {
        let Some(confirms) = self.confirms.as_mut().filter(|_| !self.closing) else {
            return false;
        };
        for delivery_tag in confirms.take_refused() {
            let nack = BasicNack {
                delivery_tag,
                ..BasicNack::default()
            };
            put_method_frame(frames, self.number, &Method::BasicNack(nack));
        }
        if let Some(confirmed) = confirms.take(durable) {
            put_ack(frames, self.number, confirmed.up_to, confirmed.messages > 1);
            peer.node.totals.published.confirm(confirmed.messages);
            peer.vhost.published.confirm(confirmed.messages);
            self.info.confirmed.fetch_add(confirmed.messages, Ordering::Relaxed);
        }
        let unconfirmed = confirms.unconfirmed();
        self.info.unconfirmed.store(unconfirmed, Ordering::Relaxed);
        confirms.stays()
    }
}
