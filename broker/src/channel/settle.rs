//! Settlements of delivered messages: basic.ack, nack, reject, recover, and the end of the channel.
//!
//! Comes in: delivery tags. Goes out: settlements, one run per queue; within a transaction they are held.

use super::deliver::{Settled, UnknownDeliveryTag};
use super::state::{Channel, Peer, Turn};
use crate::error::{Error, Result};
use crate::queue::Outcome;
use leveret_amqp::method::BasicRecoverOk;

impl Channel {
    /// Ends the messages that a tag means.
    ///
    /// # Errors
    /// 406 `unknown delivery tag`.
    pub fn settle(&mut self, turn: &mut Turn, tag: u64, multiple: bool, outcome: Outcome) -> Result<()> {
        if self.transaction.is_some() {
            return self.hold_settlement(tag, multiple, outcome);
        }
        let mut settled = Vec::new();
        self.deliveries
            .settle(tag, multiple, &mut settled)
            .map_err(|UnknownDeliveryTag(tag)| Error::UnknownDeliveryTag(tag))?;
        self.pass_on(turn, &settled, outcome);
        Ok(())
    }

    /// basic.recover: everything unacknowledged goes back to its queues, but for what a transaction holds. `requeue`
    /// false is not done by RabbitMQ either.
    ///
    /// # Errors
    /// 540 without requeue.
    pub fn basic_recover(&mut self, peer: &Peer, turn: &mut Turn, requeue: bool, reply: bool) -> Result<()> {
        if !requeue {
            return Err(Error::NotImplemented("requeue=false".into()));
        }
        self.requeue_all(turn);
        if reply {
            self.reply(peer, turn, BasicRecoverOk {});
        }
        Ok(())
    }

    /// Puts everything unacknowledged back: basic.recover, or the channel's end.
    pub fn requeue_all(&mut self, turn: &mut Turn) {
        let mut settled = Vec::new();
        self.deliveries.settle_all(&mut settled);
        self.pass_on(turn, &settled, Outcome::Requeued);
    }

    /// Hands settlements to their queues.
    pub fn pass_on(&self, turn: &mut Turn, settled: &[Settled], outcome: Outcome) {
        for run in settled {
            if let Some(origin) = self.sources.find(run.source) {
                origin.queue.settle(origin.consumer, &run.ids, outcome, &mut turn.work);
            }
        }
        if self.deliveries.channel_prefetch() > 0 {
            self.wake_consumed_queues(turn);
        }
    }
}
