//! A consumer of a queue for one peer, from its begin to its end.
//!
//! Comes in: the peer's side of it; what has become of messages. Goes out: settlements to the queue; at the end, what
//! the peer has not dealt with, in its order.
//! Does not know what a peer does with a message.

use super::peer::{CHANNEL, Peer, Turn};
use crate::channel::tap::Tap;
use crate::error::{Error, Result};
use crate::queue::consumers::{ChannelId, Consumer, Terms, cancelled};
use crate::queue::subscriber::Subscriber;
use crate::queue::{Outcome, Queue, Refused};
use leveret_amqp::ShortString;
use leveret_store::MessageId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Messages that go back at a time.
const PORTION: usize = 8192;

/// A consumer.
pub struct Consuming {
    queue: Arc<Queue>,
    id: u64,
}

/// The message that a peer was at when it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// None: it had not got them.
    Untouched,
    /// The first of its messages, which counts as failed. The others were merely on their way.
    AtTheFirst,
}

impl Consuming {
    /// A consumer of `queue`, which hands it what it can take.
    ///
    /// # Errors
    /// 403 another consumer has the queue for itself; 404 it has gone.
    pub fn begin(
        peer: &Peer,
        turn: &mut Turn,
        queue: &Arc<Queue>,
        terms: Terms,
        subscriber: Arc<dyn Subscriber>,
    ) -> Result<Self> {
        let id = peer.node.next_consumer_id();
        let tag = ShortString::truncated(&format!("zmq-{}", peer.socket.name.name));
        let channel = ChannelId {
            connection: peer.info.id,
            number: CHANNEL,
        };
        let consumer = Consumer::new(id, tag, channel, terms, subscriber);
        let refused = |refused| match refused {
            Refused::Gone => Error::missing("queue", queue.name(), &peer.vhost.name),
            _ => Error::ExclusiveUse {
                name: queue.name().to_str_lossy().into_owned(),
                vhost: peer.vhost.name.clone(),
            },
        };
        queue.consume(consumer, &mut turn.work).map_err(refused)?;
        peer.channel.consumers.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            queue: queue.clone(),
            id,
        })
    }

    /// Its queue.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Messages have been dealt with.
    pub fn acknowledge(&self, turn: &mut Turn, ids: &[MessageId]) {
        if !ids.is_empty() {
            self.queue.settle(self.id, ids, Outcome::Acked, &mut turn.work);
        }
    }

    /// The peer has gone: messages that it has not dealt with go back. `ids`: gives them, once no more can come. An
    /// auto-delete queue goes with its last consumer.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&self, peer: &Peer, turn: &mut Turn, left: Left, ids: impl FnOnce() -> Vec<MessageId>) -> Result<()> {
        peer.channel.consumers.fetch_sub(1, Ordering::Relaxed);
        if self.queue.cancel(self.id) {
            let told = peer.vhost.expire_queue(&self.queue, true)?;
            cancelled(&told, &mut turn.work.wakes);
            return Ok(());
        }
        let done = self.give_back(peer, turn, &ids(), left);
        if self.queue.hands_over() {
            self.queue.dispatch(&mut turn.work);
        }
        done
    }

    /// The last ones first, so that each goes to the front of its queue; nobody gets any before all are back.
    fn give_back(&self, peer: &Peer, turn: &mut Turn, ids: &[MessageId], left: Left) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let failed = usize::from(left == Left::AtTheFirst);
        let (first, others) = ids.split_at(failed);
        let mut done = Ok(());
        self.queue.begin_returns();
        for portion in others.rchunks(PORTION) {
            self.queue.settle(self.id, portion, Outcome::Requeued, &mut turn.work);
            done = done.and(turn.work.relieve(&peer.node.log));
        }
        if !first.is_empty() {
            self.queue.settle(self.id, first, Outcome::Failed, &mut turn.work);
        }
        self.queue.end_returns(&mut turn.work);
        Ok(done?)
    }
}

/// The things to tell of deliveries from a queue, while tracing is on.
pub fn tap(peer: &Peer, queue: &Queue) -> Tap {
    Tap {
        vhost: peer.vhost.clone(),
        node: peer.node.clone(),
        client: peer.info.clone(),
        channel: CHANNEL,
        queue: queue.name().clone(),
    }
}
