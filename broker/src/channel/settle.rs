//! Settlements of delivered messages: basic.ack, nack, reject, recover, and the end of the channel.
//!
//! Comes in: delivery tags. Goes out: settlements, one run per queue; within a transaction they are held. Where a
//! client means very many messages, they are settled in portions: to give back a million takes no more memory than to
//! hold them.

use super::deliver::{Settled, UnknownDeliveryTag};
use super::state::{Channel, Peer, Turn};
use crate::error::{Error, Result};
use crate::queue::Outcome;
use leveret_amqp::method::BasicRecoverOk;
use leveret_store::MessageId;
use std::collections::HashMap;
use std::ops::Range;

/// Messages that come back to their queues one run after the other; more come back together.
const FEW: usize = 1024;

impl Channel {
    /// Ends the messages that a tag means.
    ///
    /// # Errors
    /// 406 `unknown delivery tag`; 541 the log has failed.
    pub fn settle(&mut self, peer: &Peer, turn: &mut Turn, tag: u64, multiple: bool, outcome: Outcome) -> Result<()> {
        if self.transaction.is_some() {
            return self.hold_settlement(tag, multiple, outcome);
        }
        let unknown = |UnknownDeliveryTag(tag)| Error::UnknownDeliveryTag(tag);
        if multiple && matches!(outcome, Outcome::Requeued | Outcome::Failed) {
            let places = self.deliveries.meant(tag, multiple).map_err(unknown)?;
            if places.len() > FEW {
                return self.give_back_many(peer, turn, places, &End::By(outcome));
            }
        }
        let mut settled = Vec::new();
        while self.deliveries.settle(tag, multiple, &mut settled).map_err(unknown)? {
            self.pass_on(turn, &settled, outcome);
            turn.work.relieve(&peer.node.log)?;
            settled.clear();
        }
        self.pass_on(turn, &settled, outcome);
        Ok(())
    }

    /// basic.recover: everything unacknowledged goes back to its queues, but for what a transaction holds. `requeue`
    /// false is not done by RabbitMQ either.
    ///
    /// # Errors
    /// 540 without requeue; 541 the log has failed.
    pub fn basic_recover(&mut self, peer: &Peer, turn: &mut Turn, requeue: bool, reply: bool) -> Result<()> {
        if !requeue {
            return Err(Error::NotImplemented("requeue=false".into()));
        }
        if reply {
            self.reply(peer, turn, BasicRecoverOk {});
        }
        self.give_back_all(peer, turn, &End::By(Outcome::Requeued))
    }

    /// The channel's end: everything unacknowledged goes back. Of a consumer's messages the first one counts as failed:
    /// that is what the client was at; the others were merely prefetched. What was fetched by basic.get was asked for,
    /// one by one.
    ///
    /// # Errors
    /// 541 the log has failed.
    pub fn fail_all(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let mut begun = self.deliveries.firsts();
        begun.retain(|source, _| self.prefetched(*source));
        self.give_back_all(peer, turn, &End::OfChannel(begun))
    }

    /// True if a source is a consumer.
    fn prefetched(&self, source: u32) -> bool {
        self.sources.find(source).is_some_and(|origin| origin.consumer != 0)
    }

    /// Gives back everything that no transaction holds.
    fn give_back_all(&mut self, peer: &Peer, turn: &mut Turn, end: &End) -> Result<()> {
        let all = self.deliveries.all();
        if all.len() > FEW {
            return self.give_back_many(peer, turn, all, end);
        }
        let mut settled = Vec::new();
        self.deliveries.take_last(all, &mut settled);
        for (run, outcome) in settled.into_iter().flat_map(|run| end.of(run)) {
            self.pass_on(turn, &[run], outcome);
        }
        Ok(())
    }

    /// Gives very many messages back, the last first, so that each goes to the front of its queue. No consumer gets any
    /// of them before all are back: the order stays as it was.
    fn give_back_many(&mut self, peer: &Peer, turn: &mut Turn, mut places: Range<usize>, end: &End) -> Result<()> {
        let queues = self.sources.queues();
        queues.iter().for_each(|queue| queue.begin_returns());
        let mut done = Ok(());
        while !places.is_empty() {
            let mut settled = Vec::new();
            places = self.deliveries.take_last(places, &mut settled);
            let runs = settled.into_iter().rev().flat_map(|run| end.of(run).into_iter().rev());
            for (Settled { source, ids }, outcome) in runs {
                if let Some(origin) = self.sources.find(source) {
                    origin.queue.settle(origin.consumer, &ids, outcome, &mut turn.work);
                }
            }
            done = done.and(turn.work.relieve(&peer.node.log));
        }
        queues.iter().for_each(|queue| queue.end_returns(&mut turn.work));
        self.offer_room(turn);
        Ok(done?)
    }

    /// Hands settlements to their queues. Room under a limit of the channel is offered to each of its consumers in
    /// turn, not always to the one that has just had it; but what comes back to a queue is there before.
    pub fn pass_on(&mut self, turn: &mut Turn, settled: &[Settled], outcome: Outcome) {
        let limited = self.deliveries.channel_prefetch() > 0;
        let comes_back = matches!(outcome, Outcome::Requeued | Outcome::Failed);
        if limited && !comes_back {
            self.offer_room(turn);
        }
        for run in settled {
            if let Some(origin) = self.sources.find(run.source) {
                origin.queue.settle(origin.consumer, &run.ids, outcome, &mut turn.work);
            }
        }
        if limited && comes_back {
            self.offer_room(turn);
        }
    }
}

/// The way in which messages come back.
enum End {
    /// All in the same.
    By(Outcome),
    /// With their channel. The first message of each consumer.
    OfChannel(HashMap<u32, MessageId>),
}

impl End {
    /// The outcomes of a run, in its order.
    fn of(&self, run: Settled) -> Vec<(Settled, Outcome)> {
        let begun = match self {
            Self::By(outcome) => return vec![(run, *outcome)],
            Self::OfChannel(begun) => begun.get(&run.source),
        };
        let Some(first) = begun else {
            return vec![(run, Outcome::Failed)];
        };
        let Settled { source, mut ids } = run;
        let failed = usize::from(ids.first() == Some(first));
        let rest = ids.split_off(failed);
        [(ids, Outcome::Failed), (rest, Outcome::Requeued)]
            .into_iter()
            .filter(|(ids, _)| !ids.is_empty())
            .map(|(ids, outcome)| (Settled { source, ids }, outcome))
            .collect()
    }
}
