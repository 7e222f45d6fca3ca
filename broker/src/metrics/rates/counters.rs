//! Counters as they are now, in the order of their names.
//!
//! Comes in: objects. Goes out: counts. Does not know about samples.

use crate::clients::{ChannelInfo, ConnectionInfo};
use crate::exchange::traffic::Traffic;
use crate::metrics::usage::Usage;
use crate::node::Node;
use crate::queue::totals::{ByType, Snapshot};
use crate::vhost::Vhost;
use crate::vhost::published::{Counts, Published};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sums of all queues, with what deleted ones had counted.
pub fn sums(node: &Node) -> ByType {
    node.hosts.sums()
}

/// The counters of `CHURN`.
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

/// The counters of `PUBLISHED`.
pub fn published(of: &Published) -> [u64; 4] {
    let Counts {
        messages,
        confirmed,
        returned_unroutable,
        dropped_unroutable,
        ..
    } = of.counts();
    [messages, confirmed, returned_unroutable, dropped_unroutable]
}

/// The counters of `PUBLISHED` of a channel.
pub fn published_on(channel: &ChannelInfo) -> [u64; 4] {
    let counters = [
        &channel.published,
        &channel.confirmed,
        &channel.deliveries.returned,
        &channel.deliveries.dropped,
    ];
    counters.map(load)
}

/// The counters of `DELIVERED`.
pub fn delivered_on(channel: &ChannelInfo) -> [u64; 7] {
    let figures = &channel.deliveries;
    let counters = [
        &figures.delivered,
        &figures.delivered_no_ack,
        &figures.got,
        &figures.got_no_ack,
        &figures.get_empty,
        &figures.redelivered,
        &figures.acknowledged,
    ];
    counters.map(load)
}

/// The counters of `PASSED`.
pub fn passed(traffic: &Traffic) -> [u64; 2] {
    [traffic.published(), traffic.routed()]
}

/// Traffic of the clients that are connected, by vhost.
pub struct Traffics(HashMap<String, [u64; 2]>);

impl Traffics {
    /// The traffic now.
    pub fn now(node: &Node) -> Self {
        let mut sums: HashMap<String, [u64; 2]> = HashMap::new();
        for connection in node.connections.list() {
            let own = octets(&connection);
            match sums.get_mut(&connection.vhost) {
                Some(sum) => sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own),
                None => _ = sums.insert(connection.vhost.clone(), own),
            }
        }
        Self(sums)
    }

    /// The counters of `OCTETS` of a vhost: of its clients, and of those that it had.
    pub fn of(&self, vhost: &Vhost) -> [u64; 2] {
        let [received, sent] = [&vhost.gone.received, &vhost.gone.sent].map(load);
        let [more_received, more_sent] = self.0.get(&vhost.name).copied().unwrap_or_default();
        [received + more_received, sent + more_sent]
    }
}

/// The counters of `OCTETS` of a connection.
pub fn octets(connection: &ConnectionInfo) -> [u64; 2] {
    [&connection.octets.received, &connection.octets.sent].map(load)
}

/// The counters of `DISK`.
pub fn disk(node: &Node) -> [u64; 3] {
    let stats = node.log.stats();
    [stats.appends, stats.appended_bytes, stats.syncs]
}

/// The figures of `USAGE`.
pub fn usage(node: &Node, usage: &Usage) -> [u64; 5] {
    [
        usage.resident_bytes,
        usage.fd_used,
        node.descriptors.taken(),
        usage.threads,
        usage.disk_free_bytes,
    ]
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Figures of queues, by name.
pub(super) fn of_queues(now: &Snapshot) -> [(&'static str, u64); 11] {
    let totals = &now.totals;
    [
        ("messages", now.messages() as u64),
        ("messages_ready", now.ready as u64),
        ("messages_unacknowledged", now.unacked as u64),
        ("deliver", totals.delivered),
        ("deliver_no_ack", totals.delivered_no_ack),
        ("get", totals.got),
        ("get_no_ack", totals.got_no_ack),
        ("get_empty", totals.get_empty),
        ("deliver_get", totals.handed_out()),
        ("ack", totals.acked),
        ("redeliver", totals.redelivered),
    ]
}
