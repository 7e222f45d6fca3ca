//! tx.select, tx.commit, tx.rollback: publishes and settlements of a channel that take effect together.
//!
//! Comes in: these methods; on a channel that has selected, whole messages and delivery tags. Goes out: on commit,
//! messages to the stage, then settlements, then commit-ok once the log has synced what of both is durable; what
//! consumers of the channel get by it comes after that. Messages are checked and routed when they are published and
//! returned at the commit, as RabbitMQ does it.

use super::deliver::UnknownDeliveryTag;
use super::state::{Channel, Peer, Turn};
use super::uncommitted::{Routed, Settlement, Uncommitted};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::queue::Outcome;
use crate::vhost::names::is_reply_queue;
use leveret_amqp::method::{TxCommitOk, TxRollbackOk, TxSelectOk};
use leveret_store::Lsn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Messages up to this size are copied out of the read buffer: a transaction may stay open for long, and shouldn't hold
/// more than it counts for.
const COPIED: u32 = 64 * 1024;

impl Channel {
    /// tx.select. Selecting again changes nothing.
    ///
    /// # Errors
    /// 406 on a channel with confirms.
    pub fn tx_select(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        if self.confirms.is_some() {
            return Err(Error::Precondition("cannot switch from confirm to tx mode".into()));
        }
        self.transaction
            .get_or_insert_with(|| Box::new(Uncommitted::new(peer.node.memory.clone())));
        self.info.transactional.store(true, Ordering::Relaxed);
        self.reply(peer, turn, TxSelectOk {});
        Ok(())
    }

    /// Holds a message that has been checked. `changed`: what is delivered in its place.
    ///
    /// # Errors
    /// 404 no such exchange, 403 internal exchange; 406 too much for a transaction.
    pub fn hold_publish(
        &mut self,
        peer: &Peer,
        turn: &mut Turn,
        (message, changed): (Message, Option<Message>),
        mandatory: bool,
    ) -> Result<()> {
        // RabbitMQ counts them with those that are confirmed: the commit is their confirm.
        let route = turn.publisher.get().route(&peer.vhost, &peer.actor, &message, true)?;
        // Before the commit, and whatever becomes of it (RabbitMQ).
        self.trace(peer, changed.as_ref().unwrap_or(&message), &route, &mut turn.work);
        // A message is returned as it came.
        let message = changed.filter(|_| !route.queues.is_empty()).unwrap_or(message);
        let message = if message.body_len() <= COPIED {
            message.detached()
        } else {
            message
        };
        if let Some(transaction) = &mut self.transaction {
            transaction.publish(Routed {
                route,
                message,
                mandatory,
            })?;
        }
        self.count_uncommitted();
        Ok(())
    }

    /// Holds the end of the deliveries that a tag means. They can't be settled again, and count for prefetch limits
    /// until the commit.
    ///
    /// # Errors
    /// 406 `unknown delivery tag`.
    pub fn hold_settlement(&mut self, tag: u64, multiple: bool, outcome: Outcome) -> Result<()> {
        if let Some(transaction) = &mut self.transaction {
            transaction
                .settle(outcome, |tags| self.deliveries.hold(tag, multiple, tags))
                .map_err(|UnknownDeliveryTag(tag)| Error::UnknownDeliveryTag(tag))?;
        }
        self.count_uncommitted();
        Ok(())
    }

    /// tx.commit: publishes first, so that a crash amid a commit repeats messages rather than losing them.
    ///
    /// # Errors
    /// 406 without tx.select; 406 after everything else has been done, if a queue of a message has gone since it was
    /// published, or a full one has refused it (RabbitMQ); 541 the log has failed.
    pub fn tx_commit(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let (publishes, settlements) = self.transaction.as_mut().ok_or_else(not_transactional)?.take();
        self.count_uncommitted();
        self.deliveries.hold_back();
        let mut partial = miss_a_queue(&publishes);
        let published = self.enqueue_held(peer, turn, publishes)?;
        partial |= turn.publisher.get().stage.refused_any(self.number);
        let settled = self.settle_held(peer, turn, settlements)?;
        if partial {
            return Err(Error::Precondition("partial tx completion".into()));
        }
        self.reply_when(peer, turn, published.max(settled), TxCommitOk {});
        if turn.replies.last_of(self.number).is_none() || !turn.replies.hold_back(self.number) {
            self.go_on(turn);
        }
        Ok(())
    }

    /// A reply has gone that deliveries had to wait for.
    pub fn go_on(&self, turn: &mut Turn) {
        for queue in self.deliveries.let_go() {
            queue.resume(&mut turn.work);
        }
        self.offer_room(turn);
    }

    /// tx.rollback: held messages are gone, held deliveries can be settled again.
    ///
    /// # Errors
    /// 406 without tx.select.
    pub fn tx_rollback(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let (_, settlements) = self.transaction.as_mut().ok_or_else(not_transactional)?.take();
        self.release(&settlements);
        self.count_uncommitted();
        self.reply(peer, turn, TxRollbackOk {});
        Ok(())
    }

    /// The channel's end: an open transaction never was.
    pub fn drop_transaction(&mut self) {
        if let Some(mut transaction) = self.transaction.take() {
            let (_, settlements) = transaction.take();
            self.release(&settlements);
        }
    }

    fn release(&self, settlements: &[Settlement]) {
        for Settlement { tags, .. } in settlements {
            self.deliveries.release(tags);
        }
    }

    /// All messages in one append to the log: after a crash they are all there or none. Gives what the commit waits
    /// for.
    fn enqueue_held(&self, peer: &Peer, turn: &mut Turn, publishes: Vec<Routed>) -> Result<Option<Lsn>> {
        self.info.published.fetch_add(publishes.len() as u64, Ordering::Relaxed);
        for held in publishes {
            if held.route.queues.is_empty() {
                self.lead_nowhere(peer, held.mandatory);
                if held.mandatory {
                    self.give_back(peer, turn, &held.message);
                }
            } else {
                turn.publisher
                    .get()
                    .stage
                    .push(self.number, held.route, held.message, None);
            }
        }
        turn.publisher.get().stage.flush_now(&peer.node.log, &mut turn.work)
    }

    fn settle_held(&mut self, peer: &Peer, turn: &mut Turn, settlements: Vec<Settlement>) -> Result<Option<Lsn>> {
        let before = turn.work.records_len();
        for Settlement { outcome, mut tags } in settlements {
            tags.sort_unstable();
            let mut settled = Vec::new();
            self.deliveries.settle_held(&tags, &mut settled);
            self.pass_on(turn, &settled, outcome);
        }
        if turn.work.records_len() == before {
            return Ok(None);
        }
        Ok(turn.work.append_now(&peer.node.log)?)
    }

    fn count_uncommitted(&self) {
        let (publishes, acks) = self.transaction.as_ref().map_or((0, 0), |held| held.counts());
        self.info.uncommitted.publishes.store(publishes, Ordering::Relaxed);
        self.info.uncommitted.acks.store(acks, Ordering::Relaxed);
    }
}

/// True if one of the queues that messages go to has been deleted. Queues of direct replies may go at any time.
fn miss_a_queue(publishes: &[Routed]) -> bool {
    publishes
        .chunk_by(|one, next| Arc::ptr_eq(&one.route.queues, &next.route.queues))
        .filter_map(<[Routed]>::first)
        .flat_map(|publish| publish.route.queues.iter())
        .any(|queue| queue.is_deleted() && !is_reply_queue(queue.name()))
}

fn not_transactional() -> Error {
    Error::Precondition("channel is not transactional".into())
}
