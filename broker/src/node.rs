//! Everything that connections share: vhosts, the log's handle, the clients, limits, counters.
//!
//! Comes in: vhosts and clients as they come and go, syncs of the log. Goes out: references to each of them; for the
//! log, the messages that queues still need.
//! Does not know about sockets, frames, channels or the HTTP API.

use crate::access::Access;
use crate::clients::{Pauses, Registry};
use crate::limits::bodies::Bodies;
use crate::limits::logins::Logins;
use crate::limits::{Alarms, Descriptors, Memory, Quotas, disk::Disk};
use crate::outbox::Outbox;
use crate::parameters::Parameters;
use crate::sizes::Sizes;
use crate::vhost::Vhost;
use crate::vhost::published::Published;
use crate::vhosts::Vhosts;
use leveret_store::{Backlog, Handle, Live, Location, Lsn, MessageId, Owner, QueueId};
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// The broker as its connections see it.
pub struct Node {
    /// Its name in the HTTP API.
    pub name: String,
    /// Largest message body, bytes.
    max_message_bytes: AtomicU64,
    /// Largest header of a message, bytes.
    max_header_bytes: AtomicU64,
    /// Users that may log in.
    pub access: Access,
    /// The durable log.
    pub log: Handle,
    /// Virtual hosts.
    pub hosts: Vhosts,
    /// Clients that are connected.
    pub connections: Registry,
    /// Connections that wait for the log.
    pub durability: Arc<Durability>,
    /// Memory of queued messages.
    pub memory: Arc<Memory>,
    /// Clients that have not logged in.
    pub logins: Arc<Logins>,
    /// Bodies that arrive in pieces.
    pub bodies: Arc<Bodies>,
    /// Free disk space.
    pub disk: Arc<Disk>,
    /// File descriptors, and connections of all protocols.
    pub descriptors: Arc<Descriptors>,
    /// True if publishers must wait for memory or disk space.
    pub alarms: Arc<Alarms>,
    /// Counters over all queues.
    pub totals: Totals,
    /// Start of the broker.
    pub started: Instant,
    /// The log's report of the start.
    pub recovery: leveret_store::RecoveryReport,
    next_consumer: AtomicU64,
    /// Numbers of connections, queues and so on, and the most of each.
    pub quotas: Arc<Quotas>,
    /// Values that are kept by their names.
    pub parameters: Parameters,
    /// Held by whoever loads definitions: one after the other.
    pub importing: tokio::sync::Mutex<()>,
}

/// Counters that belong to no queue.
#[derive(Debug, Default)]
pub struct Totals {
    /// Messages that clients published.
    pub published: Published,
    /// Sizes of these.
    pub sizes: Sizes,
    /// Pauses of publishers because consumers are behind.
    pub pauses: Pauses,
    /// Connections.
    pub connections: Openings,
    /// Channels.
    pub channels: Openings,
}

/// Things opened and closed since the broker started.
#[derive(Debug, Default)]
pub struct Openings {
    /// Opened.
    pub opened: AtomicU64,
    /// Closed.
    pub closed: AtomicU64,
}

impl Node {
    /// A node without connections.
    pub fn new(
        name: String,
        access: Access,
        hosts: Vhosts,
        durability: Arc<Durability>,
        recovery: leveret_store::RecoveryReport,
        (disk, descriptors, alarms): (Arc<Disk>, Arc<Descriptors>, Arc<Alarms>),
        parameters: Parameters,
    ) -> Self {
        let shared = hosts.shared.clone();
        let (log, memory, quotas) = (shared.log.clone(), shared.memory.clone(), shared.quotas.clone());
        Self {
            name,
            max_message_bytes: AtomicU64::new(u64::MAX),
            max_header_bytes: AtomicU64::new(u64::MAX),
            access,
            log,
            hosts,
            connections: Registry::new(memory.clone(), quotas.clone()),
            durability,
            logins: Arc::new(Logins::new(memory.clone())),
            bodies: Arc::new(Bodies::new(memory.clone())),
            memory,
            disk,
            descriptors,
            alarms,
            totals: Totals::default(),
            started: Instant::now(),
            recovery,
            next_consumer: AtomicU64::new(1),
            quotas,
            parameters,
            importing: tokio::sync::Mutex::default(),
        }
    }

    /// The name that the cluster was given, or its own.
    pub fn cluster_name(&self) -> String {
        self.parameters.cluster_name().unwrap_or_else(|| self.name.clone())
    }

    /// Largest message body, bytes.
    pub fn max_message_bytes(&self) -> u64 {
        self.max_message_bytes.load(Ordering::Relaxed)
    }

    /// Another size from the next message on, bytes.
    pub fn set_max_message_bytes(&self, bytes: u64) {
        self.max_message_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Largest header of a message, bytes.
    pub fn max_header_bytes(&self) -> u64 {
        self.max_header_bytes.load(Ordering::Relaxed)
    }

    /// Another size from the next message on, bytes.
    pub fn set_max_header_bytes(&self, bytes: u64) {
        self.max_header_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A vhost by name.
    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.hosts.get(name)
    }

    /// All vhosts, by name.
    pub fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.hosts.list()
    }

    /// A number for a consumer.
    pub fn next_consumer_id(&self) -> u64 {
        self.next_consumer.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns once the log is durable up to `lsn`; at once for `None`. (If the log fails, the process ends.)
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn wait_durable(&self, lsn: Option<Lsn>) {
        let Some(lsn) = lsn else { return };
        loop {
            let mut synced = pin!(self.durability.notify.notified());
            // From here on no sync is missed; one that was before is seen by the look at the log.
            synced.as_mut().enable();
            if self.log.durable() >= lsn {
                return;
            }
            synced.await;
        }
    }
}

impl Owner for Node {
    fn live(&self, queue: QueueId, id: MessageId, stamp: Option<u64>) -> Option<Live> {
        self.hosts.shared.queues.get(queue)?.live(id, stamp)
    }

    fn relocate(&self, queue: QueueId, id: MessageId, stamp: Option<u64>, to: Location) -> bool {
        let queue = self.hosts.shared.queues.get(queue);
        queue.is_some_and(|queue| queue.relocate(id, stamp, to))
    }

    fn capture(&self, visit: &mut dyn FnMut(QueueId, Backlog)) {
        for queue in self.hosts.shared.queues.all() {
            if let Some(backlog) = queue.capture() {
                visit(queue.id, backlog);
            }
        }
    }
}

/// Connections that wait for the log to become durable.
#[derive(Default)]
pub struct Durability {
    waiting: Mutex<Vec<Arc<Outbox>>>,
    /// For those that aren't connections.
    notify: Notify,
}

impl Durability {
    /// Wakes the connection after the next sync. Look at the durable position again after this call: it may have moved
    /// before.
    pub fn register(&self, outbox: &Arc<Outbox>) {
        if !outbox.set_waiting(true) {
            self.waiting.lock().push(outbox.clone());
        }
    }

    /// A sync is through.
    pub fn synced(&self) {
        self.notify.notify_waiters();
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for outbox in waiting {
            outbox.set_waiting(false);
            outbox.nudge();
        }
    }
}
