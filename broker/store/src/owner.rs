//! The owner of the messages, as the store asks it.
//!
//! In: questions of the reclaim thread. Out: answers about single messages, or all of them. Does not know how they are
//! kept.

use crate::backlog::Backlog;
use crate::ids::{MessageId, QueueId};
use crate::location::Location;
use crate::stored::Live;

/// The owner of the messages. Called from the reclaim thread, never with a lock of the store held.
pub trait Owner: Send + Sync {
    /// The delivery count and the stamp of the message, or `None` when it is settled. `stamp`: the one that the record
    /// has, if it has one: an owner that keeps messages by a part of it that doesn't change knows where to look.
    ///
    /// Settlements may be appended a little after this starts to answer `None`. A return should be appended before its
    /// count shows here, or under the same lock: in between, the count that a restart finds can come out one too high.
    fn live(&self, queue: QueueId, id: MessageId, stamp: Option<u64>) -> Option<Live>;

    /// The record has been copied and the copy is durable: from now on the message is at `to`. `stamp`: as with
    /// [`Owner::live`].
    ///
    /// False when the message was settled meanwhile; once the owner has appended that, the store appends a settlement
    /// that covers the copy.
    fn relocate(&self, queue: QueueId, id: MessageId, stamp: Option<u64>, to: Location) -> bool;

    /// Hands over the messages of each queue that has any in the log, one queue after the other, waiting and delivered
    /// ones alike, with their delivery counts, stamps and redelivered flags (`delivered` is not looked at). For a
    /// checkpoint.
    fn capture(&self, visit: &mut dyn FnMut(QueueId, Backlog));
}
