//! Settlements of delivered messages: basic.ack, nack, reject, recover, and the end of the channel.
//!
//! Comes in: delivery tags. Goes out: settlements, one run per queue; within a transaction they are held.

use super::deliver::{Settled, UnknownDeliveryTag};
use super::state::{Channel, Peer, Turn};
use crate::error::{Error, Result};
use crate::queue::Outcome;
use leveret_amqp::method::BasicRecoverOk;
use std::collections::HashSet;

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
        let mut settled = Vec::new();
        self.deliveries.settle_all(&mut settled);
        if reply {
            self.reply(peer, turn, BasicRecoverOk {});
        }
        self.pass_on(turn, &settled, Outcome::Requeued);
        Ok(())
    }

    /// The channel's end: everything unacknowledged goes back. Of a consumer's messages the first one counts as failed:
    /// that is what the client was at; the others were merely prefetched. What was fetched by basic.get was asked for,
    /// one by one.
    pub fn fail_all(&mut self, turn: &mut Turn) {
        let mut settled = Vec::new();
        self.deliveries.settle_all(&mut settled);
        let mut begun = HashSet::new();
        for Settled { source, mut ids } in settled {
            let prefetched = self.sources.find(source).is_some_and(|origin| origin.consumer != 0);
            let rest = match (prefetched, begun.insert(source)) {
                (false, _) => Vec::new(),
                (true, true) => ids.split_off(1.min(ids.len())),
                (true, false) => std::mem::take(&mut ids),
            };
            for (ids, outcome) in [(ids, Outcome::Failed), (rest, Outcome::Requeued)] {
                if !ids.is_empty() {
                    self.pass_on(turn, &[Settled { source, ids }], outcome);
                }
            }
        }
    }

    /// Hands settlements to their queues. Room under a limit of the channel is offered to each of its queues in turn,
    /// not always to the one that has just had it.
    pub fn pass_on(&mut self, turn: &mut Turn, settled: &[Settled], outcome: Outcome) {
        let limited = self.deliveries.channel_prefetch() > 0;
        if limited {
            self.first_woken = self.first_woken.wrapping_add(1);
            self.wake_consumed_queues(turn);
        }
        for run in settled {
            if let Some(origin) = self.sources.find(run.source) {
                origin.queue.settle(origin.consumer, &run.ids, outcome, &mut turn.work);
            }
        }
        if limited {
            self.wake_consumed_queues(turn);
        }
    }
}
