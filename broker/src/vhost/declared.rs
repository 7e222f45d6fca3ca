//! The objects of a vhost, counted: their numbers against the quotas, and the memory of their declarations.
//!
//! Comes in: objects as they come and go. Goes out: whether there is room for one more. Does not know how objects are
//! kept.

use super::names::is_reply_queue;
use super::shared::admit;
use crate::error::{Error, Result};
use crate::exchange::binding::Binding;
use crate::limits::{Held, Holding, Memory, Quota, Quotas, Reached};
use crate::{exchange, queue};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Queues that clients have declared.
    queues: AtomicU64,
    quotas: Arc<Quotas>,
    memory: Arc<Memory>,
    held: Mutex<Held>,
}

impl Declared {
    pub(super) fn new(memory: Arc<Memory>, quotas: Arc<Quotas>) -> Self {
        let held = Mutex::new(memory.hold(Holding::Tables, 0));
        Self {
            queues: AtomicU64::new(0),
            quotas,
            memory,
            held,
        }
    }

    /// Queues that clients have declared.
    pub(super) fn queues(&self) -> u64 {
        self.queues.load(Ordering::Relaxed)
    }

    /// One more that a client asks for. `refused` is the text where there are as many as there may be.
    ///
    /// # Errors
    /// 406: no more of them, or no more memory for them.
    pub(super) fn take(&self, new: impl Into<Declaration>, refused: impl FnOnce(u64) -> String) -> Result<()> {
        let Declaration { quota, bytes } = new.into();
        admit(&self.memory, bytes as u64)?;
        let taken = quota.map_or(Ok(()), |quota| self.quotas.take(quota));
        taken.map_err(|Reached(most)| Error::Precondition(refused(most).into()))?;
        self.count(quota, 1);
        self.holds(|held| held + bytes as u64);
        Ok(())
    }

    /// One more in any case: one of the broker's own, or that the log has.
    pub(super) fn add(&self, new: impl Into<Declaration>) {
        let Declaration { quota, bytes } = new.into();
        quota.into_iter().for_each(|quota| self.quotas.add(quota));
        self.count(quota, 1);
        self.holds(|held| held + bytes as u64);
    }

    /// One has gone.
    pub(super) fn remove(&self, gone: impl Into<Declaration>) {
        let Declaration { quota, bytes } = gone.into();
        quota.into_iter().for_each(|quota| self.quotas.give_back(quota));
        self.count(quota, 1u64.wrapping_neg());
        self.holds(|held| held.saturating_sub(bytes as u64));
    }

    fn count(&self, quota: Option<Quota>, more: u64) {
        if quota == Some(Quota::Queues) {
            self.queues.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn holds(&self, change: impl FnOnce(u64) -> u64) {
        let mut held = self.held.lock();
        let bytes = change(held.bytes());
        held.set(bytes);
    }
}
