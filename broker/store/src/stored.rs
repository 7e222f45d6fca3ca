//! What the log knows of a message in a queue.
//!
//! In: records. Out: a copyable value. Does not know about queues or payloads.

use crate::MessageId;
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
    /// How often it was returned to the queue.
    pub delivery_count: u32,
    /// It may have been delivered before.
    pub redelivered: bool,
}
