//! basic.get: one message, asked for.

use super::state::{Channel, Peer, Turn};
use crate::error::Result;
use crate::outbox::frames::Frames;
use leveret_amqp::method::{BasicGet, BasicGetEmpty, BasicGetOk};
use leveret_amqp::{Method, ShortString, put_method_frame};
use std::sync::atomic::Ordering;

impl Channel {
    /// basic.get. Prefetch limits don't apply (RabbitMQ).
    ///
    /// # Errors
    /// 404, 405 for the queue.
    pub fn basic_get(&mut self, peer: &Peer, turn: &mut Turn, get: &BasicGet) -> Result<()> {
        let name = self.queue_name(&get.queue)?;
        let queue = peer.vhost.queue_to_get_from(&name, &peer.actor)?;
        let deliveries = self.deliveries.clone();
        let source = self.sources.get(&deliveries, &queue);
        let mut frames = Frames::default();
        let outbox = &peer.outbox;
        let (traced, mut got) = (peer.vhost.is_traced(), None);
        let found = queue.get(get.no_ack, &mut turn.work, |entry, remaining| {
            let delivery_tag = deliveries.note_get(source, get.no_ack, entry.id);
            let again = u64::from(entry.redelivered);
            deliveries.figures().redelivered.fetch_add(again, Ordering::Relaxed);
            let Some(message) = &entry.message else { return };
            got = traced.then(|| (message.clone(), entry.redelivered));
            let method = Method::BasicGetOk(BasicGetOk {
                delivery_tag,
                redelivered: entry.redelivered,
                exchange: ShortString::try_from(message.exchange()).unwrap_or_default(),
                routing_key: ShortString::try_from(message.routing_key()).unwrap_or_default(),
                message_count: remaining as u32,
            });
            put_method_frame(frames.encoded(), self.number, &method);
            frames.put_content(
                self.number,
                peer.frame_max,
                message.properties(),
                message.body(),
                || outbox.refer_to(message.shared_body(), message.is_counted()),
            );
        });
        if let Some((message, redelivered)) = got {
            self.tap(peer, &queue).tell_one(&message, redelivered, &mut turn.work);
        }
        if found {
            outbox.append(&mut turn.work.wakes, |out| out.put_all(frames));
        } else {
            deliveries.figures().get_empty.fetch_add(1, Ordering::Relaxed);
            self.reply(peer, turn, BasicGetEmpty {});
        }
        Ok(())
    }
}
