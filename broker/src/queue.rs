//! Queues: their messages, the order in which these leave, and the consumers that get them.
//!
//! Comes in: runs of new messages, settlements, consumers. Goes out: runs of messages to subscribers, records for the
//! log.
//! Does not know about channels, connections and protocols, nor about exchanges, bindings or the vhost.

/// Other policies while it lives.
pub mod change;

/// Messages handed to consumers, in rounds.
pub mod dispatch;

/// Its end when it is unused.
pub mod disuse;

/// The ends of deliveries.
pub mod settle;

/// Pauses before another attempt.
pub mod retry;

/// Its limit.
pub mod limit;

/// Consumers that are late.
pub mod timeout;

/// Messages that come to several queues.
pub mod arrival;

/// Messages that leave without acknowledgement.
pub mod dead;

/// A look at its figures.
pub mod look;

/// One queue behind its lock.
pub mod state;

/// Consumers, and who is next.
pub mod consumers;

/// Turns by priority.
mod turns;

/// Publishers' rate while consumers are behind.
pub mod flow;

/// Counters.
pub mod totals;

/// Times of a consumer's deliveries.
pub mod time_limit;

/// Messages that wait for another attempt.
pub mod delayed;

/// Messages delivered and not yet settled.
pub mod unsettled;

/// Delivered messages by id.
pub mod outstanding;

/// Messages that wait.
pub mod ready;

/// Messages that wait, by priority.
pub mod levels;

/// Messages that wait, by id.
pub mod run;

/// A client's side of a consumer.
pub mod subscriber;

/// Waiting messages behind the front, as pointers into the log.
pub mod tail;

/// The owner and the clock of a queue.
pub mod upkeep;

/// Dead letters on their way to the owner.
pub mod burial;

/// The time that it may be unused.
pub mod lease;

/// Limits of its length.
pub mod bounds;

/// Deadlines of waiting messages.
pub mod deadlines;

/// The time that its messages may wait.
pub mod time_to_live;

/// Messages by id, few or many.
pub mod entries;

/// One message in one queue.
pub mod entry;

/// Times in which its consumers take no more.
pub mod held;

/// Its policies.
pub mod policies;

/// Counts of its returns.
pub mod returns;

/// Arguments of a queue, in a table.
pub mod arguments;

/// Levels of a queue with priorities.
pub mod priority;

/// The queue's number for a message.
pub mod stamp;

pub use settle::Outcome;
pub use state::{Definition, Deleted, Queue, Refused};

#[cfg(test)]
mod tests;
