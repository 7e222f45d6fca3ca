//! The objects of a vhost, counted: their numbers against the quotas, and the memory of their declarations.
//!
//! Comes in: objects as they come and go. Goes out: whether there is room for one more. Does not know how objects are
//! kept.

use super::names::is_reply_queue;
use crate::error::{Error, Result};
use crate::exchange::binding::Binding;
use crate::limits::{Held, Holding, Memory, Quota, Quotas, Reached};
use crate::{exchange, queue};
use parking_lot::Mutex;
use std::sync::Arc;

/// Bytes of a queue without its name and arguments, roughly; and of the others.
const QUEUE: usize = 1000;
const EXCHANGE: usize = 400;
const BINDING: usize = 300;

/// Something that is declared.
#[derive(Clone, Copy)]
pub(super) struct Declaration {
    /// `None` for one that no client has declared: its memory counts, and nothing else.
    quota: Option<Quota>,
    bytes: usize,
}

impl From<&queue::Definition> for Declaration {
    fn from(queue: &queue::Definition) -> Self {
        Self {
            quota: Some(Quota::Queues).filter(|_| !is_reply_queue(&queue.name)),
            bytes: QUEUE + kept_twice(queue.name.len() + queue.arguments.declared.octets().len()),
        }
    }
}

impl From<&exchange::Definition> for Declaration {
    fn from(exchange: &exchange::Definition) -> Self {
        Self {
            quota: Some(Quota::Exchanges),
            bytes: EXCHANGE + kept_twice(exchange.name.len() + exchange.arguments.octets().len()),
        }
    }
}

impl From<&Binding> for Declaration {
    fn from(binding: &Binding) -> Self {
        Self {
            quota: Some(Quota::Bindings),
            bytes: BINDING + kept_twice(binding.routing_key.len() + binding.arguments.octets().len()),
        }
    }
}

/// Octets here, and in the log's table of what is durable.
fn kept_twice(octets: usize) -> usize {
    octets * 2
}

/// Counts of what a vhost holds.
pub(super) struct Declared {
    quotas: Arc<Quotas>,
    memory: Arc<Memory>,
    held: Mutex<Held>,
}

impl Declared {
    pub(super) fn new(memory: Arc<Memory>, quotas: Arc<Quotas>) -> Self {
        let held = Mutex::new(memory.hold(Holding::Tables, 0));
        Self { quotas, memory, held }
    }

    /// One more that a client asks for. `refused` is the text where there are as many as there may be.
    ///
    /// # Errors
    /// 406: no more of them, or no more memory for them.
    pub(super) fn take(&self, new: impl Into<Declaration>, refused: impl FnOnce(u64) -> String) -> Result<()> {
        let Declaration { quota, bytes } = new.into();
        self.memory.admit(bytes as u64)?;
        let (used, most) = (
            self.memory.held(Holding::Tables) + bytes as u64,
            self.memory.most_of_declarations(),
        );
        if used > most {
            let text = format!("declarations take {used} bytes of memory, of which at most {most} are for them");
            return Err(Error::Precondition(text.into()));
        }
        let taken = quota.map_or(Ok(()), |quota| self.quotas.take(quota));
        taken.map_err(|Reached(most)| Error::Precondition(refused(most).into()))?;
        self.holds(|held| held + bytes as u64);
        Ok(())
    }

    /// One more in any case: one of the broker's own, or that the log has.
    pub(super) fn add(&self, new: impl Into<Declaration>) {
        let Declaration { quota, bytes } = new.into();
        quota.into_iter().for_each(|quota| self.quotas.add(quota));
        self.holds(|held| held + bytes as u64);
    }

    /// One has gone.
    pub(super) fn remove(&self, gone: impl Into<Declaration>) {
        let Declaration { quota, bytes } = gone.into();
        quota.into_iter().for_each(|quota| self.quotas.give_back(quota));
        self.holds(|held| held.saturating_sub(bytes as u64));
    }

    fn holds(&self, change: impl FnOnce(u64) -> u64) {
        let mut held = self.held.lock();
        let bytes = change(held.bytes());
        held.set(bytes);
    }
}
