//! A durable log for message queues: one shared write-ahead log per data directory, with group commit.
//!
//! Queues are numbers, messages are bytes. [`Batch`] encodes, [`Handle::append`] queues, one writer thread writes and syncs
//! everything that is queued at once, and [`Handle::durable`] tells how far it has come. `README.md` has the files byte by byte.
//!
//! The modules in the order of an append's way, then of the way back, then of what keeps the directory small:
#![warn(missing_docs)]

/// A directory that nobody has open: verified, copied.
pub mod check;

/// Open, close, handles.
mod store;

/// The single writer: one write, one sync, many appends.
mod writer;

/// Zeros of the next segment, ahead of time.
mod prepare;

/// Drops dead segments, empties nearly dead ones.
mod reclaim;

/// A payload by its location.
mod reader;

/// What a start from a checkpoint has not read, verified.
mod verify;

/// What the log came to, so that a start need not read all of it.
mod checkpoint;

/// What threads and handles share.
mod shared;

/// Start: torn tail, damage, everything rebuilt.
mod recovery;

/// Settings and figures.
mod options;

/// The end of the log in memory.
mod log;

/// Counters per segment; newest places of table keys.
mod ledger;

/// Encodes records outside any lock.
mod batch;

/// Records of a file in order, over damage.
mod scan;

/// Whether those who append have to wait for reclaim.
mod crowd;

/// Messages of each queue during recovery.
mod index;

/// Who holds the messages, as the store asks them.
mod owner;

/// What a directory held.
mod recovered;

/// The messages of one queue.
mod backlog;

/// Stretches of a queue's messages, packed.
mod page;

/// One segment file.
mod segment;

/// Records: bytes to values and back.
mod record;

/// Values about one message in one queue.
mod stored;

/// Places in the log.
mod location;

/// The file that holds packed pages.
mod pages;

/// One process per directory.
mod lock;

/// The seam to the file system.
pub mod fs;

/// What can go wrong.
mod error;

/// Crashes at random moments, checked against a model.
#[cfg(test)]
mod simulation;

/// Each call of the file system fails once.
#[cfg(test)]
mod faults;

pub use backlog::Backlog;
pub use batch::Batch;
pub use error::Error;
pub use location::{Appended, Location, Lsn, Relative, Urgency};
pub use options::{Options, Stats};
pub use owner::Owner;
pub use page::Page;
pub use recovered::{Corrupt, Recovered, RecoveryReport};
pub use store::{Handle, Store, UnderWay};
pub use stored::{Destination, Live, Returned, StoredMessage};

/// Number of a queue. Never used for another queue again.
pub type QueueId = u64;

/// Number of a message: global, ascending, never used again.
pub type MessageId = u64;
