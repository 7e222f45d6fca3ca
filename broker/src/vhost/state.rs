//! What a vhost holds, and what a change of it leaves behind.
//!
//! Topology changes take one lock and are appended to the log under it, so the log has them in their order. Every
//! operation is carried out for an actor, whose rights are asked for where RabbitMQ does.
//! Comes in: look-ups, and records of a change from the operations beside this file. Goes out: queues, sums, positions
//! in the log. Does not know about the rules by which things come and go: those are `declare`, `bind` and `delete`.

use super::declared::Declared;
use super::names::is_reply_queue;
use super::published::Published;
use super::settings::{Limit, Settings};
use super::shared::Shared;
use crate::access::Actor;
use crate::access::permissions::{Kind as ResourceKind, Resource, Right};
use crate::error::{Error, Result};
use crate::exchange::binding::{Binding, DestinationKind};
use crate::exchange::{Definition, Exchange, Type, direct, fanout, headers, topic};
use crate::limits::{Held, Holding, Memory, Reached};
use crate::policy::Policies;
use crate::queue::Queue;
use crate::queue::arguments::QueueType;
use crate::queue::totals::ByType;
use crate::queue::upkeep::Upkeep;
use leveret_amqp::{RawTable, ShortString};
use leveret_store::{Batch, Handle, Lsn, Urgency};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The exchanges that every vhost has (AMQP 0-9-1, 3.1.3, and RabbitMQ's event and trace exchanges).
static PREDECLARED: [(&str, &Type, bool); 8] = [
    ("", &direct::TYPE, false),
    ("amq.direct", &direct::TYPE, false),
    ("amq.fanout", &fanout::TYPE, false),
    ("amq.headers", &headers::TYPE, false),
    ("amq.match", &headers::TYPE, false),
    ("amq.topic", &topic::TYPE, false),
    (TRACE, &topic::TYPE, true),
    (crate::events::EXCHANGE, &topic::TYPE, true),
];

/// The exchange that copies of messages are published to, while tracing is on.
pub const TRACE: &str = "amq.rabbitmq.trace";

/// A virtual host.
pub struct Vhost {
    /// Its name.
    pub name: String,
    pub(super) topology: RwLock<Topology>,
    /// Grows with every change of the topology: what caches of routes are checked against.
    pub(super) version: AtomicU64,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Handle,
    pub(super) memory: Arc<Memory>,
    pub(super) declared: Declared,
    /// One change of the policies after the other: what follows from one is done without the topology's lock.
    pub(super) policy_changes: Mutex<()>,
    /// For its queues: itself, and the clock.
    pub(super) upkeep: Upkeep,
    settings: RwLock<Kept>,
    /// Connections that are open to it.
    entered: AtomicU64,
    /// Set, with the topology locked, once it is being deleted.
    ended: AtomicBool,
    /// Its setting `tracing`, for a look at each message.
    traced: AtomicBool,
    /// Queues declared, created, deleted.
    pub churn: Churn,
    /// Messages published to it.
    pub published: Published,
    /// Traffic of clients that have gone.
    pub gone: Gone,
}

/// Traffic of clients that have gone, bytes.
#[derive(Debug, Default)]
pub struct Gone {
    /// Received from them.
    pub received: AtomicU64,
    /// Sent to them.
    pub sent: AtomicU64,
}

/// Bytes of a vhost without its settings and exchanges, roughly.
const VHOST: u64 = 2_800;

/// Settings, and their memory.
struct Kept {
    settings: Arc<Settings>,
    held: Held,
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
    /// The counts of deleted queues, once there are any.
    retired: Mutex<Option<Box<ByType>>>,
}

impl Churn {
    pub(super) fn retire(&self, queue: &Queue) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
        let queue_type = queue.definition.arguments.values.queue_type();
        let mut retired = self.retired.lock();
        retired
            .get_or_insert_default()
            .add(queue_type, &queue.snapshot().counts());
    }
}

/// A connection that is open to a vhost, and counts there until this is dropped.
pub struct Entered(Arc<Vhost>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.entered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The objects of a vhost.
#[derive(Default)]
pub struct Topology {
    /// By name.
    pub exchanges: HashMap<ShortString, Exchange>,
    /// By name.
    pub queues: HashMap<ShortString, Arc<Queue>>,
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
    pub fn new(name: String, settings: Settings, shared: &Arc<Shared>) -> Arc<Self> {
        let declared = Declared::new(shared.memory.clone(), shared.quotas.clone());
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
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            name,
            topology: RwLock::new(topology),
            version: AtomicU64::new(1),
            log: shared.log.clone(),
            memory: shared.memory.clone(),
            declared,
            policy_changes: Mutex::default(),
            upkeep: Upkeep {
                owner: Some(me.clone()),
                clock: shared.clock.clone(),
                burials: shared.burials.clone(),
            },
            shared: shared.clone(),
            traced: AtomicBool::new(settings.tracing),
            settings: RwLock::new(Kept {
                held: shared.memory.hold(Holding::Tables, Self::bytes(&settings)),
                settings: Arc::new(settings),
            }),
            entered: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            churn: Churn::default(),
            published: Published::default(),
            gone: Gone::default(),
        })
    }

    /// Its settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().settings.clone()
    }

    /// Other settings from now on. The log has them already.
    pub fn set_settings(&self, settings: Settings) {
        let mut kept = self.settings.write();
        kept.held.set(Self::bytes(&settings));
        self.traced.store(settings.tracing, Ordering::Relaxed);
        kept.settings = Arc::new(settings);
    }

    /// True if copies of all messages go to [`TRACE`].
    #[inline]
    pub fn is_traced(&self) -> bool {
        self.traced.load(Ordering::Relaxed)
    }

    /// Memory of a vhost with these settings, beside that of its exchanges, roughly.
    pub fn bytes(settings: &Settings) -> u64 {
        // They are here, and in the log's table.
        VHOST + 2 * settings.octets() as u64
    }

    /// Counts a connection, if there may be one more.
    ///
    /// # Errors
    /// There are as many as its limit allows.
    pub fn enter(self: &Arc<Self>) -> std::result::Result<Entered, Reached> {
        let before = self.entered.fetch_add(1, Ordering::Relaxed);
        let entered = Entered(self.clone());
        match self.settings.read().settings.most(Limit::Connections) {
            Some(most) if before >= most => Err(Reached(most)),
            _ => Ok(entered),
        }
    }

    /// True once it is being deleted: what it had is going, and nothing can be declared in it.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Nothing can be declared from now on.
    pub fn close(&self) {
        let _nobody_adds = self.topology.write();
        self.ended.store(true, Ordering::Release);
    }

    /// Takes out all that there is, at once. It must have been closed.
    pub(super) fn take_all(&self) -> Topology {
        let mut topology = self.topology.write();
        topology.queues.values().for_each(|queue| self.churn.retire(queue));
        self.changed();
        std::mem::take(&mut *topology)
    }

    /// The topology, to look at. Don't hold it across anything slow.
    pub fn topology(&self) -> RwLockReadGuard<'_, Topology> {
        self.topology.read()
    }

    /// The topology, to add something to it.
    ///
    /// # Errors
    /// 320 once the vhost is being deleted.
    pub(super) fn topology_to_add_to(&self) -> Result<RwLockWriteGuard<'_, Topology>> {
        let topology = self.topology.write();
        if self.is_ended() {
            return Err(Error::Forced(self.words_of_end().into()));
        }
        Ok(topology)
    }

    /// RabbitMQ's words to the clients of a vhost that is deleted.
    pub fn words_of_end(&self) -> String {
        format!("vhost '{}' is deleted", self.name)
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
        let mut sums = ByType::default();
        self.add_sums(&mut sums);
        sums
    }

    /// Adds [`Vhost::sums`] to those of others.
    pub fn add_sums(&self, sums: &mut ByType) {
        let topology = self.topology.read();
        if let Some(retired) = self.churn.retired.lock().as_deref() {
            sums.add_all(retired);
        }
        for queue in topology.queues.values() {
            sums.add(queue.definition.arguments.values.queue_type(), &queue.snapshot());
        }
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

    /// Any right to an object is enough to know of it. Who has none is told of the first (RabbitMQ).
    pub(super) fn check_any(&self, actor: &Actor, kind: ResourceKind, name: &ShortString) -> Result<()> {
        let asked = self.check(actor, Right::Configure, kind, name.as_bytes());
        let other = |right| self.check(actor, right, kind, name.as_bytes());
        asked.or_else(|refused| {
            let allowed = other(Right::Write).is_ok() || other(Right::Read).is_ok();
            if allowed { Ok(()) } else { Err(refused) }
        })
    }

    pub(super) fn check(&self, actor: &Actor, right: Right, kind: ResourceKind, name: &[u8]) -> Result<()> {
        let vhost = &self.name;
        actor.check(right, &Resource { vhost, kind, name })
    }

    /// A right to a routing key of a topic exchange.
    pub(super) fn check_topic(&self, actor: &Actor, right: Right, exchange: &[u8], key: &[u8]) -> Result<()> {
        let resource = Resource {
            vhost: &self.name,
            kind: ResourceKind::Exchange,
            name: exchange,
        };
        actor.check_topic(right, &resource, key)
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
    pub(super) fn commit(&self, records: &mut Batch, urgency: Urgency) -> Result<Change> {
        self.changed();
        if records.is_empty() {
            return Ok(Change {
                lsn: None,
                changed: true,
            });
        }
        let appended = self.log.append(records, urgency)?;
        Ok(Change {
            lsn: Some(appended.lsn),
            changed: true,
        })
    }
}
