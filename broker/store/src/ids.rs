//! Numbers by which the log knows queues and messages.
//!
//! In: nothing. Out: the two types. Does not know who gives them out.

/// Number of a queue. Never used for another queue again.
pub type QueueId = u64;

/// Number of a message: global, ascending, never used again.
pub type MessageId = u64;
