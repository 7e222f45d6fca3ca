//! Rates: how fast counters grow, from samples every five seconds, and what follows from them for a backlog.
//!
//! Comes in: the counters of queues, connections and the node. Goes out: rates per second, the same for everybody who
//! asks. A queue that was never used costs nothing here. Does not know about JSON or Prometheus.

use crate::node::Node;
use crate::queue::totals::{ByType, Snapshot, Totals};
use leveret_store::QueueId;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Time between samples (RabbitMQ's `collect_statistics_interval`).
pub const INTERVAL: Duration = Duration::from_secs(5);

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
}

impl QueueRates {
    /// Handed out in any way (RabbitMQ's `deliver_get`).
    pub fn deliver_get(&self) -> f64 {
        self.deliver + self.deliver_no_ack + self.get + self.get_no_ack
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
        }
    }
}

/// The trend of a backlog by its rates: Q(t) = Q(0) + integral of (P - C), P what is published, C what leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// P, messages per second.
    pub publish_rate: f64,
    /// C, messages per second.
    pub ack_rate: f64,
    /// Seconds until it is empty, Q / (C - P); `None` if it doesn't shrink.
    pub drain_seconds: Option<f64>,
    /// Consumers that would hold it steady, P / rate of one; `None` as long as none works.
    pub consumers_for_steady: Option<u64>,
}

impl Backlog {
    /// For a queue of `messages` messages with `consumers` consumers.
    pub fn new(messages: usize, consumers: usize, rates: &QueueRates) -> Self {
        let (publish, leave) = (rates.publish, rates.leave());
        let drain_seconds = match messages {
            0 => Some(0.0),
            _ if leave > publish => Some(messages as f64 / (leave - publish)),
            _ => None,
        };
        let consumers_for_steady = if publish == 0.0 {
            Some(0)
        } else if consumers > 0 && leave > 0.0 {
            Some((publish * consumers as f64 / leave).ceil() as u64)
        } else {
            None
        };
        Self {
            publish_rate: publish,
            ack_rate: leave,
            drain_seconds,
            consumers_for_steady,
        }
    }
}

/// Rates of the whole node, per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeRates {
    /// Messages that clients published.
    pub publish: f64,
    /// Messages confirmed.
    pub confirm: f64,
    /// Messages that led nowhere and were dropped.
    pub drop_unroutable: f64,
    /// Messages that led nowhere and were given back.
    pub return_unroutable: f64,
    /// Connections opened, closed; channels opened, closed; queues declared, created, deleted.
    pub churn: [f64; 7],
}

/// The counters behind [`NodeRates`], in its order.
type Counters = [u64; 11];

/// Bytes from and to a connection.
type Octets = (u64, u64);

/// The last sample.
#[derive(Default)]
pub struct Rates {
    sample: RwLock<Sample>,
}

#[derive(Default)]
struct Sample {
    at: Option<Instant>,
    queues: HashMap<QueueId, (Snapshot, QueueRates)>,
    sum: (Snapshot, QueueRates),
    connections: HashMap<u64, (Octets, (f64, f64))>,
    node: (Counters, NodeRates),
}

/// The sums of all queues, with what deleted ones had counted.
pub fn sums(node: &Node) -> ByType {
    node.hosts.sums()
}

/// Connections opened, closed; channels opened, closed; queues declared, created, deleted.
pub fn churn(node: &Node) -> [u64; 7] {
    let totals = &node.totals;
    let mut churn = [0; 7];
    for (count, counter) in churn.iter_mut().zip([
        &totals.connections.opened,
        &totals.connections.closed,
        &totals.channels.opened,
        &totals.channels.closed,
    ]) {
        *count = counter.load(Ordering::Relaxed);
    }
    for (count, queues) in churn.iter_mut().skip(4).zip(node.hosts.churned().queues) {
        *count = queues;
    }
    churn
}

fn counters(node: &Node) -> Counters {
    let totals = &node.totals;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let [c0, c1, c2, c3, c4, c5, c6] = churn(node);
    let (published, confirmed) = (load(&totals.published), load(&totals.confirmed));
    let (dropped, returned) = (load(&totals.dropped_unroutable), load(&totals.returned_unroutable));
    [published, confirmed, dropped, returned, c0, c1, c2, c3, c4, c5, c6]
}

impl Rates {
    /// Samples until the task is dropped.
    pub async fn run(self: Arc<Self>, node: Arc<Node>) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.sample(&node, Instant::now());
        }
    }

    /// A queue's rates.
    pub fn queue(&self, id: QueueId) -> QueueRates {
        self.sample
            .read()
            .queues
            .get(&id)
            .map(|(_, rates)| *rates)
            .unwrap_or_default()
    }

    /// The rates of all queues together.
    pub fn sum(&self) -> QueueRates {
        self.sample.read().sum.1
    }

    /// Bytes per second from and to a connection.
    pub fn connection(&self, id: u64) -> (f64, f64) {
        self.sample
            .read()
            .connections
            .get(&id)
            .map(|(_, rates)| *rates)
            .unwrap_or_default()
    }

    /// The node's rates.
    pub fn node(&self) -> NodeRates {
        self.sample.read().node.1
    }

    /// Takes a sample. What wasn't there at the last one had counted nothing then; the first sample has no rates.
    fn sample(&self, node: &Node, now: Instant) {
        let old = std::mem::take(&mut *self.sample.write());
        let seconds = old.at.map_or(f64::INFINITY, |at| (now - at).as_secs_f64().max(0.001));
        let mut new = Sample {
            at: Some(now),
            ..Sample::default()
        };
        for vhost in node.vhosts() {
            for queue in vhost.queues() {
                let now = queue.snapshot();
                if now.totals.last_active.is_none() && now.ready == 0 {
                    continue;
                }
                let before = old.queues.get(&queue.id).map(|(before, _)| *before).unwrap_or_default();
                let rates = QueueRates::between(&before, &now, seconds);
                new.queues.insert(queue.id, (now, rates));
            }
        }
        let all = sums(node).all();
        new.sum = (all, QueueRates::between(&old.sum.0, &all, seconds));
        for connection in node.connections.list() {
            let octets = &connection.octets;
            let now = (
                octets.received.load(Ordering::Relaxed),
                octets.sent.load(Ordering::Relaxed),
            );
            let before = old
                .connections
                .get(&connection.id)
                .map(|(before, _)| *before)
                .unwrap_or_default();
            let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
            new.connections
                .insert(connection.id, (now, (rate(before.0, now.0), rate(before.1, now.1))));
        }
        let counted = counters(node);
        let mut rates = [0.0; 11];
        for ((rate, now), before) in rates.iter_mut().zip(counted).zip(old.node.0) {
            *rate = now.saturating_sub(before) as f64 / seconds;
        }
        let [publish, confirm, drop_unroutable, return_unroutable, churn @ ..] = rates;
        let rates = NodeRates {
            publish,
            confirm,
            drop_unroutable,
            return_unroutable,
            churn,
        };
        new.node = (counted, rates);
        *self.sample.write() = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_drains_as_fast_as_more_leaves_than_comes() {
        let rates = QueueRates {
            publish: 100.0,
            ack: 150.0,
            ..QueueRates::default()
        };
        let backlog = Backlog::new(1000, 3, &rates);
        assert_eq!(backlog.drain_seconds, Some(20.0));
        assert_eq!(backlog.consumers_for_steady, Some(2));
        let growing = Backlog::new(1000, 2, &QueueRates { ack: 50.0, ..rates });
        assert_eq!((growing.drain_seconds, growing.consumers_for_steady), (None, Some(4)));
        let unused = Backlog::new(
            1000,
            0,
            &QueueRates {
                publish: 1.0,
                ..QueueRates::default()
            },
        );
        assert_eq!((unused.drain_seconds, unused.consumers_for_steady), (None, None));
        let idle = Backlog::new(0, 0, &QueueRates::default());
        assert_eq!((idle.drain_seconds, idle.consumers_for_steady), (Some(0.0), Some(0)));
    }

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
}
