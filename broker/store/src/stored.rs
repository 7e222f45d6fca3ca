//! The values that the log and the owner of the messages tell each other about one message in one queue.
//!
//! In: records, the owner's state. Out: copyable values. Does not know about queues, payloads or bytes.
//!
//! A *stamp* is a number per message and queue that the store keeps and does not understand: a deadline, a priority, a
//! delay, as the owner sees fit. 0 is the stamp of a message that has none, and takes no space.

use crate::ids::{MessageId, QueueId};
use crate::location::Location;

/// A message that is still in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// Where its record lies.
    pub location: Location,
    /// Size of the payload in bytes.
    pub payload_len: u32,
    /// The number of times that it was returned to the queue.
    pub delivery_count: u32,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// The owner's number.
    pub stamp: u64,
}

impl StoredMessage {
    /// Its changing part.
    pub fn live(&self) -> Live {
        Live {
            delivery_count: self.delivery_count,
            stamp: self.stamp,
        }
    }
}

/// A queue that gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The queue.
    pub queue: QueueId,
    /// The message's stamp there.
    pub stamp: u64,
}

impl Destination {
    /// The queue, with a message that has no stamp.
    pub fn unstamped(queue: QueueId) -> Destination {
        Destination { queue, stamp: 0 }
    }
}

/// A message that was given back to its queue. The stamp may differ from the one before: a retry that is to wait has
/// another deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Its id.
    pub id: MessageId,
    /// Where its record lies.
    pub location: Location,
    /// The number of times that it has come back, this time included.
    pub delivery_count: u32,
    /// The stamp from now on.
    pub stamp: u64,
}

/// The changing part of a live message. A stamp changes only together with the delivery count, so that of two reports
/// the one with the higher count is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Live {
    /// The number of times that it was returned to the queue.
    pub delivery_count: u32,
    /// The owner's number.
    pub stamp: u64,
}
