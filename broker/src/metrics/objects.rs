//! Families about single objects: queues, exchanges, channels, connections, vhosts.
//!
//! Comes in: objects as they are now. Goes out: samples of each, or one with their sum. Names and helps are RabbitMQ's,
//! in the groups that it knows them by.

use super::rates;
use super::text::{Kind, Text};
use crate::clients::{ChannelInfo, ConnectionInfo};
use crate::node::Node;
use crate::queue::Queue;
use crate::queue::totals::Snapshot;
use crate::vhost::Vhost;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A family: the end of its name, its kind and help, and the value of an object.
pub(super) struct Family<T> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
}

pub(super) const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Family<T> {
    Family {
        name,
        kind: Kind::Gauge,
        help,
        value,
    }
}

pub(super) const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Family<T> {
    Family {
        name,
        kind: Kind::Counter,
        help,
        value,
    }
}

/// A thing that has labels.
pub(super) trait Labelled {
    /// Writes a sample with its labels.
    fn sample(&self, text: &mut Text<'_>, value: f64);
}

/// A queue as it is now.
pub(super) struct OfQueue {
    pub vhost: Arc<Vhost>,
    pub queue: Arc<Queue>,
    pub now: Snapshot,
    /// Part of the time in which its consumers could have taken more.
    pub capacity: Option<f64>,
}

impl Labelled for OfQueue {
    fn sample(&self, text: &mut Text<'_>, value: f64) {
        let name = self.queue.name().to_str_lossy();
        text.sample(&[("vhost", &self.vhost.name), ("queue", &name)], value);
    }
}

/// An exchange as it is now.
pub(super) struct OfExchange {
    vhost: String,
    name: String,
    kind: &'static str,
    passed: [u64; 2],
    bindings: usize,
}

impl Labelled for OfExchange {
    fn sample(&self, text: &mut Text<'_>, value: f64) {
        text.sample(&[("vhost", &self.vhost), ("exchange", &self.name)], value);
    }
}

/// A channel as it is now.
pub(super) struct OfChannel {
    name: String,
    channel: Arc<ChannelInfo>,
}

impl Labelled for OfChannel {
    fn sample(&self, text: &mut Text<'_>, value: f64) {
        text.sample(&[("channel", &self.name)], value);
    }
}

impl Labelled for Arc<ConnectionInfo> {
    fn sample(&self, text: &mut Text<'_>, value: f64) {
        text.sample(&[("connection", &self.name())], value);
    }
}

/// Group `queue_coarse_metrics`.
pub(super) const QUEUE_DEPTH: [Family<Snapshot>; 3] = [
    gauge("queue_messages_ready", "Messages waiting", |of| Some(of.ready as f64)),
    gauge(
        "queue_messages_unacked",
        "Messages delivered and not acknowledged",
        |of| Some(of.unacked as f64),
    ),
    gauge("queue_messages", "Messages in the queue", |of| {
        Some(of.messages() as f64)
    }),
];

/// Group `queue_consumer_count`.
pub(super) const QUEUE_CONSUMERS: [Family<Snapshot>; 1] =
    [gauge("queue_consumers", "Consumers", |of| Some(of.consumers as f64))];

/// Group `queue_metrics`, with those of `queue_consumer_count`: what has a sum.
pub(super) const QUEUE: [Family<Snapshot>; 6] = [
    gauge("queue_process_memory_bytes", "Memory of its messages", |of| {
        Some(of.memory as f64)
    }),
    gauge(
        "queue_messages_persistent",
        "Waiting messages that are in the log",
        |of| Some(of.persistent as f64),
    ),
    gauge(
        "queue_messages_persistent_bytes",
        "Bodies of waiting messages in the log",
        |of| Some(of.persistent_bytes as f64),
    ),
    gauge("queue_messages_bytes", "Bodies of all messages", |of| {
        Some(of.bytes() as f64)
    }),
    gauge("queue_messages_ready_bytes", "Bodies of waiting messages", |of| {
        Some(of.ready_bytes as f64)
    }),
    gauge(
        "queue_messages_unacked_bytes",
        "Bodies of unacknowledged messages",
        |of| Some(of.unacked_bytes as f64),
    ),
];

/// Group `queue_metrics`: what is of one queue only.
pub(super) const QUEUE_ALONE: [Family<OfQueue>; 3] = [
    gauge(
        "queue_consumer_capacity",
        "Part of the time in which consumers could take more",
        capacity,
    ),
    gauge("queue_consumer_utilisation", "Same as consumer capacity", capacity),
    gauge("queue_head_message_timestamp", "Timestamp of the first message", |of| {
        of.queue.head_timestamp().map(|seconds| seconds as f64)
    }),
];

fn capacity(of: &OfQueue) -> Option<f64> {
    Some(match of.now.consumers {
        0 => 0.0,
        _ => of.capacity.unwrap_or(1.0),
    })
}

/// Group `queue_delivery_metrics`, and what came.
pub(super) const QUEUE_DELIVERIES: [Family<Snapshot>; 8] = [
    counter(
        "queue_messages_published_total",
        "Messages published to a queue",
        |of| Some(of.totals.published as f64),
    ),
    counter("queue_get_ack_total", "Messages fetched, to be acknowledged", |of| {
        Some(of.totals.got as f64)
    }),
    counter("queue_get_total", "Messages fetched without acknowledgement", |of| {
        Some(of.totals.got_no_ack as f64)
    }),
    counter(
        "queue_messages_delivered_ack_total",
        "Messages delivered, to be acknowledged",
        |of| Some(of.totals.delivered as f64),
    ),
    counter(
        "queue_messages_delivered_total",
        "Messages delivered without acknowledgement",
        |of| Some(of.totals.delivered_no_ack as f64),
    ),
    counter("queue_messages_redelivered_total", "Messages delivered again", |of| {
        Some(of.totals.redelivered as f64)
    }),
    counter("queue_messages_acked_total", "Messages acknowledged", |of| {
        Some(of.totals.acked as f64)
    }),
    counter("queue_get_empty_total", "Fetches that found nothing", |of| {
        Some(of.totals.get_empty as f64)
    }),
];

/// Group `exchange_metrics`.
pub(super) const EXCHANGE: [Family<OfExchange>; 1] = [counter(
    "exchange_messages_published_total",
    "Messages published into an exchange",
    |of| Some(of.passed[0] as f64),
)];

/// Group `channel_metrics`.
pub(super) const CHANNEL: [Family<OfChannel>; 7] = [
    gauge("channel_consumers", "Consumers on a channel", |of| {
        Some(of.channel.consumers.load(Ordering::Relaxed).into())
    }),
    gauge(
        "channel_messages_unacked",
        "Messages delivered and not acknowledged",
        |of| Some(of.channel.deliveries.unacked().into()),
    ),
    gauge(
        "channel_messages_unconfirmed",
        "Messages published and not confirmed",
        |of| Some(of.channel.unconfirmed.load(Ordering::Relaxed) as f64),
    ),
    gauge(
        "channel_messages_uncommitted",
        "Messages of an open transaction",
        |of| Some(of.channel.uncommitted.publishes.load(Ordering::Relaxed) as f64),
    ),
    gauge(
        "channel_acks_uncommitted",
        "Acknowledgements of an open transaction",
        |of| Some(of.channel.uncommitted.acks.load(Ordering::Relaxed) as f64),
    ),
    gauge(
        "consumer_prefetch",
        "Limit of unacknowledged messages for each consumer",
        |of| Some(of.channel.prefetch.load(Ordering::Relaxed).into()),
    ),
    gauge(
        "channel_prefetch",
        "Limit of unacknowledged messages of the channel",
        |of| Some(of.channel.deliveries.prefetch.load(Ordering::Relaxed).into()),
    ),
];

/// Group `channel_exchange_metrics`: of all exchanges together.
pub(super) const CHANNEL_PUBLISHES: [Family<OfChannel>; 4] = [
    counter(
        "channel_messages_published_total",
        "Messages published on a channel",
        |of| Some(of.channel.published.load(Ordering::Relaxed) as f64),
    ),
    counter(
        "channel_messages_confirmed_total",
        "Messages confirmed on a channel",
        |of| Some(of.channel.confirmed.load(Ordering::Relaxed) as f64),
    ),
    counter(
        "channel_messages_unroutable_returned_total",
        "Messages that led nowhere and were given back",
        |of| Some(of.channel.deliveries.returned.load(Ordering::Relaxed) as f64),
    ),
    counter(
        "channel_messages_unroutable_dropped_total",
        "Messages that led nowhere and were dropped",
        |of| Some(of.channel.deliveries.dropped.load(Ordering::Relaxed) as f64),
    ),
];

/// Group `channel_queue_metrics`: of all queues together.
pub(super) const CHANNEL_DELIVERIES: [Family<OfChannel>; 7] = [
    counter("channel_get_ack_total", "Messages fetched, to be acknowledged", |of| {
        Some(of.channel.deliveries.got.load(Ordering::Relaxed) as f64)
    }),
    counter("channel_get_total", "Messages fetched without acknowledgement", |of| {
        Some(of.channel.deliveries.got_no_ack.load(Ordering::Relaxed) as f64)
    }),
    counter(
        "channel_messages_delivered_ack_total",
        "Messages delivered, to be acknowledged",
        |of| Some(of.channel.deliveries.delivered.load(Ordering::Relaxed) as f64),
    ),
    counter(
        "channel_messages_delivered_total",
        "Messages delivered without acknowledgement",
        |of| Some(of.channel.deliveries.delivered_no_ack.load(Ordering::Relaxed) as f64),
    ),
    counter("channel_messages_redelivered_total", "Messages delivered again", |of| {
        Some(of.channel.deliveries.redelivered.load(Ordering::Relaxed) as f64)
    }),
    counter("channel_messages_acked_total", "Messages acknowledged", |of| {
        Some(of.channel.deliveries.acknowledged.load(Ordering::Relaxed) as f64)
    }),
    counter("channel_get_empty_total", "Fetches that found nothing", |of| {
        Some(of.channel.deliveries.get_empty.load(Ordering::Relaxed) as f64)
    }),
];

/// Group `connection_coarse_metrics`.
pub(super) const CONNECTION_BYTES: [Family<Arc<ConnectionInfo>>; 2] = [
    counter(
        "connection_incoming_bytes_total",
        "Bytes received on a connection",
        |of| Some(of.octets.received.load(Ordering::Relaxed) as f64),
    ),
    counter("connection_outgoing_bytes_total", "Bytes sent on a connection", |of| {
        Some(of.octets.sent.load(Ordering::Relaxed) as f64)
    }),
];

/// Group `connection_metrics`.
pub(super) const CONNECTION: [Family<Arc<ConnectionInfo>>; 4] = [
    counter("connection_incoming_packets_total", "Reads of a connection", |of| {
        Some(of.octets.reads.load(Ordering::Relaxed) as f64)
    }),
    counter("connection_outgoing_packets_total", "Writes to a connection", |of| {
        Some(of.octets.writes.load(Ordering::Relaxed) as f64)
    }),
    gauge(
        "connection_pending_packets",
        "Bytes that wait to be sent on a connection",
        |of| Some(of.pending() as f64),
    ),
    gauge("connection_channels", "Channels on a connection", |of| {
        Some(of.channels.lock().len() as f64)
    }),
];

/// A sample of each object.
pub(super) fn each<T: Labelled>(prefix: &str, families: &[Family<T>], objects: &[T], text: &mut Text<'_>) {
    each_of(prefix, families, objects, |object| object, text);
}

/// A sample of each queue.
pub(super) fn each_queue(prefix: &str, families: &[Family<Snapshot>], queues: &[OfQueue], text: &mut Text<'_>) {
    each_of(prefix, families, queues, |queue| &queue.now, text);
}

fn each_of<O: Labelled, T>(prefix: &str, families: &[Family<T>], objects: &[O], of: fn(&O) -> &T, text: &mut Text<'_>) {
    for family in families {
        text.family(&format!("{prefix}{}", family.name), family.kind, family.help);
        for object in objects {
            if text.is_closed() {
                return;
            }
            if let Some(value) = (family.value)(of(object)) {
                object.sample(text, value);
            }
        }
    }
}

/// One sample with the sum over all objects.
pub(super) fn sum<T>(families: &[Family<T>], objects: &[T], text: &mut Text<'_>) {
    for family in families {
        // Not `sum`: of nothing, that is -0.
        let all = objects.iter().filter_map(family.value).fold(0.0, |all, one| all + one);
        text.family(&format!("rabbitmq_{}", family.name), family.kind, family.help);
        text.sample(&[], all);
    }
}

/// The queues that `keep` says, by vhost and name.
pub(super) fn queues(node: &Node, rates: &rates::Rates, keep: impl Fn(&str, &str) -> bool) -> Vec<OfQueue> {
    let mut rows = Vec::new();
    for vhost in node.vhosts() {
        for queue in vhost.queues() {
            if keep(&vhost.name, &queue.name().to_str_lossy()) {
                rows.push(OfQueue {
                    vhost: vhost.clone(),
                    now: queue.snapshot(),
                    capacity: rates.queue(queue.id).capacity,
                    queue,
                });
            }
        }
    }
    rows.sort_by(|a, b| (&a.vhost.name, a.queue.name()).cmp(&(&b.vhost.name, b.queue.name())));
    rows
}

/// The exchanges of the vhosts that `keep` says.
pub(super) fn exchanges(node: &Node, keep: impl Fn(&str) -> bool) -> Vec<OfExchange> {
    let mut rows = Vec::new();
    for vhost in node.vhosts().iter().filter(|vhost| keep(&vhost.name)) {
        let topology = vhost.topology();
        rows.extend(topology.exchanges.values().map(|exchange| OfExchange {
            vhost: vhost.name.clone(),
            name: exchange.definition.name.to_str_lossy().into_owned(),
            kind: exchange.definition.kind.name,
            passed: rates::passed(&exchange.traffic),
            bindings: exchange.bindings().len(),
        }));
    }
    rows.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
    rows
}

/// All channels.
pub(super) fn channels(connections: &[Arc<ConnectionInfo>]) -> Vec<OfChannel> {
    let mut rows = Vec::new();
    for connection in connections {
        let name = connection.name();
        rows.extend(connection.channels.lock().values().map(|channel| OfChannel {
            name: format!("{name} ({})", channel.number),
            channel: channel.clone(),
        }));
    }
    rows
}

/// Groups about all nodes of a cluster: `vhost_status`, `exchange_bindings` and `exchange_names`.
pub(super) fn of_cluster(node: &Node, asks: impl Fn(&str) -> bool, keep: impl Fn(&str) -> bool, text: &mut Text<'_>) {
    if asks("vhost_status") {
        text.family(
            "rabbitmq_cluster_vhost_status",
            Kind::Gauge,
            "1 for a vhost that is running",
        );
        for vhost in node.vhosts().iter().filter(|vhost| keep(&vhost.name)) {
            text.sample(&[("vhost", &vhost.name)], 1);
        }
    }
    let (bindings, names) = (asks("exchange_bindings"), asks("exchange_names"));
    let exchanges = match bindings || names {
        true => exchanges(node, keep),
        false => Vec::new(),
    };
    let sample = |of: &OfExchange, value: usize, text: &mut Text<'_>| {
        text.sample(
            &[("vhost", &of.vhost), ("exchange", &of.name), ("type", of.kind)],
            value,
        );
    };
    if bindings {
        text.family(
            "rabbitmq_cluster_exchange_bindings",
            Kind::Gauge,
            "Bindings from an exchange",
        );
        exchanges.iter().for_each(|of| sample(of, of.bindings, text));
    }
    if names {
        text.family("rabbitmq_cluster_exchange_name", Kind::Gauge, "Exchanges");
        exchanges.iter().for_each(|of| sample(of, 1, text));
    }
}

/// The type of each queue.
pub(super) fn queue_info(prefix: &str, queues: &[OfQueue], text: &mut Text<'_>) {
    text.family(&format!("{prefix}queue_info"), Kind::Untyped, "The type of a queue");
    for of in queues {
        if text.is_closed() {
            return;
        }
        let name = of.queue.name().to_str_lossy();
        let labels = [
            ("vhost", of.vhost.name.as_str()),
            ("queue", &name),
            ("queue_type", of.queue.definition.arguments.values.queue_type().module()),
            ("membership", "leader"),
        ];
        text.sample(&labels, 1);
    }
}
