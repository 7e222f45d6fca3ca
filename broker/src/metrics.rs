//! Metrics: what Prometheus reads, under RabbitMQ's names, so that its dashboards work (Grafana 10991), and under
//! Leveret's own.
//!
//! Comes in: the node's counters, rates, and what the kernel says of this process. Goes out: Prometheus' text format,
//! piece by piece. All names, units and labels stand here. Does not know about HTTP.

/// Families about the node and the machine that it is on.
pub mod machine;

/// Families about logins, limits, and the threads and connections that serve.
mod service;

/// Families about ZeroMQ's sockets.
mod zeromq;

/// The trend of a backlog.
pub mod backlog;

/// Families about single objects.
mod objects;

/// Rates: how fast counters grow, from samples every five seconds.
pub mod rates;

/// Figures as they were.
pub mod history;

/// Prometheus' text format, version 0.0.4.
pub mod text;

/// Memory by use.
pub mod memory;

/// Resources of the machine that this process takes.
pub mod usage;

use crate::node::Node;
use crate::pieces::Pieces;
use crate::product::{ERLANG_VERSION, PRODUCT, RABBITMQ_VERSION, VERSION};
use crate::queue::totals::{ByType, Deaths, Snapshot, Totals};
use crate::sizes::BOUNDS;
use backlog::Backlog;
use machine::Machine;
use objects::{Labelled, OfQueue};
use rates::Rates;
use service::{limits, logins, logins_by_source, serving};
use std::path::Path;
use std::sync::atomic::Ordering;
use text::{Kind, Text};
use usage::Usage;

pub use service::Service;

/// The label of what is published.
const PROTOCOL: (&str, &str) = ("protocol", "amqp091");

/// A family of counters: name, help, and the count among others.
type Counted<T> = (&'static str, &'static str, fn(&T) -> u64);

/// `/metrics`: sums over everything.
pub fn aggregated(node: &Node, data_dir: &Path, service: &Service, out: &mut Pieces) {
    let text = &mut Text::new(out);
    identity(node, "aggregated", text);
    let sums = rates::sums(node);
    let sum = sums.all();
    of_broker(node, data_dir, &sums, text);
    objects::sum(&objects::QUEUE_DEPTH, &[sum], text);
    objects::sum(&objects::QUEUE_CONSUMERS, &[sum], text);
    objects::sum(&objects::QUEUE, &[sum], text);
    objects::sum(&objects::QUEUE_DELIVERIES, &[sum], text);
    into_exchanges(node, text);
    clients(node, text);
    machine::own(node, text);
    lost_letters(node, text);
    flow(node, text);
    limits(node, text);
    log(node, text);
    serving(node, service, text);
    zeromq::sockets(&service.sockets, text);
}

/// `/metrics/per-object`: each object for itself, with how backlogs develop, and what is the broker's.
pub fn per_object(node: &Node, data_dir: &Path, rates: &Rates, out: &mut Pieces) {
    const PREFIX: &str = "rabbitmq_";
    let text = &mut Text::new(out);
    identity(node, "per-object", text);
    of_broker(node, data_dir, &rates::sums(node), text);
    let queues = objects::queues(node, rates, |_, _| true);
    groups(node, PREFIX, &queues, |_| true, text);
    objects::each_queue(PREFIX, &objects::QUEUE_CONSUMERS, &queues, text);
    objects::queue_info(PREFIX, &queues, text);
    backlogs(&queues, rates, text);
}

/// `/metrics/memory-breakdown`: the memory of the process, by use.
pub fn memory_breakdown(node: &Node, data_dir: &Path, out: &mut Pieces) {
    let text = &mut Text::new(out);
    identity(node, "memory-breakdown", text);
    for memory::Use { metric, bytes, .. } in memory::Breakdown::now(node, &Usage::now(data_dir)).uses {
        text.gauge(&format!("rabbitmq_memory_{metric}_bytes"), "Memory of this use", bytes);
    }
}

/// Families that are of the broker, whether objects are shown one by one or in sums.
fn of_broker(node: &Node, data_dir: &Path, sums: &ByType, text: &mut Text<'_>) {
    let sum = sums.all();
    counts(node, &sum, text);
    machine::groups("rabbitmq_", |_| true, &Machine::now(node, data_dir), text);
    machine::alarms(node, text);
    received(node, &sum, text);
    delivered(sums, text);
    deaths(sums, text);
    sizes(node, text);
    logins(node, "rabbitmq_", text);
}

/// `/metrics/detailed`: families of RabbitMQ, by its names for them, of those queues that `keep` says. Names that are
/// none are passed over, as RabbitMQ does.
pub fn detailed(
    (node, data_dir): (&Node, &Path),
    rates: &Rates,
    families: &[String],
    (vhost, keep): (Option<&str>, impl Fn(&str, &str) -> bool),
    out: &mut Pieces,
) {
    const PREFIX: &str = "rabbitmq_detailed_";
    let text = &mut Text::new(out);
    identity(node, "detailed", text);
    let asks = |family: &str| families.iter().any(|asked| asked == family);
    let of_queues = OF_QUEUES.iter().any(|family| asks(family));
    let queues = match of_queues {
        true => objects::queues(node, rates, keep),
        false => Vec::new(),
    };
    if machine::GROUPS.iter().any(|group| asks(group)) {
        machine::groups(PREFIX, asks, &Machine::now(node, data_dir), text);
    }
    groups(node, PREFIX, &queues, asks, text);
    if asks("queue_metrics") || asks("queue_consumer_count") {
        objects::each_queue(PREFIX, &objects::QUEUE_CONSUMERS, &queues, text);
    }
    if asks("queue_metrics") || asks("queue_consumer_count") || asks("queue_coarse_metrics") {
        objects::queue_info(PREFIX, &queues, text);
    }
    objects::of_cluster(node, asks, |of| vhost.is_none_or(|vhost| vhost == of), text);
    if asks("auth_attempt_metrics") {
        logins(node, PREFIX, text);
    }
    if asks("auth_attempt_detailed_metrics") {
        logins_by_source(node, PREFIX, text);
    }
}

/// Groups of families about queues.
const OF_QUEUES: [&str; 4] = [
    "queue_coarse_metrics",
    "queue_metrics",
    "queue_consumer_count",
    "queue_delivery_metrics",
];

/// The groups of families that are asked for, each object for itself.
fn groups(node: &Node, prefix: &str, queues: &[OfQueue], asks: impl Fn(&str) -> bool, text: &mut Text<'_>) {
    if asks("queue_coarse_metrics") {
        objects::each_queue(prefix, &objects::QUEUE_DEPTH, queues, text);
    }
    if asks("queue_metrics") {
        objects::each_queue(prefix, &objects::QUEUE, queues, text);
        objects::each(prefix, &objects::QUEUE_ALONE, queues, text);
    }
    if asks("queue_delivery_metrics") {
        objects::each_queue(prefix, &objects::QUEUE_DELIVERIES, queues, text);
    }
    if asks("exchange_metrics") {
        objects::each(prefix, &objects::EXCHANGE, &objects::exchanges(node, |_| true), text);
    }
    let connections = node.connections.list();
    let channels = objects::channels(&connections);
    if asks("channel_metrics") {
        objects::each(prefix, &objects::CHANNEL, &channels, text);
    }
    if asks("channel_exchange_metrics") {
        objects::each(prefix, &objects::CHANNEL_PUBLISHES, &channels, text);
    }
    if asks("channel_queue_metrics") {
        objects::each(prefix, &objects::CHANNEL_DELIVERIES, &channels, text);
    }
    if asks("connection_coarse_metrics") {
        objects::each(prefix, &objects::CONNECTION_BYTES, &connections, text);
    }
    if asks("connection_metrics") {
        objects::each(prefix, &objects::CONNECTION, &connections, text);
    }
}

/// Sums over the channels and connections that there are.
fn clients(node: &Node, text: &mut Text<'_>) {
    let connections = node.connections.list();
    let channels = objects::channels(&connections);
    objects::sum(&objects::CHANNEL, &channels, text);
    objects::sum(&objects::CHANNEL_PUBLISHES, &channels, text);
    objects::sum(&objects::CHANNEL_DELIVERIES, &channels, text);
    objects::sum(&objects::CONNECTION_BYTES, &connections, text);
    objects::sum(&objects::CONNECTION, &connections, text);
}

fn sizes(node: &Node, text: &mut Text<'_>) {
    let (buckets, bytes) = node.totals.sizes.counts();
    // As Prometheus writes numbers, so that old and new versions of it find what dashboards ask for.
    let bounds = BOUNDS.iter().map(|most| match most.ilog10() {
        digits @ 6.. => format!("{}e+{digits:02}", most / 10_u64.pow(digits)),
        _ => format!("{most}.0"),
    });
    let bounds: Vec<String> = bounds.chain(["+Inf".to_owned()]).collect();
    let (name, help) = (
        "rabbitmq_message_size_bytes",
        "Sizes of messages that clients published",
    );
    text.histogram(name, help, &[PROTOCOL], (&bounds, &buckets), bytes);
}

/// The sums of what RabbitMQ counts by exchange.
fn into_exchanges(node: &Node, text: &mut Text<'_>) {
    let counts = node.totals.published.counts();
    for (name, help, value) in [
        ("published", "Messages published into exchanges", counts.messages),
        ("confirmed", "Of those, messages confirmed", counts.confirmed),
        (
            "unroutable_returned",
            "Of those, messages that led nowhere and were given back",
            counts.returned_unroutable,
        ),
        (
            "unroutable_dropped",
            "Of those, messages that led nowhere and were dropped",
            counts.dropped_unroutable,
        ),
    ] {
        text.counter(&format!("rabbitmq_exchange_messages_{name}_total"), help, value);
    }
}

fn identity(node: &Node, endpoint: &str, text: &mut Text<'_>) {
    let build = [
        ("rabbitmq_version", RABBITMQ_VERSION),
        ("erlang_version", ERLANG_VERSION),
        ("product_name", PRODUCT),
        ("product_version", VERSION),
    ];
    text.family("rabbitmq_build_info", Kind::Untyped, "Versions of the broker");
    text.sample(&build, 1);
    let (cluster, id) = (node.cluster_name(), node.parameters.cluster_id());
    let names = [
        ("rabbitmq_node", node.name.as_str()),
        ("rabbitmq_cluster", cluster.as_str()),
        ("rabbitmq_cluster_permanent_id", id.as_str()),
        ("rabbitmq_endpoint", endpoint),
    ];
    text.family("rabbitmq_identity_info", Kind::Untyped, "Names of node and cluster");
    text.sample(&names, 1);
}

fn counts(node: &Node, sum: &Snapshot, text: &mut Text<'_>) {
    let connections = node.connections.list();
    let (mut channels, mut publishers) = (0, 0);
    for connection in &connections {
        for channel in connection.channels.lock().values() {
            channels += 1;
            publishers += u64::from(channel.published.load(Ordering::Relaxed) > 0);
        }
    }
    let queues: usize = node.vhosts().iter().map(|vhost| vhost.topology().queues.len()).sum();
    for (name, help, value) in [
        ("rabbitmq_connections", "Connections open", connections.len() as u64),
        ("rabbitmq_channels", "Channels open", channels),
        ("rabbitmq_consumers", "Consumers", sum.consumers as u64),
        ("rabbitmq_queues", "Queues", queues as u64),
    ] {
        text.gauge(name, help, value);
    }
    for (name, help, value) in [
        ("rabbitmq_global_publishers", "Channels that have published", publishers),
        ("rabbitmq_global_consumers", "Consumers", sum.consumers as u64),
    ] {
        text.family(name, Kind::Gauge, help);
        text.sample(&[PROTOCOL], value);
    }
}

fn received(node: &Node, sum: &Snapshot, text: &mut Text<'_>) {
    let counts = node.totals.published.counts();
    for (name, help, value) in [
        (
            "rabbitmq_global_messages_received_total",
            "Messages published by clients",
            counts.messages,
        ),
        (
            "rabbitmq_global_messages_received_confirm_total",
            "Of those, messages published on channels with confirms or transactions",
            counts.to_confirm,
        ),
        (
            "rabbitmq_global_messages_routed_total",
            "Messages put into queues",
            sum.totals.published,
        ),
        (
            "rabbitmq_global_messages_confirmed_total",
            "Messages confirmed to publishers",
            counts.confirmed,
        ),
        (
            "rabbitmq_global_messages_unroutable_dropped_total",
            "Messages that led nowhere and were dropped",
            counts.dropped_unroutable,
        ),
        (
            "rabbitmq_global_messages_unroutable_returned_total",
            "Messages that led nowhere and were given back",
            counts.returned_unroutable,
        ),
    ] {
        text.family(name, Kind::Counter, help);
        text.sample(&[PROTOCOL], value);
    }
}

fn lost_letters(node: &Node, text: &mut Text<'_>) {
    text.counter(
        "leveret_dead_letters_lost_total",
        "Dead letters dropped because their way takes too many steps, or leads through too many queues",
        node.hosts.churned().letters_lost,
    );
}

fn flow(node: &Node, text: &mut Text<'_>) {
    let pauses = &node.totals.pauses;
    let (name, help) = (
        "leveret_publisher_pauses_total",
        "Pauses of publishers while consumers are behind",
    );
    text.counter(name, help, pauses.count());
    let (name, help) = ("leveret_publisher_pause_seconds_total", "Time of these pauses");
    text.counter(name, help, pauses.total().as_secs_f64());
}

fn delivered(sums: &ByType, text: &mut Text<'_>) {
    let table: [Counted<Totals>; 8] = [
        (
            "rabbitmq_global_messages_delivered_total",
            "Messages delivered in any way",
            Totals::handed_out,
        ),
        (
            "rabbitmq_global_messages_delivered_consume_manual_ack_total",
            "Messages delivered to consumers that acknowledge",
            |totals| totals.delivered,
        ),
        (
            "rabbitmq_global_messages_delivered_consume_auto_ack_total",
            "Messages delivered to consumers that don't acknowledge",
            |totals| totals.delivered_no_ack,
        ),
        (
            "rabbitmq_global_messages_delivered_get_manual_ack_total",
            "Messages fetched, to be acknowledged",
            |totals| totals.got,
        ),
        (
            "rabbitmq_global_messages_delivered_get_auto_ack_total",
            "Messages fetched without acknowledgement",
            |totals| totals.got_no_ack,
        ),
        (
            "rabbitmq_global_messages_redelivered_total",
            "Messages delivered again",
            |totals| totals.redelivered,
        ),
        (
            "rabbitmq_global_messages_acknowledged_total",
            "Messages acknowledged",
            |totals| totals.acked,
        ),
        (
            "rabbitmq_global_messages_get_empty_total",
            "Fetches that found nothing",
            |totals| totals.get_empty,
        ),
    ];
    for (name, help, count) in table {
        text.family(name, Kind::Counter, help);
        for (queue_type, sum) in sums.each() {
            text.sample(&[PROTOCOL, ("queue_type", queue_type.module())], count(&sum.totals));
        }
    }
}

/// Messages that left a queue without being acknowledged; with the strategy `disabled` those that were dropped.
fn deaths(sums: &ByType, text: &mut Text<'_>) {
    let table: [Counted<Deaths>; 4] = [
        (
            "rabbitmq_global_messages_dead_lettered_rejected_total",
            "Messages dropped or dead-lettered because a consumer rejected them",
            |deaths| deaths.rejected,
        ),
        (
            "rabbitmq_global_messages_dead_lettered_expired_total",
            "Messages dropped or dead-lettered because their time was over",
            |deaths| deaths.expired,
        ),
        (
            "rabbitmq_global_messages_dead_lettered_maxlen_total",
            "Messages dropped or dead-lettered because their queue was at its limit",
            |deaths| deaths.maxlen,
        ),
        (
            "rabbitmq_global_messages_dead_lettered_delivery_limit_total",
            "Messages dropped or dead-lettered because they had failed too often",
            |deaths| deaths.delivery_limit,
        ),
    ];
    for (name, help, count) in table {
        text.family(name, Kind::Counter, help);
        for (queue_type, sum) in sums.each() {
            let labels = |strategy| [("queue_type", queue_type.module()), ("dead_letter_strategy", strategy)];
            let (all, dead_lettered) = (count(&sum.totals.deaths()), count(&sum.dead_lettered));
            text.sample(&labels("disabled"), all.saturating_sub(dead_lettered));
            text.sample(&labels("at_most_once"), dead_lettered);
        }
    }
}

fn log(node: &Node, text: &mut Text<'_>) {
    let stats = node.log.stats();
    for (name, help, value) in [
        ("leveret_log_segments", "Files of the log", stats.segments),
        (
            "leveret_log_open_segments",
            "Of them, files that are kept open to be read",
            stats.open_segments,
        ),
        ("leveret_log_disk_bytes", "Size of the log", stats.disk_bytes),
        ("leveret_log_live_bytes", "Of it in use; estimated", stats.live_bytes),
    ] {
        text.gauge(name, help, value);
    }
    for (name, help, value) in [
        ("leveret_log_appends_total", "Batches appended", stats.appends),
        (
            "leveret_log_appended_bytes_total",
            "Bytes appended",
            stats.appended_bytes,
        ),
        ("leveret_log_syncs_total", "Syncs to disk", stats.syncs),
        (
            "leveret_log_corrupt_records_total",
            "Damaged records seen",
            stats.corrupt,
        ),
        (
            "leveret_log_reclaimed_bytes_total",
            "Bytes of files that were dropped or used again",
            stats.reclaimed_bytes,
        ),
        (
            "leveret_log_copied_bytes_total",
            "Bytes appended in order to free files",
            stats.copied_bytes,
        ),
        (
            "leveret_log_crowded_total",
            "Times that publishers had to wait for the log to be cleaned up",
            stats.crowded,
        ),
        (
            "leveret_log_prepared_bytes_total",
            "Zeros written ahead for files to come",
            stats.prepared_bytes,
        ),
        (
            "leveret_log_descriptor_waits_total",
            "Times that the log had to wait for a file descriptor",
            stats.descriptor_waits,
        ),
        (
            "leveret_log_checkpoints_total",
            "Checkpoints taken, of which a start reads the newest",
            stats.checkpoints,
        ),
        (
            "leveret_log_checkpoint_bytes_total",
            "Bytes written for checkpoints",
            stats.checkpoint_bytes,
        ),
    ] {
        text.counter(name, help, value);
    }
    text.counter(
        "leveret_log_sync_seconds_total",
        "Time spent in syncs",
        stats.sync_time.as_secs_f64(),
    );
}

type Measure = fn(&Backlog) -> Option<f64>;

/// Leveret's own: P, C and what follows from them. What isn't defined (a backlog that doesn't shrink never drains) is
/// left out.
fn backlogs(queues: &[OfQueue], rates: &Rates, text: &mut Text<'_>) {
    let measures: [(&str, &str, Measure); 4] = [
        ("leveret_queue_publish_rate", "Messages per second that come", |b| {
            Some(b.publish_rate)
        }),
        ("leveret_queue_ack_rate", "Messages per second that leave", |b| {
            Some(b.ack_rate)
        }),
        ("leveret_queue_drain_seconds", "Time until the queue is empty", |b| {
            b.drain_seconds
        }),
        (
            "leveret_queue_consumers_for_steady",
            "Consumers that would hold the queue steady",
            |b| b.consumers_for_steady.map(|count| count as f64),
        ),
    ];
    for (name, help, measure) in measures {
        text.family(name, Kind::Gauge, help);
        for row in queues {
            if text.is_closed() {
                return;
            }
            let backlog = Backlog::new(row.now.messages(), row.now.consumers, &rates.queue(row.queue.id));
            if let Some(value) = measure(&backlog) {
                row.sample(text, value);
            }
        }
    }
}
