//! Families about the node and the machine that it is on: what comes and goes, resources, the disk.
//!
//! Comes in: the node's counters, and what the kernel says of this process. Goes out: Prometheus' text format, in the
//! groups that RabbitMQ knows them by. What only Erlang has is left out, or 0 where a node of RabbitMQ always shows 0.

use super::objects::{self, Family, Labelled, counter, gauge};
use super::rates;
use super::text::{Kind, Text};
use super::usage::Usage;
use crate::node::Node;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RabbitMQ's defaults where there is nothing of its own to say: the most Erlang processes, and the time after which
/// nodes of a cluster take each other for gone.
pub const PROCESSES: u64 = 1_048_576;
/// The latter, seconds.
pub const NET_TICK_SECONDS: u64 = 60;

/// The node at one moment.
pub(super) struct Machine {
    churn: [u64; 7],
    disk: [u64; 3],
    sync_time: Duration,
    usage: Usage,
    uptime: Duration,
    memory_limit: u64,
    disk_limit: u64,
}

impl Machine {
    /// As it is now.
    pub(super) fn now(node: &Node, data_dir: &Path) -> Self {
        Self {
            churn: rates::churn(node),
            disk: rates::disk(node),
            sync_time: node.log.stats().sync_time,
            usage: Usage::now(data_dir),
            uptime: node.started.elapsed(),
            memory_limit: node.memory.watermark(),
            disk_limit: node.disk.limit(),
        }
    }
}

impl Labelled for Machine {
    fn sample(&self, text: &mut Text<'_>, value: f64) {
        text.sample(&[], value);
    }
}

const CHURN: [Family<Machine>; 7] = [
    counter("connections_opened_total", "Connections opened", |of| {
        Some(of.churn[0] as f64)
    }),
    counter("connections_closed_total", "Connections closed", |of| {
        Some(of.churn[1] as f64)
    }),
    counter("channels_opened_total", "Channels opened", |of| {
        Some(of.churn[2] as f64)
    }),
    counter("channels_closed_total", "Channels closed", |of| {
        Some(of.churn[3] as f64)
    }),
    counter(
        "queues_declared_total",
        "Queues declared, those that existed included",
        |of| Some(of.churn[4] as f64),
    ),
    counter("queues_created_total", "Queues created", |of| Some(of.churn[5] as f64)),
    counter("queues_deleted_total", "Queues deleted", |of| Some(of.churn[6] as f64)),
];

const COARSE: [Family<Machine>; 4] = [
    gauge("process_open_fds", "Open files and sockets", |of| {
        Some(of.usage.fd_used as f64)
    }),
    gauge("process_resident_memory_bytes", "Memory of the process", |of| {
        Some(of.usage.resident_bytes as f64)
    }),
    gauge("disk_space_available_bytes", "Room left where the data is", |of| {
        Some(of.usage.disk_free_bytes as f64)
    }),
    gauge("erlang_processes_used", "Threads", |of| Some(of.usage.threads as f64)),
];

const LIMITS: [Family<Machine>; 7] = [
    gauge("process_max_fds", "Most files and sockets that may be open", |of| {
        Some(of.usage.fd_limit as f64)
    }),
    gauge(
        "resident_memory_limit_bytes",
        "Memory of messages above which publishers are stopped",
        |of| Some(of.memory_limit as f64),
    ),
    gauge(
        "disk_space_available_limit_bytes",
        "Room below which publishers are stopped",
        |of| Some(of.disk_limit as f64),
    ),
    gauge("erlang_processes_limit", "RabbitMQ's default", |_| {
        Some(PROCESSES as f64)
    }),
    gauge("erlang_scheduler_run_queue", "RabbitMQ's of a node at rest", |_| {
        Some(0.0)
    }),
    gauge("erlang_net_ticktime_seconds", "RabbitMQ's default", |_| {
        Some(NET_TICK_SECONDS as f64)
    }),
    gauge("erlang_uptime_seconds", "Time since the broker started", |of| {
        Some(of.uptime.as_secs_f64())
    }),
];

/// The disk as the log uses it: batches, bytes and syncs.
const DISK: [Family<Machine>; 13] = [
    counter("io_write_ops_total", "Batches appended to the log", |of| {
        Some(of.disk[0] as f64)
    }),
    counter("io_write_bytes_total", "Bytes appended to the log", |of| {
        Some(of.disk[1] as f64)
    }),
    counter("io_sync_ops_total", "Syncs to disk", |of| Some(of.disk[2] as f64)),
    counter("io_sync_time_seconds_total", "Time spent in syncs", |of| {
        Some(of.sync_time.as_secs_f64())
    }),
    counter("io_read_ops_total", "Not counted", |_| Some(0.0)),
    counter("io_read_bytes_total", "Not counted", |_| Some(0.0)),
    counter("io_read_time_seconds_total", "Not counted", |_| Some(0.0)),
    counter("io_write_time_seconds_total", "Not counted", |_| Some(0.0)),
    counter("io_seek_ops_total", "Not counted", |_| Some(0.0)),
    counter("io_seek_time_seconds_total", "Not counted", |_| Some(0.0)),
    counter("io_reopen_ops_total", "Not counted", |_| Some(0.0)),
    counter("msg_store_read_total", "Not counted", |_| Some(0.0)),
    counter("msg_store_write_total", "Not counted", |_| Some(0.0)),
];

/// The groups of families.
pub(super) const GROUPS: [&str; 4] = [
    "connection_churn_metrics",
    "node_coarse_metrics",
    "node_metrics",
    "node_persister_metrics",
];

/// The groups that are asked for.
pub(super) fn groups(prefix: &str, asks: impl Fn(&str) -> bool, machine: &Machine, text: &mut Text<'_>) {
    let families: [&[Family<Machine>]; GROUPS.len()] = [&CHURN, &COARSE, &LIMITS, &DISK];
    for (_, families) in GROUPS.iter().zip(families).filter(|(group, _)| asks(group)) {
        objects::each(prefix, families, std::slice::from_ref(machine), text);
    }
}

/// Alarms, and when all began.
pub(super) fn alarms(node: &Node, text: &mut Text<'_>) {
    for (name, help, value) in [
        (
            "rabbitmq_alarms_memory_used_watermark",
            "1 while publishers are stopped because memory is short",
            node.memory.alarm().into(),
        ),
        (
            "rabbitmq_alarms_free_disk_space_watermark",
            "1 while publishers are stopped because disk space is short",
            node.disk.alarm().into(),
        ),
        (
            "rabbitmq_alarms_file_descriptor_limit",
            "1 while connections are refused for want of file descriptors",
            node.descriptors.alarm().into(),
        ),
        (
            "rabbitmq_unreachable_cluster_peers_count",
            "Nodes that this one can't reach: there are no others",
            0,
        ),
        (
            "process_start_time_seconds",
            "Time of the start, seconds since 1970",
            (SystemTime::now() - node.started.elapsed())
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        ),
    ] {
        text.gauge(name, help, value);
    }
}

/// Leveret's own.
pub(super) fn own(node: &Node, text: &mut Text<'_>) {
    text.family(
        "leveret_connections_refused_total",
        Kind::Counter,
        "Connections closed as soon as they were accepted",
    );
    text.sample(&[("reason", "descriptors")], node.descriptors.refused());
    for (name, help, value) in [
        (
            "leveret_connection_descriptors",
            "Connections of all protocols, each with its file descriptor",
            node.descriptors.taken(),
        ),
        (
            "leveret_connection_descriptors_limit",
            "Most of them",
            node.descriptors.seats(),
        ),
        (
            "leveret_messages_memory_bytes",
            "Memory of messages",
            node.memory.resident(),
        ),
    ] {
        text.gauge(name, help, value);
    }
}
