//! What the memory of the process is used for.
//!
//! Comes in: counted memory, and what the kernel says. Goes out: RabbitMQ's break-down, whose uses stand for those that
//! are counted here. What isn't counted is `other_system`.

use super::usage::Usage;
use crate::limits::Holding;
use crate::node::Node;

/// RabbitMQ's uses of memory, in its order, by their names in the API and in metrics: all of them, as tools insist on
/// them.
const USES: [(&str, &str); 26] = [
    ("connection_readers", "client_connection_reader"),
    ("connection_writers", "client_connection_writer"),
    ("connection_channels", "client_connection_channel"),
    ("connection_other", "client_connection_other"),
    ("queue_procs", "classic_queue_erlang_process"),
    ("stream_queue_procs", "stream_erlang_process"),
    (
        "stream_queue_replica_reader_procs",
        "stream_replica_reader_erlang_process",
    ),
    ("stream_queue_coordinator_procs", "stream_coordinator_erlang_process"),
    ("quorum_queue_procs", "quorum_queue_erlang_process"),
    ("quorum_queue_dlx_procs", "quorum_queue_dlx_erlang_process"),
    ("plugins", "plugin"),
    ("metadata_store", "modern_metadata_store"),
    ("other_proc", "other_erlang_process"),
    ("metrics", "metrics"),
    ("mgmt_db", "management_stats_db"),
    ("quorum_ets", "quorum_queue_ets_table"),
    ("mnesia", "classic_metadata_store"),
    ("metadata_store_ets", "modern_metadata_store_ets_table"),
    ("other_ets", "other_ets_table"),
    ("binary", "binary_heap"),
    ("msg_index", "message_index"),
    ("code", "code_module"),
    ("atom", "atom_table"),
    ("other_system", "other_system"),
    ("allocated_unused", "runtime_allocated_unused"),
    ("reserved_unallocated", "runtime_reserved_unallocated"),
];

/// A use of memory.
pub struct Use {
    /// Its name in the API.
    pub name: &'static str,
    /// Its name in metrics.
    pub metric: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// The memory of the process, by use.
pub struct Breakdown {
    /// Uses, in RabbitMQ's order.
    pub uses: Vec<Use>,
    /// All of it, bytes.
    pub total: u64,
}

impl Breakdown {
    /// The memory now.
    pub fn now(node: &Node, usage: &Usage) -> Self {
        let held = |what| node.memory.held(what);
        let counted = [
            (
                "connection_readers",
                held(Holding::Logins) + held(Holding::Bodies) + held(Holding::Tokens),
            ),
            ("connection_writers", held(Holding::Outboxes)),
            ("connection_channels", held(Holding::Routes)),
            // Messages: of all queues together, whatever their type.
            ("queue_procs", node.memory.resident()),
            ("metadata_store", held(Holding::Tables)),
            ("mgmt_db", held(Holding::Replies) + held(Holding::History)),
        ];
        let sum: u64 = counted.iter().map(|(_, bytes)| bytes).sum();
        let rest = ("other_system", usage.resident_bytes.saturating_sub(sum));
        let find = |name| counted.iter().chain([&rest]).find(|(of, _)| *of == name);
        let of = |(name, metric)| Use {
            name,
            metric,
            bytes: find(name).map_or(0, |(_, bytes)| *bytes),
        };
        Self {
            uses: USES.into_iter().map(of).collect(),
            total: usage.resident_bytes.max(sum),
        }
    }
}
