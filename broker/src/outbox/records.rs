//! Records that queues leave behind while a batch is gone through, on their way to the log.
//!
//! Comes in: acknowledgements, requeues, delivery marks, written under the lock of the queue that they change. Goes
//! out: one append. From the first record to the append a checkpoint waits: it may have seen the queue as it is
//! already.
//! Does not know what the records say.

use leveret_store::{Appended, Batch, Error, Handle, UnderWay, Urgency};

/// Records that no client waits for.
#[derive(Default)]
pub struct Records {
    /// `None` where there have been none for some time.
    batch: Option<Box<Batch>>,
    under_way: Option<UnderWay>,
}

impl Records {
    /// The batch to write to. To be called before the lock of the queue is let go.
    pub fn of(&mut self, log: &Handle) -> &mut Batch {
        self.under_way.get_or_insert_with(|| log.under_way());
        self.batch.get_or_insert_default()
    }

    /// Size in the log, bytes.
    pub fn len_bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.len_bytes())
    }

    /// Appends what there is; `None` if there is nothing.
    ///
    /// # Errors
    /// The log has failed.
    pub fn append(&mut self, log: &Handle, urgency: Urgency) -> Result<Option<Appended>, Error> {
        let appended = match self.batch.as_deref_mut().filter(|batch| !batch.is_empty()) {
            None => None,
            Some(batch) => Some(log.append(batch, urgency)?),
        };
        self.under_way = None;
        Ok(appended)
    }

    /// Gives up the room for more of them.
    pub fn rest(&mut self) {
        self.batch.take_if(|batch| batch.is_empty());
    }
}
