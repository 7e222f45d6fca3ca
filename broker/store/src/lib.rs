//! A durable log for message queues: one shared write-ahead log per data directory, with group commit.
//!
//! Queues are numbers, messages are bytes. [`Batch`] encodes, [`Handle::append`] queues, one writer thread writes and
//! syncs everything that is queued at once, and [`Handle::durable`] tells how far it has come. `README.md` has the
//! files byte by byte.
//!
//! The modules from the whole to the single byte: each uses only what stands below it, and its own children.
#![warn(missing_docs)]

/// A directory that no process has open: verified, copied.
pub mod check;

/// A file system of which nothing is changed.
mod dry;

/// The store: open, close, handles.
mod store;

/// Figures of a running store.
mod stats;

/// The single writer: one write, one sync, many appends.
mod writer;

/// Zeros of the next segment, ahead of time.
mod prepare;

/// A small directory: dead segments dropped, nearly dead ones emptied.
mod reclaim;

/// A checkpoint taken while the work goes on.
mod checkpointer;

/// A payload by its location.
mod reader;

/// Segments that a start from a checkpoint has not read, verified.
mod verify;

/// Positions, wake-ups and counters that threads and handles share.
mod shared;

/// Names in the directory: files, for nobody else.
mod layout;

/// Start: torn tail, damage, everything rebuilt.
mod recovery;

/// The file `checkpoint`: an index over the log, so that a start need not read all of it.
mod checkpoint;

/// The end of the log in memory.
mod log;

/// Counters per segment; newest places of table keys.
mod ledger;

/// Records encoded outside any lock.
mod batch;

/// Records of a file in order, over damage.
mod scan;

/// Backpressure: publishers wait while reclaim catches up.
mod backpressure;

/// Messages of each queue during recovery.
mod index;

/// The owner of the messages, as the store asks it.
mod owner;

/// The contents of a directory, as its opening found them.
mod recovered;

/// The messages of one queue.
mod backlog;

/// Stretches of a queue's messages, packed.
mod page;

/// The file that holds packed pages.
mod pages;

/// Files of segments, few of them open.
mod handles;

/// One segment file.
mod segment;

/// Records: bytes to values and back.
mod record;

/// Values about one message in one queue.
mod stored;

/// Places in the log.
mod location;

/// Numbers of queues and messages.
mod ids;

/// Settings.
mod options;

/// One process per directory.
mod lock;

/// Waiting for file descriptors.
mod patient;

/// The seam to the file system.
pub mod fs;

/// Errors, each with the place and the remedy.
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
pub use ids::{MessageId, QueueId};
pub use location::{Appended, Location, Lsn, Relative, Urgency};
pub use options::Options;
pub use owner::Owner;
pub use page::Page;
pub use recovered::{Corrupt, Recovered, RecoveryReport};
pub use stats::Stats;
pub use store::{Handle, Store, UnderWay};
pub use stored::{Destination, Live, Returned, StoredMessage};
