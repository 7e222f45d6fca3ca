//! Rates: how fast counters grow, from samples every five seconds.
//!
//! Comes in: the counters of queues, exchanges, channels, connections, vhosts and the node. Goes out: rates per second,
//! the same for everybody who asks. What was never used costs nothing here. Does not know about JSON or Prometheus.

/// Counters as they are now.
mod counters;

use super::history::{Charts, Figures, History, Of, Ranges};
use super::usage::Usage;
use crate::exchange::traffic::Traffic;
use crate::limits::Holding;
use crate::node::Node;
use crate::queue::totals::{Snapshot, Totals};
use crate::vhost::Vhost;
use leveret_store::QueueId;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use counters::{Traffics, churn, delivered_on, disk, octets, passed, published, published_on, sums, usage};

/// Time between samples (RabbitMQ's `collect_statistics_interval`).
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Names in RabbitMQ's API of a counter and of the object with its rate.
pub type Name = (&'static str, &'static str);

macro_rules! names {
    ($($name:literal),* $(,)?) => { [$(($name, concat!($name, "_details"))),*] };
}

/// Counters of published messages, in the order of their rates.
pub const PUBLISHED: [Name; 4] = names!["publish", "confirm", "return_unroutable", "drop_unroutable"];
/// Counters of a channel's deliveries, in the order of their rates.
pub const DELIVERED: [Name; 7] = names![
    "deliver",
    "deliver_no_ack",
    "get",
    "get_no_ack",
    "get_empty",
    "redeliver",
    "ack"
];
/// The first of [`DELIVERED`], which are messages handed out.
pub const HANDED_OUT: usize = 4;
/// Counters of what comes and goes.
pub const CHURN: [Name; 7] = names![
    "connection_created",
    "connection_closed",
    "channel_created",
    "channel_closed",
    "queue_declared",
    "queue_created",
    "queue_deleted"
];
/// Counters of an exchange.
pub const PASSED: [Name; 2] = names!["publish_in", "publish_out"];
/// Counters of a connection, and of all of a vhost.
pub const OCTETS: [Name; 2] = names!["recv_oct", "send_oct"];
/// Counters of the disk.
pub const DISK: [Name; 3] = names!["io_write_count", "io_write_bytes", "io_sync_count"];
/// Figures of the machine that go up and down.
pub const USAGE: [Name; 5] = names!["mem_used", "fd_used", "sockets_used", "proc_used", "disk_free"];

/// Rates of a queue, or of all together, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueRates {
    /// Messages routed to it.
    pub publish: f64,
    /// Delivered to consumers that acknowledge.
    pub deliver: f64,
    /// Delivered to consumers that don't.
    pub deliver_no_ack: f64,
    /// Fetched, to be acknowledged.
    pub get: f64,
    /// Fetched without acknowledgement.
    pub get_no_ack: f64,
    /// Fetches that found nothing.
    pub get_empty: f64,
    /// Acknowledged.
    pub ack: f64,
    /// Delivered again.
    pub redeliver: f64,
    /// Waiting messages more (or fewer).
    pub ready: f64,
    /// Unacknowledged messages more (or fewer).
    pub unacked: f64,
    /// Part of the time in which consumers could have taken more; `None` as long as that isn't known.
    pub capacity: Option<f64>,
}

impl QueueRates {
    /// Handed out in any way (RabbitMQ's `deliver_get`).
    pub fn deliver_get(&self) -> f64 {
        self.deliver + self.deliver_no_ack + self.get + self.get_no_ack
    }

    /// Adds those of other queues. What consumers could take is no sum.
    pub fn add(&mut self, other: &Self) {
        let fields: [fn(&mut Self) -> &mut f64; 10] = [
            |of| &mut of.publish,
            |of| &mut of.deliver,
            |of| &mut of.deliver_no_ack,
            |of| &mut of.get,
            |of| &mut of.get_no_ack,
            |of| &mut of.get_empty,
            |of| &mut of.ack,
            |of| &mut of.redeliver,
            |of| &mut of.ready,
            |of| &mut of.unacked,
        ];
        let mut other = *other;
        for field in fields {
            *field(self) += *field(&mut other);
        }
        self.capacity = None;
    }

    /// Messages that leave for good: acknowledged, or handed out without need of it.
    pub fn leave(&self) -> f64 {
        self.ack + self.deliver_no_ack + self.get_no_ack
    }

    fn between(before: &Snapshot, now: &Snapshot, seconds: f64) -> Self {
        let rate =
            |count: fn(&Totals) -> u64| count(&now.totals).saturating_sub(count(&before.totals)) as f64 / seconds;
        let change = |before: usize, now: usize| (now as f64 - before as f64) / seconds;
        Self {
            publish: rate(|t| t.published),
            deliver: rate(|t| t.delivered),
            deliver_no_ack: rate(|t| t.delivered_no_ack),
            get: rate(|t| t.got),
            get_no_ack: rate(|t| t.got_no_ack),
            get_empty: rate(|t| t.get_empty),
            ack: rate(|t| t.acked),
            redeliver: rate(|t| t.redelivered),
            ready: change(before.ready, now.ready),
            unacked: change(before.unacked, now.unacked),
            capacity: seconds.is_finite().then(|| {
                let held = now.held.saturating_sub(before.held).as_secs_f64();
                (1.0 - held / seconds).clamp(0.0, 1.0)
            }),
        }
    }
}

/// Counters of one thing at the last sample.
#[derive(Clone, Copy, Debug)]
pub struct Grown<const N: usize> {
    counts: [u64; N],
    /// Their growth, per second.
    pub rates: [f64; N],
    /// The time since when they are as they are.
    pub since: Instant,
}

/// Things of one kind.
#[derive(Default)]
struct Group<K, const N: usize>(HashMap<K, Grown<N>>);

impl<K: Eq + Hash, const N: usize> Group<K, N> {
    /// Adds a thing, unless all of its counters are 0. What wasn't there at the last sample had counted nothing then.
    fn note(&mut self, key: K, counts: [u64; N], old: &Self, sampled: &Sampled) {
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let before = old.0.get(&key);
        let grown = grown(counts, before, sampled);
        self.0.insert(key, grown);
    }

    fn get(&self, key: &K) -> Option<Grown<N>> {
        self.0.get(key).copied()
    }

    fn counts(&self, key: &K) -> [u64; N] {
        self.0.get(key).map_or([0; N], |grown| grown.counts)
    }

    fn rates(&self, key: &K) -> [f64; N] {
        self.0.get(key).map_or([0.0; N], |grown| grown.rates)
    }
}

fn grown<const N: usize>(counts: [u64; N], before: Option<&Grown<N>>, sampled: &Sampled) -> Grown<N> {
    let old = before.map_or([0; N], |before| before.counts);
    let mut rates = [0.0; N];
    for ((rate, now), before) in rates.iter_mut().zip(counts).zip(old) {
        *rate = now.saturating_sub(before) as f64 / sampled.seconds;
    }
    let since = before
        .filter(|_| counts == old)
        .map_or(sampled.at, |before| before.since);
    Grown { counts, rates, since }
}

/// The time of a sample, and the time since the one before.
struct Sampled {
    at: Instant,
    seconds: f64,
}

/// The last sample, and the history of samples.
#[derive(Default)]
pub struct Rates {
    sample: RwLock<Sample>,
    history: Mutex<History>,
}

#[derive(Default)]
struct Sample {
    at: Option<Instant>,
    /// The same, in milliseconds since 1970.
    time: u64,
    queues: HashMap<QueueId, (Snapshot, QueueRates)>,
    sum: (Snapshot, QueueRates),
    vhosts: HashMap<String, OfVhost>,
    exchanges: Group<u64, 2>,
    connections: Group<u64, 2>,
    /// By connection and number.
    channels: Group<(u64, u16), 11>,
    node: Option<OfNode>,
}

/// A vhost at the last sample.
#[derive(Clone, Copy)]
struct OfVhost {
    published: Grown<4>,
    octets: Grown<2>,
    queues: (Snapshot, QueueRates),
}

/// The node at the last sample.
#[derive(Clone, Copy)]
struct OfNode {
    published: Grown<4>,
    churn: Grown<7>,
    disk: Grown<3>,
    usage: ([u64; 5], [f64; 5]),
}

/// Rates of a vhost, per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct VhostRates {
    /// In the order of [`PUBLISHED`].
    pub published: [f64; 4],
    /// In the order of [`OCTETS`].
    pub octets: [f64; 2],
    /// Of all queues together.
    pub queues: QueueRates,
}

impl VhostRates {
    /// Adds those of another vhost.
    pub fn add(&mut self, other: &Self) {
        self.published
            .iter_mut()
            .zip(other.published)
            .for_each(|(sum, of)| *sum += of);
        self.octets
            .iter_mut()
            .zip(other.octets)
            .for_each(|(sum, of)| *sum += of);
        self.queues.add(&other.queues);
    }
}

/// Rates of the whole node, per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeRates {
    /// In the order of [`PUBLISHED`].
    pub published: [f64; 4],
    /// In the order of [`CHURN`].
    pub churn: [f64; 7],
    /// In the order of [`DISK`].
    pub disk: [f64; 3],
    /// In the order of [`USAGE`].
    pub usage: [f64; 5],
}

impl Rates {
    /// Samples until the task is dropped.
    pub async fn run(self: Arc<Self>, node: Arc<Node>, data_dir: PathBuf) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let (rates, node, data_dir) = (self.clone(), node.clone(), data_dir.clone());
            // Figures of the disk may take their time.
            let sampled = tokio::task::spawn_blocking(move || {
                rates.sample(&node, &Usage::now(&data_dir), Instant::now());
            });
            if sampled.await.is_err() {
                break;
            }
        }
    }

    /// A queue's rates.
    pub fn queue(&self, id: QueueId) -> QueueRates {
        let sample = self.sample.read();
        sample.queues.get(&id).map(|(_, rates)| *rates).unwrap_or_default()
    }

    /// The rates of all queues together.
    pub fn sum(&self) -> QueueRates {
        self.sample.read().sum.1
    }

    /// Rates of an exchange, in the order of [`PASSED`].
    pub fn exchange(&self, traffic: &Traffic) -> [f64; 2] {
        self.sample.read().exchanges.rates(&traffic.id)
    }

    /// Bytes per second from and to a connection.
    pub fn connection(&self, id: u64) -> [f64; 2] {
        self.sample.read().connections.rates(&id)
    }

    /// Rates of a channel, in the order of [`PUBLISHED`] and then of [`DELIVERED`]. `None` if it has not been used.
    pub fn channel(&self, connection: u64, number: u16) -> Option<Grown<11>> {
        self.sample.read().channels.get(&(connection, number))
    }

    /// A vhost's rates.
    pub fn vhost(&self, name: &str) -> VhostRates {
        let sample = self.sample.read();
        let found = sample.vhosts.get(name).map(|vhost| VhostRates {
            published: vhost.published.rates,
            octets: vhost.octets.rates,
            queues: vhost.queues.1,
        });
        found.unwrap_or_default()
    }

    /// The node's rates.
    pub fn node(&self) -> NodeRates {
        let sample = self.sample.read();
        let found = sample.node.map(|node| NodeRates {
            published: node.published.rates,
            churn: node.churn.rates,
            disk: node.disk.rates,
            usage: node.usage.1,
        });
        found.unwrap_or_default()
    }

    /// Charts of an object's figures over some time. From now on its history is kept; that of one of a list if there is
    /// room.
    pub fn charts(&self, of: &Of, is_listed: bool, ranges: &Ranges) -> Charts {
        let sample = self.sample.read();
        let first = || sample.figures(of).map(|figures| (sample.time, figures));
        self.history.lock().charts((of, is_listed), ranges, now(), first)
    }

    /// Forgets what was sampled.
    pub fn reset(&self) {
        *self.sample.write() = Sample::default();
        self.history.lock().clear();
    }

    /// Takes a sample. The first has no rates.
    fn sample(&self, node: &Node, usage: &Usage, at: Instant) {
        let old = std::mem::take(&mut *self.sample.write());
        let seconds = old
            .at
            .map_or(f64::INFINITY, |before| (at - before).as_secs_f64().max(0.001));
        let sampled = Sampled { at, seconds };
        let mut new = Sample {
            at: Some(at),
            time: now(),
            ..Sample::default()
        };
        let traffics = Traffics::now(node);
        for vhost in node.vhosts() {
            new.note_vhost(&vhost, &traffics, &old, &sampled);
        }
        let all = sums(node).all();
        new.sum = (all, QueueRates::between(&old.sum.0, &all, seconds));
        for connection in node.connections.list() {
            let octets = octets(&connection);
            new.connections.note(connection.id, octets, &old.connections, &sampled);
            for channel in connection.channels.lock().values() {
                let mut counts = [0; 11];
                let all = published_on(channel).into_iter().chain(delivered_on(channel));
                counts.iter_mut().zip(all).for_each(|(count, now)| *count = now);
                let key = (connection.id, channel.number);
                new.channels.note(key, counts, &old.channels, &sampled);
            }
        }
        new.node = Some(OfNode::new(node, usage, old.node.as_ref(), &sampled));
        let mut history = self.history.lock();
        history.count_by(|| node.memory.hold(Holding::History, 0));
        history.note(new.time, |of| new.figures(of));
        drop(history);
        *self.sample.write() = new;
    }
}

impl Sample {
    fn note_vhost(&mut self, vhost: &Vhost, traffics: &Traffics, old: &Self, sampled: &Sampled) {
        for queue in vhost.queues() {
            let now = queue.snapshot();
            if now.totals.last_active.is_none() && now.ready == 0 {
                continue;
            }
            let before = old.queues.get(&queue.id).map(|(before, _)| *before).unwrap_or_default();
            let rates = QueueRates::between(&before, &now, sampled.seconds);
            self.queues.insert(queue.id, (now, rates));
        }
        let used = |traffic: &Arc<Traffic>| traffic.published() > 0;
        let exchanges: Vec<Arc<Traffic>> = {
            let topology = vhost.topology();
            let all = topology.exchanges.values().map(|exchange| &exchange.traffic);
            all.filter(|traffic| used(traffic)).cloned().collect()
        };
        for traffic in exchanges {
            self.exchanges
                .note(traffic.id, passed(&traffic), &old.exchanges, sampled);
        }
        let (octets, queues) = (traffics.of(vhost), vhost.sums().all());
        let counts = published(&vhost.published);
        let unused = queues.totals.last_active.is_none() && queues.ready == 0;
        if unused && counts.iter().chain(&octets).all(|count| *count == 0) {
            return;
        }
        let before = old.vhosts.get(&vhost.name);
        let snapshot = before.map(|before| before.queues.0).unwrap_or_default();
        let of = OfVhost {
            published: grown(counts, before.map(|of| &of.published), sampled),
            octets: grown(octets, before.map(|of| &of.octets), sampled),
            queues: (queues, QueueRates::between(&snapshot, &queues, sampled.seconds)),
        };
        self.vhosts.insert(vhost.name.clone(), of);
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Figures by name, of several groups of counters.
fn named<const N: usize>(names: &[Name; N], counts: &[u64]) -> impl Iterator<Item = (&'static str, u64)> {
    names.map(|(name, _)| name).into_iter().zip(counts.to_vec())
}

impl Sample {
    /// The figures of an object; zeros of one that has counted nothing. `None` of the node before the first sample.
    fn figures(&self, of: &Of) -> Option<Figures> {
        Some(match of {
            Of::Broker => {
                let node = self.node.as_ref()?;
                let (queues, published) = (counters::of_queues(&self.sum.0), &node.published.counts);
                let disk = [("disk_writes", node.disk.counts[0]), ("disk_reads", 0)];
                named(&PUBLISHED, published)
                    .chain(queues)
                    .chain(disk)
                    .chain(named(&CHURN, &node.churn.counts))
                    .chain(named(&DISK, &node.disk.counts))
                    .chain(named(&USAGE, &node.usage.0))
                    .collect()
            }
            Of::Vhost(name) => {
                let vhost = self.vhosts.get(name);
                let queues = vhost.map(|vhost| vhost.queues.0).unwrap_or_default();
                let published = vhost.map_or([0; 4], |vhost| vhost.published.counts);
                let octets = vhost.map_or([0; 2], |vhost| vhost.octets.counts);
                let published = named(&PUBLISHED, &published);
                published
                    .chain(counters::of_queues(&queues))
                    .chain(named(&OCTETS, &octets))
                    .collect()
            }
            Of::Queue(id) => {
                let now = self.queues.get(id).map(|(now, _)| *now).unwrap_or_default();
                let published = [("publish", now.totals.published)];
                published.into_iter().chain(counters::of_queues(&now)).collect()
            }
            Of::Exchange(id) => named(&PASSED, &self.exchanges.counts(id)).collect(),
            Of::Connection(id) => named(&OCTETS, &self.connections.counts(id)).collect(),
            Of::Channel(connection, number) => {
                let counts = self.channels.counts(&(*connection, *number));
                let (published, delivered) = counts.split_at(PUBLISHED.len());
                let handed_out = delivered.iter().take(HANDED_OUT).sum();
                named(&PUBLISHED, published)
                    .chain(named(&DELIVERED, delivered))
                    .chain([("deliver_get", handed_out)])
                    .collect()
            }
        })
    }
}

impl OfNode {
    fn new(node: &Node, usage_now: &Usage, old: Option<&Self>, sampled: &Sampled) -> Self {
        let now = usage(node, usage_now);
        let mut changes = [0.0; 5];
        for ((change, now), before) in changes.iter_mut().zip(now).zip(old.map_or(now, |old| old.usage.0)) {
            *change = (now as f64 - before as f64) / sampled.seconds;
        }
        Self {
            published: grown(
                published(&node.totals.published),
                old.map(|old| &old.published),
                sampled,
            ),
            churn: grown(churn(node), old.map(|old| &old.churn), sampled),
            disk: grown(disk(node), old.map(|old| &old.disk), sampled),
            usage: (now, changes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let mut before = Snapshot::default();
        before.totals.published = 10;
        before.ready = 10;
        let mut now = before;
        now.totals.published = 60;
        now.totals.acked = 20;
        now.ready = 0;
        let rates = QueueRates::between(&before, &now, 5.0);
        assert_eq!((rates.publish, rates.ack, rates.ready), (10.0, 4.0, -2.0));
        assert_eq!(QueueRates::between(&before, &now, f64::INFINITY).publish, 0.0);
    }

    #[test]
    fn counters_that_stand_still_have_a_time() {
        let (begin, mut groups) = (Instant::now(), vec![Group::<u8, 2>::default()]);
        for (second, counts) in [(0, [1, 0]), (5, [11, 5]), (10, [11, 5]), (15, [11, 5])] {
            let (at, seconds) = (
                begin + Duration::from_secs(second),
                if second == 0 { f64::INFINITY } else { 5.0 },
            );
            let mut next = Group::default();
            let old = groups.last().expect("one");
            next.note(1, counts, old, &Sampled { at, seconds });
            next.note(2, [0, 0], old, &Sampled { at, seconds });
            assert_eq!(
                (next.rates(&2), next.0.len()),
                ([0.0, 0.0], 1),
                "what was never used takes no room"
            );
            groups.push(next);
        }
        let last: Vec<_> = groups.iter().filter_map(|group| group.get(&1)).collect();
        assert_eq!(
            last.iter().map(|of| of.rates).collect::<Vec<_>>(),
            [[0.0, 0.0], [2.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
        );
        assert!(last.iter().skip(1).all(|of| of.since == begin + Duration::from_secs(5)));
    }

    #[test]
    fn capacity_is_the_part_of_the_time_in_which_consumers_take_more() {
        let now = Snapshot {
            held: Duration::from_secs(4),
            ..Snapshot::default()
        };
        let capacity = |before: &Snapshot, seconds| QueueRates::between(before, &now, seconds).capacity;
        assert_eq!(capacity(&Snapshot::default(), 5.0), Some(0.19999999999999996));
        assert_eq!(capacity(&now, 5.0), Some(1.0));
        assert_eq!(capacity(&now, f64::INFINITY), None);
    }
}
