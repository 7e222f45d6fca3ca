//! `/api/nodes/NAME/memory`: what the memory of the process is used for.
//!
//! Comes in: counted memory, and what the kernel says. Goes out: RabbitMQ's break-down, whose uses stand for those that
//! are counted here. What isn't counted is `other_system`.

use super::error::Result;
use super::http::{Parameters, ok};
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::nodes::is_this;
use super::page::Query;
use crate::limits::Holding;
use crate::metrics::usage::Usage;
use crate::node::Node;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;

/// The break-down of memory.
pub fn router() -> Router<Gate> {
    let at = |path: &str| format!("/api/nodes/{{name}}/memory{path}");
    Router::new()
        .route(&at(""), get(absolute))
        .route(&at("/relative"), get(relative))
        .route(&at("/ets"), get(ets))
        .route(&at("/ets/{filter}"), get(ets_filtered))
        .route(&at("/ets/{filter}/relative"), get(ets_filtered))
}

/// RabbitMQ's uses of memory, in its order: all of them, as tools insist on them.
const USES: [&str; 26] = [
    "connection_readers",
    "connection_writers",
    "connection_channels",
    "connection_other",
    "queue_procs",
    "stream_queue_procs",
    "stream_queue_replica_reader_procs",
    "stream_queue_coordinator_procs",
    "quorum_queue_procs",
    "quorum_queue_dlx_procs",
    "plugins",
    "metadata_store",
    "other_proc",
    "metrics",
    "mgmt_db",
    "quorum_ets",
    "mnesia",
    "metadata_store_ets",
    "other_ets",
    "binary",
    "msg_index",
    "code",
    "atom",
    "other_system",
    "allocated_unused",
    "reserved_unallocated",
];

/// The memory of the process, by use.
pub struct Breakdown {
    /// Bytes by use, in RabbitMQ's order.
    pub uses: Vec<(&'static str, u64)>,
    /// All of it, bytes.
    pub total: u64,
}

impl Breakdown {
    /// The memory now.
    pub fn now(node: &Node, usage: &Usage) -> Self {
        let held = |what| node.memory.held(what);
        let counted = [
            ("connection_readers", held(Holding::Logins) + held(Holding::Bodies)),
            ("connection_writers", held(Holding::Outboxes)),
            ("connection_channels", held(Holding::Routes)),
            // Messages: of all queues together, whatever their type.
            ("queue_procs", node.memory.resident()),
            ("metadata_store", held(Holding::Tables)),
            ("mgmt_db", held(Holding::Replies)),
        ];
        let sum: u64 = counted.iter().map(|(_, bytes)| bytes).sum();
        let rest = ("other_system", usage.resident_bytes.saturating_sub(sum));
        let find = |name| counted.iter().chain([&rest]).find(|(of, _)| *of == name);
        let bytes = |name: &'static str| (name, find(name).map_or(0, |(_, bytes)| *bytes));
        Self {
            uses: USES.into_iter().map(bytes).collect(),
            total: usage.resident_bytes.max(sum),
        }
    }
}

async fn absolute(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    is_this(&admin, &name)?;
    let query = Query::parse(&parameters)?;
    let memory = Breakdown::now(&admin.node, &Usage::now(&admin.data_dir));
    Ok(ok(json::object(query.columns(), |o| {
        o.object("memory", |o| {
            memory.uses.iter().for_each(|(name, bytes)| o.number(name, *bytes));
            o.text("strategy", "rss");
            o.object("total", |o| {
                ["erlang", "rss", "allocated"]
                    .into_iter()
                    .for_each(|name| o.number(name, memory.total));
            });
        });
    })))
}

/// In per cent, rounded up.
async fn relative(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    is_this(&admin, &name)?;
    let memory = Breakdown::now(&admin.node, &Usage::now(&admin.data_dir));
    let part = |bytes: u64| (bytes * 100).div_ceil(memory.total.max(1));
    Ok(ok(json::object(None, |o| {
        o.object("memory", |o| {
            o.number("total", 100);
            memory
                .uses
                .iter()
                .for_each(|(name, bytes)| o.number(name, part(*bytes)));
        });
    })))
}

/// There are no tables of Erlang's: RabbitMQ's answer about some that don't exist.
fn no_tables(o: &mut Object<'_>) {
    o.text("ets_tables_memory", "no_tables");
}

async fn ets(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    is_this(&admin, &name)?;
    Ok(ok(json::object(None, no_tables)))
}

async fn ets_filtered(Login { admin, .. }: Login, Path((name, _)): Path<(String, String)>) -> Result<Response> {
    is_this(&admin, &name)?;
    Ok(ok(json::object(None, no_tables)))
}
