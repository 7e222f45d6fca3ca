//! The things that all vhosts of a broker share: the log, its clock, counts of memory and objects, numbers of queues;
//! and whoever is told of what happens in any of them.
//!
//! Comes in: what the broker has one of. Goes out: the same, to each vhost. A vhost has no task, thread or file of its
//! own. Does not know how many vhosts there are.

use super::directory::Directory;
use super::ids::QueueIds;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::limits::{Holding, Memory, Quotas};
use crate::queue::burial::Burials;
use leveret_store::Handle;
use parking_lot::RwLock;
use std::sync::{Arc, Weak};

/// The vhost that a client gets that names none, and on whose event exchange the events of all are told (RabbitMQ's
/// defaults).
pub const MAIN: &str = "/";

/// The things that all vhosts share.
pub struct Shared {
    /// The log.
    pub log: Handle,
    /// Memory.
    pub memory: Arc<Memory>,
    /// Numbers of things, and the most of each.
    pub quotas: Arc<Quotas>,
    /// The queues of all of them.
    pub queues: Directory,
    pub(super) queue_ids: QueueIds,
    pub(super) clock: Option<Arc<Clock>>,
    /// Dead letters that wait.
    pub(super) burials: Option<Arc<Burials>>,
    audience: RwLock<Option<Weak<dyn Audience>>>,
}

/// Somebody who is told what happens in all vhosts.
pub(super) trait Audience: Send + Sync {
    /// Events of a vhost, or of the broker, that followed from what `user` did.
    fn hear(&self, vhost: Option<&str>, user: &str, events: &[Event]);
}

impl Shared {
    /// For vhosts that keep their things in this log. Without a clock, messages do not expire.
    pub fn new(
        log: Handle,
        memory: Arc<Memory>,
        queue_ids: QueueIds,
        clock: Option<Arc<Clock>>,
        quotas: Arc<Quotas>,
    ) -> Arc<Self> {
        let burials = clock.clone();
        let burials = burials.map(|clock| Burials::new(clock, log.clone(), memory.clone()));
        Arc::new(Self {
            log,
            memory,
            quotas,
            queues: Directory::default(),
            queue_ids,
            clock,
            burials,
            audience: RwLock::default(),
        })
    }

    /// Asks for room for `bytes` more that a client wants declared.
    ///
    /// # Errors
    /// 406: no more memory for it.
    pub fn admit(&self, bytes: u64) -> Result<()> {
        admit(&self.memory, bytes)
    }

    /// Tells events of the broker, which are none of a vhost. Call it without any lock held.
    pub fn tell(&self, user: &str, events: &[Event]) {
        if let Some(audience) = self.audience() {
            audience.hear(None, user, events);
        }
    }

    pub(super) fn audience(&self) -> Option<Arc<dyn Audience>> {
        self.audience.read().as_ref().and_then(Weak::upgrade)
    }

    pub(super) fn set_audience(&self, audience: Weak<dyn Audience>) {
        *self.audience.write() = Some(audience);
    }
}

/// Asks for room for `bytes` more that a client wants declared.
///
/// # Errors
/// 406: no more memory for it.
pub(super) fn admit(memory: &Memory, bytes: u64) -> Result<()> {
    memory.admit(bytes)?;
    let (used, most) = (memory.held(Holding::Tables) + bytes, memory.most_of_declarations());
    if used > most {
        let text = format!("declarations take {used} bytes of memory, of which at most {most} are for them");
        return Err(Error::Precondition(text.into()));
    }
    Ok(())
}
