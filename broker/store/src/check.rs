//! Looks at a data directory that no broker has open: everything in it is read and verified, nothing is changed. And
//! copies what is intact into a new directory.
//!
//! In: a directory. Out: what it holds and what is damaged; on request a clean copy. Does not know what messages or
//! table say.

use crate::batch::Batch;
use crate::checkpoint;
use crate::dry::DryFs;
use crate::error::Error;
use crate::fs::Fs;
use crate::ids::QueueId;
use crate::location::{Relative, Urgency};
use crate::options::Options;
use crate::recovered::Recovered;
use crate::recovery::identity;
use crate::store::{Handle, Store};
use crate::stored::{Destination, Returned, StoredMessage};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Bytes that are copied at a time, and most that may wait for the disk.
const CHUNK: usize = 1 << 20;
const PENDING: u64 = 64 << 20;

/// The contents of a directory.
pub struct Checked {
    /// Table, messages and damage, from reading the whole log.
    pub recovered: Recovered,
    /// True if there is a checkpoint that a start would use; `None` if there is no checkpoint at all.
    pub checkpoint: Option<bool>,
    /// Segments and the spare one, bytes.
    pub disk_bytes: u64,
    store: Store,
}

/// The outcome of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Messages copied; one that is in several queues counts once.
    pub messages: u64,
    /// Messages that cannot be read.
    pub unreadable: u64,
}

/// Reads the directory.
///
/// # Errors
/// [`Error::Locked`] when a broker has it open, [`Error::NewerFormat`], or what the system reports. Damage is no error.
pub fn check(directory: &Path, fs: &Arc<dyn Fs>) -> Result<Checked, Error> {
    let dry = Arc::new(DryFs::new(Arc::clone(fs)));
    let names = dry
        .list(directory)
        .map_err(|source| Error::io("list", directory, source))?;
    let usable = match names.iter().any(|name| name == checkpoint::FILE) {
        false => None,
        true => {
            let (id, _) = identity::establish(&*dry, directory)?;
            Some(checkpoint::load(&*dry, directory, id)?.is_some())
        }
    };
    // All of the log is to be verified.
    checkpoint::remove(&*dry, directory)?;
    let options = Options {
        checkpoint_bytes: 0,
        ..Options::new(directory)
    };
    let (store, recovered) = Store::open(options, dry, Box::new(|_| {}), Box::new(|_| {}))?;
    Ok(Checked {
        recovered,
        checkpoint: usable,
        disk_bytes: store.handle().stats().disk_bytes,
        store,
    })
}

impl Checked {
    /// Writes table and messages into a directory that must be empty or absent, and syncs it. Order, delivery counts,
    /// stamps and redelivered flags are kept.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], or what the system reports.
    pub fn copy_to(&self, directory: &Path, fs: &Arc<dyn Fs>) -> Result<Copied, Error> {
        if fs.list(directory).is_ok_and(|names| !names.is_empty()) {
            return Err(Error::NotEmpty {
                directory: directory.to_path_buf(),
            });
        }
        let options = Options::new(directory);
        let (target, _) = Store::open(options, Arc::clone(fs), Box::new(|_| {}), Box::new(|_| {}))?;
        let mut copy = Copy {
            source: self.store.handle(),
            target: target.handle(),
            batch: Batch::new(),
            returned: Vec::new(),
            copied: Copied::default(),
        };
        for (key, value) in &self.recovered.table {
            copy.batch.put(key, value);
        }
        for (&queue, backlog) in self
            .recovered
            .queues
            .iter()
            .filter(|(_, backlog)| backlog.delivered > 0)
        {
            copy.batch.delivered(queue, backlog.delivered);
        }
        copy.messages(&self.by_id()?)?;
        copy.flush()?;
        target.close()?;
        Ok(copy.copied)
    }

    /// All messages, ascending by id, with their queues.
    fn by_id(&self) -> Result<Vec<(StoredMessage, QueueId)>, Error> {
        let mut all = Vec::new();
        for (&queue, backlog) in &self.recovered.queues {
            all.extend(backlog.unpack()?.into_iter().map(|message| (message, queue)));
        }
        all.sort_by_key(|(message, queue)| (message.id, *queue));
        Ok(all)
    }
}

struct Copy {
    source: Handle,
    target: Handle,
    batch: Batch,
    /// Messages in the batch that were returned: what they are logged with is known once they have been appended.
    returned: Vec<(QueueId, Relative, StoredMessage)>,
    copied: Copied,
}

impl Copy {
    fn messages(&mut self, all: &[(StoredMessage, QueueId)]) -> Result<(), Error> {
        for group in all.chunk_by(|a, b| a.0.id == b.0.id) {
            let Some((message, _)) = group.first() else { continue };
            let payload = match self.source.read(message.location) {
                Ok(payload) => payload,
                Err(error) => {
                    tracing::warn!(id = message.id, %error, "a message cannot be read; it is left out");
                    self.copied.unreadable += 1;
                    continue;
                }
            };
            let to = group.iter().map(|(message, queue)| Destination {
                queue: *queue,
                stamp: message.stamp,
            });
            let to: Vec<Destination> = to.collect();
            let relative = self.batch.publish(message.id, &to, &[&payload]);
            let returned = group.iter().filter(|(message, _)| message.delivery_count > 0);
            self.returned
                .extend(returned.map(|(message, queue)| (*queue, relative, *message)));
            self.copied.messages += 1;
            if self.batch.len_bytes() >= CHUNK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let appended = self.target.append(&mut self.batch, Urgency::Soon)?;
        for (queue, relative, message) in self.returned.drain(..) {
            let returned = Returned {
                id: message.id,
                location: appended.location(relative),
                delivery_count: message.delivery_count,
                stamp: message.stamp,
            };
            self.batch.returned(queue, &[returned]);
        }
        self.target.append(&mut self.batch, Urgency::Soon)?;
        while self.target.pending_bytes() > PENDING {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
