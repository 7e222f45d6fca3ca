//! The far end of a consumer, as its queue sees it.
//!
//! Comes in: runs of messages, and the end of the queue. Goes out: how much the client takes at the moment. Does not
//! know about channels, protocols or how a delivery looks on the wire: each protocol implements it for its consumers.

use super::entry::Entry;
use crate::outbox::{Stalled, Wakes, Work};
use leveret_store::MessageId;
use std::sync::Arc;

/// A client's side of one consumer. Called under the queue's lock, but for [`Subscriber::cancelled`]: nothing may wait
/// here.
pub trait Subscriber: Send + Sync {
    /// Limits of the next round of deliveries.
    fn allowance(&self) -> Allowance;

    /// Writes a run of messages for the client, in the queue's order. Gives the number of the first of these
    /// deliveries; the others' follow it.
    fn deliver(&self, run: &[Entry], again: Again, work: &mut Work) -> u64;

    /// Has `queue` resumed as soon as the client has room again. False if it has room after all (the caller tries
    /// again).
    fn stall(&self, queue: &Arc<dyn Stalled>) -> bool;

    /// Has the consumer with this number resumed as soon as the limit that it shares with others leaves room, in its
    /// turn with those. False if it does after all.
    fn line_up(&self, queue: &Arc<dyn Stalled>, consumer: u64) -> bool;

    /// Takes messages back that the client has had for too long. Gives those that it has not settled; when it settles
    /// them after all, that is of no account.
    fn take_back(&self, overdue: Vec<Overdue>) -> Vec<MessageId>;

    /// Tells the client that the consumer has ended, with its queue or without.
    fn cancelled(&self, wakes: &mut Wakes);
}

/// Messages of a run that were delivered before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    /// Their number.
    pub messages: usize,
    /// True if they have their returns in their headers.
    pub tell: bool,
}

/// A delivery that has been out for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Its number, as [`Subscriber::deliver`] gave it.
    pub number: u64,
    /// Its message.
    pub id: MessageId,
}

/// Limits of a client at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// Bytes that may be written for it.
    pub room: usize,
    /// Messages to be acknowledged that it may get, if there is a limit that it shares with other consumers of its
    /// client. Where that leaves none, those without acknowledgement wait, too.
    pub shared_credit: Option<u32>,
}
