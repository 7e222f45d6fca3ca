//! Clients that are connected: what the HTTP API lists and can close.
//!
//! Comes in: connections and channels as they open and close. Goes out: shared records of them, updated in place.
//! Does not know about channels' work, sockets or the HTTP API.

use crate::config::Limits;
use crate::limits::{Counted, Held, Holding, Memory, Most, Quota, Quotas, Reached};
use crate::listener::Client;
use crate::outbox::Outbox;
use crate::queue::Queue;
use crate::vhost::Entered;
use leveret_amqp::{RawTable, ShortString};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// One connection.
pub struct ConnectionInfo {
    /// Its number, never used again.
    pub id: u64,
    /// The client's address, the one it connected to, and whether it speaks over TLS.
    pub client: Client,
    /// The user.
    pub user: String,
    /// The protocol that it speaks.
    pub protocol: Spoken,
    /// The mechanism of the login: `PLAIN` and the like.
    pub mechanism: String,
    /// Its vhost.
    pub vhost: String,
    /// Time of its opening.
    pub connected_at: SystemTime,
    /// The client's description of itself.
    pub client_properties: RawTable,
    /// Limits agreed at connection.tune.
    pub tuned: Limits,
    /// Its channels by number.
    pub channels: Mutex<BTreeMap<u16, Arc<ChannelInfo>>>,
    /// Numbers of things that its user has open, and the most that there may be.
    pub of_user: Arc<Quotas>,
    /// Queues that go with it.
    pub exclusive_queues: Mutex<Owned>,
    /// Traffic.
    pub octets: Octets,
    /// Set while it is not read because memory or disk space is short.
    pub blocked: AtomicBool,
    /// Pauses because consumers of queues that it publishes to are behind.
    pub pauses: Pauses,
    /// The reason to close it, once there is one.
    close: Mutex<Option<String>>,
    outbox: Arc<Outbox>,
    _counted: [Counted; 2],
    _entered: Entered,
    _held: Held,
}

/// A protocol as a connection speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// AMQP 0-9-1.
    Amqp,
    /// ZMTP 3 with this minor version.
    Zmtp(u8),
}

impl Spoken {
    /// The name in the HTTP API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amqp => "AMQP 0-9-1",
            Self::Zmtp(0) => "ZMTP 3.0",
            Self::Zmtp(_) => "ZMTP 3.1",
        }
    }
}

/// Bytes read from a connection and written to it.
#[derive(Debug, Default)]
pub struct Octets {
    /// Read.
    pub received: AtomicU64,
    /// Written.
    pub sent: AtomicU64,
    /// Reads, and writes: RabbitMQ calls them packets.
    pub reads: AtomicU64,
    /// Writes.
    pub writes: AtomicU64,
}

/// An open transaction in figures.
#[derive(Debug, Default)]
pub struct UncommittedFigures {
    /// Messages published.
    pub publishes: AtomicU64,
    /// Deliveries acknowledged.
    pub acks: AtomicU64,
}

/// Pauses of publishers.
#[derive(Debug, Default)]
pub struct Pauses {
    count: AtomicU64,
    micros: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Pauses {
    /// Time for which a connection shows that it was paused (RabbitMQ's `flow`).
    const SHOWN: Duration = Duration::from_secs(5);

    /// Takes note of a pause that begins.
    pub fn note(&self, pause: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(pause.as_micros() as u64, Ordering::Relaxed);
        *self.last.lock() = Some(Instant::now());
    }

    /// Number of pauses.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Their sum.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn is_recent(&self) -> bool {
        self.last.lock().is_some_and(|last| last.elapsed() < Self::SHOWN)
    }
}

/// One channel.
pub struct ChannelInfo {
    /// Its number.
    pub number: u16,
    /// Its deliveries.
    pub deliveries: Arc<DeliveryFigures>,
    /// Prefetch count for new consumers.
    pub prefetch: AtomicU32,
    /// Consumers.
    pub consumers: AtomicU32,
    /// True if it is in confirm mode.
    pub confirm: AtomicBool,
    /// True if it has selected transactions.
    pub transactional: AtomicBool,
    /// The open transaction.
    pub uncommitted: UncommittedFigures,
    /// Messages published and not yet confirmed.
    pub unconfirmed: AtomicU64,
    /// Messages published.
    pub published: AtomicU64,
    /// Messages confirmed.
    pub confirmed: AtomicU64,
    _counted: [Counted; 2],
}

/// The deliveries of one channel in figures, kept by whoever delivers.
#[derive(Debug, Default)]
pub struct DeliveryFigures {
    /// Most unacknowledged messages of the whole channel (basic.qos with global=true); 0 is no limit.
    pub prefetch: AtomicU32,
    /// Messages delivered and not yet settled, over all consumers and gets.
    pub outstanding: AtomicU32,
    /// Of these, messages that were fetched one by one, by basic.get.
    pub fetched: AtomicU32,
    /// Of these, messages that the open transaction will settle.
    pub in_transaction: AtomicU32,
    /// Messages delivered to consumers that acknowledge, since the channel was opened.
    pub delivered: AtomicU64,
    /// Messages delivered to consumers that don't.
    pub delivered_no_ack: AtomicU64,
    /// Messages fetched, to be acknowledged.
    pub got: AtomicU64,
    /// Messages fetched without acknowledgement.
    pub got_no_ack: AtomicU64,
    /// Fetches that found nothing.
    pub get_empty: AtomicU64,
    /// Of all these messages, those that were delivered before.
    pub redelivered: AtomicU64,
    /// Messages published on it that led nowhere and were given back.
    pub returned: AtomicU64,
    /// Messages published on it that led nowhere and were dropped.
    pub dropped: AtomicU64,
    /// Messages settled since the channel was opened.
    pub acknowledged: AtomicU64,
}

impl DeliveryFigures {
    /// Messages to be acknowledged, without those that a transaction will settle.
    pub fn unacked(&self) -> u32 {
        let in_transaction = self.in_transaction.load(Ordering::Relaxed);
        self.outstanding.load(Ordering::Relaxed).saturating_sub(in_transaction)
    }
}

impl ChannelInfo {
    /// A channel without consumers.
    pub fn new(number: u16, deliveries: Arc<DeliveryFigures>, counted: [Counted; 2]) -> Self {
        Self {
            number,
            deliveries,
            prefetch: AtomicU32::new(0),
            consumers: AtomicU32::new(0),
            confirm: AtomicBool::new(false),
            transactional: AtomicBool::new(false),
            uncommitted: UncommittedFigures::default(),
            unconfirmed: AtomicU64::new(0),
            published: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            _counted: counted,
        }
    }
}

impl ChannelInfo {
    /// RabbitMQ's `state`: `flow` on a channel that publishes, while its connection is paused again and again.
    pub fn state(&self, connection: &ConnectionInfo) -> &'static str {
        match connection.state() {
            "flow" if self.published.load(Ordering::Relaxed) > 0 => "flow",
            _ => "running",
        }
    }
}

/// Particulars of a connection that opens.
pub struct Opened {
    /// The client.
    pub client: Client,
    /// The user.
    pub user: String,
    /// The most connections and channels that the user may have open.
    pub most_of_user: [Option<u64>; 2],
    /// The protocol that it speaks.
    pub protocol: Spoken,
    /// The mechanism of the login.
    pub mechanism: String,
    /// Its vhost.
    pub vhost: String,
    /// Its place in the vhost.
    pub entered: Entered,
    /// The client's description of itself.
    pub client_properties: RawTable,
    /// Limits as agreed.
    pub tuned: Limits,
}

impl ConnectionInfo {
    /// `127.0.0.1:50000 -> 127.0.0.1:5672`, RabbitMQ's name of a connection.
    pub fn name(&self) -> String {
        format!("{} -> {}", self.client.peer, self.client.local)
    }

    /// RabbitMQ's `state`: `blocked` while memory or disk space is short, `flow` while it is paused again and again
    /// because consumers are behind.
    pub fn state(&self) -> &'static str {
        if self.blocked.load(Ordering::Relaxed) {
            "blocked"
        } else if self.pauses.is_recent() {
            "flow"
        } else {
            "running"
        }
    }

    /// From now on a queue goes with this connection.
    pub fn own(&self, queue: Arc<Queue>) {
        self.exclusive_queues.lock().add(queue);
    }

    /// Bytes that wait to be written to it.
    pub fn pending(&self) -> usize {
        self.outbox.queued()
    }

    /// Asks the connection to close with 320 and this text.
    pub fn close(&self, reason: &str) {
        *self.close.lock() = Some(reason.to_owned());
        self.outbox.nudge();
    }

    /// The reason to close it, if there is one.
    pub fn take_close(&self) -> Option<String> {
        self.close.lock().take()
    }
}

/// Queues that go with a connection, by name.
#[derive(Default)]
pub struct Owned {
    queues: BTreeMap<ShortString, Arc<Queue>>,
    /// Their number at which those that were deleted otherwise are looked for.
    look_at: usize,
}

impl Owned {
    /// Queues up to which it doesn't matter that some have gone.
    const FEW: usize = 64;

    fn add(&mut self, queue: Arc<Queue>) {
        if self.queues.len() >= self.look_at.max(Self::FEW) {
            self.queues.retain(|_, queue| !queue.is_deleted());
            // Twice as many as there are: so the looks are as many as the queues.
            self.look_at = self.queues.len() * 2;
        }
        self.queues.insert(queue.name().clone(), queue);
    }

    /// The connection has deleted a queue.
    pub fn forget(&mut self, name: &ShortString) {
        self.queues.remove(name);
    }

    /// All of them, at the connection's end.
    pub fn take(&mut self) -> impl Iterator<Item = Arc<Queue>> + use<> {
        std::mem::take(&mut self.queues).into_values()
    }
}

/// There are as many connections as there may be: this many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// On this node.
    OfNode(Reached),
    /// Of this user.
    OfUser(Reached),
}

/// Numbers of things that users have open.
#[derive(Default)]
struct Users {
    numbers: HashMap<String, Arc<Quotas>>,
    /// Their number at which those that have nothing open are looked for.
    look_at: usize,
}

impl Users {
    /// Users up to which it doesn't matter that some have gone.
    const FEW: usize = 64;

    fn of(&mut self, user: &str) -> Arc<Quotas> {
        if let Some(known) = self.numbers.get(user) {
            return known.clone();
        }
        if self.numbers.len() >= self.look_at.max(Self::FEW) {
            self.numbers.retain(|_, numbers| Arc::strong_count(numbers) > 1);
            self.look_at = self.numbers.len() * 2;
        }
        self.numbers.entry(user.to_owned()).or_default().clone()
    }
}

fn set(numbers: &Quotas, [connections, channels]: [Option<u64>; 2]) {
    numbers.set(&Most::of_user(connections, channels));
}

/// All connections.
pub struct Registry {
    memory: Arc<Memory>,
    quotas: Arc<Quotas>,
    next: AtomicU64,
    open: RwLock<BTreeMap<u64, Arc<ConnectionInfo>>>,
    users: Mutex<Users>,
    /// Set when the broker drains: connections that open now are closed at once.
    draining: Mutex<Option<String>>,
}

impl Registry {
    /// No connections yet; `quotas` say how many there may be, and `memory` counts what they say of themselves.
    pub fn new(memory: Arc<Memory>, quotas: Arc<Quotas>) -> Self {
        Self {
            memory,
            quotas,
            next: AtomicU64::new(0),
            open: RwLock::default(),
            users: Mutex::default(),
            draining: Mutex::default(),
        }
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn open(&self, opened: Opened, outbox: Arc<Outbox>) -> Result<Arc<ConnectionInfo>, TooMany> {
        let counted = self.quotas.hold(Quota::Connections).map_err(TooMany::OfNode)?;
        let of_user = self.users.lock().of(&opened.user);
        set(&of_user, opened.most_of_user);
        let of_users = of_user.hold(Quota::Connections).map_err(TooMany::OfUser)?;
        let octets = opened.client_properties.octets().len() as u64;
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let info = Arc::new(ConnectionInfo {
            id,
            client: opened.client,
            user: opened.user,
            protocol: opened.protocol,
            mechanism: opened.mechanism,
            vhost: opened.vhost,
            connected_at: SystemTime::now(),
            client_properties: opened.client_properties,
            tuned: opened.tuned,
            channels: Mutex::default(),
            of_user,
            exclusive_queues: Mutex::default(),
            octets: Octets::default(),
            blocked: AtomicBool::new(false),
            pauses: Pauses::default(),
            close: Mutex::new(self.draining.lock().clone()),
            outbox,
            _counted: [counted, of_users],
            _entered: opened.entered,
            _held: self.memory.hold(Holding::Tables, octets),
        });
        self.open.write().insert(id, info.clone());
        Ok(info)
    }

    /// Other limits for a user from now on. What there is already stays.
    pub fn limit_user(&self, user: &str, most: [Option<u64>; 2]) {
        if let Some(of_user) = self.users.lock().numbers.get(user) {
            set(of_user, most);
        }
    }

    /// Removes a connection.
    pub fn closed(&self, id: u64) {
        self.open.write().remove(&id);
    }

    /// A connection by number.
    pub fn get(&self, id: u64) -> Option<Arc<ConnectionInfo>> {
        self.open.read().get(&id).cloned()
    }

    /// All connections, oldest first.
    pub fn list(&self) -> Vec<Arc<ConnectionInfo>> {
        self.open.read().values().cloned().collect()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.open.read().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.open.read().is_empty()
    }

    /// True if the broker is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.lock().is_some()
    }

    /// Asks the connections of a vhost to close.
    pub fn close_of(&self, vhost: &str, reason: &str) {
        for connection in self.list().iter().filter(|connection| connection.vhost == vhost) {
            connection.close(reason);
        }
    }

    /// Asks all connections to close, also those that are just being opened.
    pub fn close_all(&self, reason: &str) {
        *self.draining.lock() = Some(reason.to_owned());
        for connection in self.list() {
            connection.close(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::is_linear;
    use crate::limits::Memory;
    use crate::queue::Definition;
    use crate::queue::arguments::Arguments;
    use crate::queue::upkeep::Upkeep;
    use leveret_store::Store;
    use leveret_store::fs::RealFs;

    #[test]
    fn users_that_have_nothing_open_are_forgotten() {
        let mut users = Users::default();
        let first = users.of("first");
        set(&first, [Some(1), None]);
        let held = first.hold(Quota::Connections).expect("room for one");
        assert_eq!(users.of("first").hold(Quota::Connections).err(), Some(Reached(1)));
        drop(first);
        for number in 0..1000 {
            users.of(&number.to_string());
        }
        assert!(users.numbers.len() <= 2 * Users::FEW, "{}", users.numbers.len());
        assert!(users.of("first").hold(Quota::Connections).is_err(), "it has one open");
        drop(held);
        assert!(users.of("first").hold(Quota::Connections).is_ok());
    }

    #[test]
    fn pauses_are_counted_and_shown_for_a_while() {
        let pauses = Pauses::default();
        assert!(!pauses.is_recent());
        pauses.note(Duration::from_millis(3));
        pauses.note(Duration::from_millis(20));
        assert!(pauses.is_recent());
        assert_eq!((pauses.count(), pauses.total()), (2, Duration::from_millis(23)));
        let before = Instant::now().checked_sub(Pauses::SHOWN * 2);
        *pauses.last.lock() = before;
        assert!(!pauses.is_recent());
    }

    #[test]
    fn queues_go_with_a_connection_in_the_same_time_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = leveret_store::Options::new(folder.path());
        let opened = Store::open(options, Arc::new(RealFs), Box::new(|_| {}), Box::new(|_| {}));
        let (store, _) = opened.expect("a log");
        let memory = Arc::new(Memory::new(u64::MAX));
        let queue = |number| {
            let definition = Definition {
                name: ShortString::truncated(&format!("q{number}")),
                durable: false,
                auto_delete: false,
                owner: Some(1),
                arguments: Arguments::default(),
            };
            let upkeep = Upkeep::default();
            Arc::new(Queue::new(
                definition,
                number as u64,
                store.handle(),
                memory.clone(),
                upkeep,
            ))
        };
        let own = |queues: &mut Vec<Arc<Queue>>, n| {
            let mut owned = Owned::default();
            queues.iter().for_each(|queue| owned.add(queue.clone()));
            owned.forget(queues[0].name());
            assert_eq!(owned.take().count(), n - 1);
        };
        is_linear("queues", 4_000, |n| (0..n).map(queue).collect(), own);
        let mut owned = Owned::default();
        for number in 0..1_000 {
            let queue = queue(number);
            owned.add(queue.clone());
            assert!(queue.delete(false, false).is_ok());
        }
        assert!(
            owned.take().count() <= 2 * Owned::FEW,
            "those that have gone otherwise are not kept"
        );
    }
}
