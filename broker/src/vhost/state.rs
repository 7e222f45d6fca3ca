//! What a vhost holds, and what a change of it leaves behind.
//!
//! Topology changes take one lock and are appended to the log under it, so the log has them in their order. Every
//! operation is carried out for an actor, whose rights are asked for where RabbitMQ does.
//! Comes in: look-ups, and records of a change from the operations beside this file. Goes out: queues, sums, positions
//! in the log. Does not know about the rules by which things come and go: those are `declare`, `bind` and `delete`.

use super::declared::Declared;
use super::ids::QueueIds;
use super::names::is_reply_queue;
use crate::access::Actor;
use crate::access::permissions::{Kind as ResourceKind, Resource, Right};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::exchange::binding::{Binding, DestinationKind};
use crate::exchange::{Definition, Exchange, Type, direct, fanout, headers, topic};
use crate::limits::{Memory, Quotas};
use crate::policy::Policies;
use crate::queue::Queue;
use crate::queue::arguments::QueueType;
use crate::queue::burial::Burials;
use crate::queue::totals::ByType;
use crate::queue::upkeep::Upkeep;
use leveret_amqp::{RawTable, ShortString};
use leveret_store::{Batch, Handle, Lsn, QueueId, Urgency};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The exchanges that every vhost has (AMQP 0-9-1, 3.1.3, and RabbitMQ's event and trace exchanges).
static PREDECLARED: [(&str, &Type, bool); 8] = [
    ("", &direct::TYPE, false),
    ("amq.direct", &direct::TYPE, false),
    ("amq.fanout", &fanout::TYPE, false),
    ("amq.headers", &headers::TYPE, false),
    ("amq.match", &headers::TYPE, false),
    ("amq.topic", &topic::TYPE, false),
    ("amq.rabbitmq.trace", &topic::TYPE, true),
    (crate::events::EXCHANGE, &topic::TYPE, true),
];

/// A virtual host.
pub struct Vhost {
    /// Its name.
    pub name: String,
    pub(super) topology: RwLock<Topology>,
    /// Grows with every change of the topology: what caches of routes are checked against.
    pub(super) version: AtomicU64,
    pub(super) queue_ids: Arc<QueueIds>,
    pub(super) log: Handle,
    pub(super) memory: Arc<Memory>,
    pub(super) declared: Declared,
    /// One change of the policies after the other: what follows from one is done without the topology's lock.
    pub(super) policy_changes: Mutex<()>,
    /// For its queues: itself, and the clock.
    pub(super) upkeep: Upkeep,
    /// Queues declared, created, deleted.
    pub churn: Churn,
}

/// Counters of a vhost since the broker started.
#[derive(Debug, Default)]
pub struct Churn {
    /// Declarations of queues, passive ones included.
    pub declared: AtomicU64,
    /// Queues created.
    pub created: AtomicU64,
    /// Queues deleted.
    pub deleted: AtomicU64,
    /// Dead letters dropped because their way takes too many steps, or leads through too many queues.
    pub letters_lost: AtomicU64,
    /// The counts of deleted queues.
    retired: Mutex<ByType>,
}

impl Churn {
    pub(super) fn retire(&self, queue: &Queue) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
        let queue_type = queue.definition.arguments.values.queue_type();
        self.retired.lock().add(queue_type, &queue.snapshot().counts());
    }
}

/// The objects of a vhost.
#[derive(Default)]
pub struct Topology {
    /// By name.
    pub exchanges: HashMap<ShortString, Exchange>,
    /// By name.
    pub queues: HashMap<ShortString, Arc<Queue>>,
    /// By number in the log.
    pub queues_by_id: HashMap<QueueId, Arc<Queue>>,
    /// The bindings that lead to a queue or exchange.
    pub incoming: HashMap<(DestinationKind, ShortString), HashSet<Arc<Binding>>>,
    /// The policies.
    pub policies: Arc<Policies>,
}

/// The effect of a change: the log position that its reply waits for, and the events to tell.
#[must_use]
#[derive(Debug, Default)]
pub struct Change {
    /// The change is durable from here on; `None` if there is nothing to wait for.
    pub lsn: Option<Lsn>,
    /// True if anything changed.
    pub changed: bool,
}

impl Vhost {
    /// A vhost with the predeclared exchanges.
    pub fn new(
        name: String,
        log: Handle,
        memory: Arc<Memory>,
        queue_ids: Arc<QueueIds>,
        clock: Option<Arc<Clock>>,
        quotas: Arc<Quotas>,
    ) -> Arc<Self> {
        let declared = Declared::new(memory.clone(), quotas);
        let mut topology = Topology::default();
        for (exchange, kind, internal) in PREDECLARED {
            let name = ShortString::from_static(exchange);
            let definition = Definition {
                name: name.clone(),
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: RawTable::new(),
            };
            // These types take any arguments.
            if let Ok(exchange) = Exchange::new(definition) {
                declared.add(&exchange.definition);
                topology.exchanges.insert(name, exchange);
            }
        }
        let upkeep = Upkeep {
            burials: clock
                .clone()
                .map(|clock| Burials::new(clock, log.clone(), memory.clone())),
            clock,
            owner: None,
        };
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            name,
            topology: RwLock::new(topology),
            version: AtomicU64::new(1),
            queue_ids,
            log,
            memory,
            declared,
            policy_changes: Mutex::default(),
            upkeep: Upkeep {
                owner: Some(me.clone()),
                ..upkeep
            },
            churn: Churn::default(),
        })
    }

    /// The topology, to look at. Don't hold it across anything slow.
    pub fn topology(&self) -> RwLockReadGuard<'_, Topology> {
        self.topology.read()
    }

    /// Changes with every change of the topology.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The log.
    pub fn log(&self) -> &Handle {
        &self.log
    }

    /// A queue that `actor` reads from: consumes, gets, purges.
    ///
    /// # Errors
    /// 403 without the right; 404 if there is none, 405 if it belongs to another connection.
    pub fn queue(&self, name: &ShortString, actor: &Actor) -> Result<Arc<Queue>> {
        self.check_queue(actor, Right::Read, name)?;
        self.find_queue(name, actor)
    }

    /// A queue that `actor` gets single messages from.
    ///
    /// # Errors
    /// As [`Vhost::queue`]; 405 for a quorum queue with one active consumer at a time (RabbitMQ).
    pub fn queue_to_get_from(&self, name: &ShortString, actor: &Actor) -> Result<Arc<Queue>> {
        let queue = self.queue(name, actor)?;
        let queue_type = queue.definition.arguments.values.queue_type();
        if queue_type == QueueType::Quorum && queue.hands_over() {
            return Err(Error::SingleActive {
                name: name.to_str_lossy().into_owned(),
                vhost: self.name.clone(),
                queue_type: queue_type.name(),
            });
        }
        Ok(queue)
    }

    pub(super) fn find_queue(&self, name: &ShortString, actor: &Actor) -> Result<Arc<Queue>> {
        let topology = self.topology.read();
        let queue = topology
            .queues
            .get(name)
            .ok_or_else(|| Error::missing("queue", name, &self.name))?;
        self.check_owner(queue, actor)?;
        Ok(queue.clone())
    }

    /// All declared queues: those for direct replies are left out.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        let topology = self.topology.read();
        let declared = topology.queues.values().filter(|queue| !is_reply_queue(queue.name()));
        declared.cloned().collect()
    }

    /// The sums of all queues, with what deleted ones had counted: under one lock, so that no count is missed or
    /// doubled.
    pub fn sums(&self) -> ByType {
        let topology = self.topology.read();
        let mut sums = *self.churn.retired.lock();
        for queue in topology.queues.values() {
            sums.add(queue.definition.arguments.values.queue_type(), &queue.snapshot());
        }
        sums
    }

    /// A queue by its number in the log: for compaction.
    pub fn queue_by_id(&self, id: QueueId) -> Option<Arc<Queue>> {
        self.topology.read().queues_by_id.get(&id).cloned()
    }

    pub(super) fn check_owner(&self, queue: &Queue, actor: &Actor) -> Result<()> {
        if actor.is_shut_out(queue.definition.owner) {
            return Err(self.locked(queue.name()));
        }
        Ok(())
    }

    pub(super) fn check_queue(&self, actor: &Actor, right: Right, name: &ShortString) -> Result<()> {
        self.check(actor, right, ResourceKind::Queue, name.as_bytes())
    }

    pub(super) fn check_exchange(&self, actor: &Actor, right: Right, name: &ShortString) -> Result<()> {
        self.check(actor, right, ResourceKind::Exchange, name.as_bytes())
    }

    /// Any right to an object is enough to know of it.
    pub(super) fn check_any(&self, actor: &Actor, kind: ResourceKind, name: &ShortString) -> Result<()> {
        let mut asked = Ok(());
        for right in Right::ALL {
            asked = self.check(actor, right, kind, name.as_bytes());
            if asked.is_ok() {
                break;
            }
        }
        asked
    }

    pub(super) fn check(&self, actor: &Actor, right: Right, kind: ResourceKind, name: &[u8]) -> Result<()> {
        let vhost = &self.name;
        actor.check(right, &Resource { vhost, kind, name })
    }

    pub(super) fn locked(&self, name: &ShortString) -> Error {
        Error::Locked {
            name: name.to_str_lossy().into_owned(),
            vhost: self.name.clone(),
        }
    }

    pub(super) fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Appends topology records. Call it with the topology locked for writing, so that the log's order is the real one.
    pub(super) fn commit(&self, records: &mut Batch) -> Result<Change> {
        self.changed();
        if records.is_empty() {
            return Ok(Change {
                lsn: None,
                changed: true,
            });
        }
        let appended = self.log.append(records, Urgency::Now)?;
        Ok(Change {
            lsn: Some(appended.lsn),
            changed: true,
        })
    }
}
