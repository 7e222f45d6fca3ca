//! `/api/nodes`: the one node that there is: memory, disk, files, what it knows; `/api/reset`.
//!
//! Comes in: the node and what the kernel says of this process. Goes out: RabbitMQ's node object.

use super::error::{Failure, Result};
use super::http::{Parameters, aside};
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::overview::{contexts, exchange_types};
use super::page::Query;
use super::state::Admin;
use super::stats::counted;
use crate::limits::Quota;
use crate::metrics::history::Of;
use crate::metrics::machine::{NET_TICK_SECONDS, PROCESSES};
use crate::metrics::rates::{self, CHURN, DISK, Name, NodeRates, USAGE};
use crate::metrics::usage::Usage;
use crate::node::Node;
use crate::product::{CRYPTO_VERSION, ERLANG_VERSION, RABBITMQ_VERSION};
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};

/// Counters of RabbitMQ's that are always 0 in a node of it, and here.
const UNCOUNTED: [Name; 12] = [
    ("io_read_count", "io_read_count_details"),
    ("io_read_bytes", "io_read_bytes_details"),
    ("io_read_avg_time", "io_read_avg_time_details"),
    ("io_write_avg_time", "io_write_avg_time_details"),
    ("io_seek_count", "io_seek_count_details"),
    ("io_seek_avg_time", "io_seek_avg_time_details"),
    ("io_reopen_count", "io_reopen_count_details"),
    ("msg_store_read_count", "msg_store_read_count_details"),
    ("msg_store_write_count", "msg_store_write_count_details"),
    ("queue_index_read_count", "queue_index_read_count_details"),
    ("queue_index_write_count", "queue_index_write_count_details"),
    ("context_switches", "context_switches_details"),
];

/// Nodes.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/nodes", get(list))
        .route("/api/nodes/{name}", get(one))
        .route("/api/reset", delete(reset))
        .route("/api/reset/{node}", delete(reset_node))
}

async fn list(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    aside(admin.clone(), move |out| {
        let row = vec![admin.node.name.clone()];
        query.list(
            out,
            row,
            |name| name.into(),
            |_, o| {
                query.charts(&admin.rates, &Of::Broker, o);
                describe(&admin, o);
            },
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    is_this(&admin, &name)?;
    aside(admin.clone(), move |out| {
        json::put_object(out, query.columns(), |o| {
            query.charts(&admin.rates, &Of::Broker, o);
            describe(&admin, o);
        });
        Ok(())
    })
    .await
}

/// Forgets what was sampled, as RabbitMQ's statistics database does. Counters are not its own: they stay.
async fn reset(Login { admin, .. }: Login) -> StatusCode {
    admin.rates.reset();
    StatusCode::NO_CONTENT
}

async fn reset_node(login: Login, Path(node): Path<String>) -> Result<StatusCode> {
    is_this(&login.admin, &node)?;
    Ok(reset(login).await)
}

/// # Errors
/// 404 if the node of a URL is another one.
pub fn is_this(admin: &Admin, name: &str) -> Result<()> {
    if name == admin.node.name {
        Ok(())
    } else {
        Err(Failure::NotFound)
    }
}

fn describe(admin: &Admin, o: &mut Object<'_>) {
    let node = &admin.node;
    let (usage, rates) = (Usage::now(&admin.data_dir), admin.rates.node());
    o.text("name", &node.name);
    o.text("type", "disc");
    o.bool("running", true);
    o.bool("being_drained", node.connections.is_draining());
    o.text("os_pid", &std::process::id().to_string());
    o.number("uptime", node.started.elapsed().as_millis() as u64);
    o.number("processors", processors());
    // There are no Erlang processes, so threads are counted; tools insist on the fields.
    o.number("run_queue", 0);
    o.number("proc_total", PROCESSES);
    o.number("fd_total", usage.fd_limit);
    o.number("sockets_total", node.descriptors.seats());
    counted(&USAGE, rates::usage(node, &usage), rates.usage, o);
    counted(&CHURN, rates::churn(node), rates.churn, o);
    disk(node, &rates, o);
    o.bool("file_descriptor_alarm", node.descriptors.alarm());
    o.number("mem_limit", node.memory.watermark());
    o.bool("mem_alarm", node.memory.alarm());
    o.text("mem_calculation_strategy", "messages");
    o.number("disk_free_limit", node.disk.limit());
    o.bool("disk_free_alarm", node.disk.alarm());
    o.object("limits", |o| limits(node, o));
    o.text("rates_mode", "basic");
    o.text("rabbitmq_version", RABBITMQ_VERSION);
    o.text("erlang_version", ERLANG_VERSION);
    o.text("erlang_full_version", ERLANG_VERSION);
    o.text("crypto_lib_version", CRYPTO_VERSION);
    o.number("net_ticktime", NET_TICK_SECONDS);
    o.array("enabled_plugins", |list| {
        ["rabbitmq_management", "rabbitmq_event_exchange", "rabbitmq_prometheus"]
            .iter()
            .for_each(|plugin| list.text(plugin));
    });
    o.array("applications", |list| {
        list.object(|o| {
            o.text("name", "rabbit");
            o.text(
                "description",
                "The RabbitMQ version that this broker is compatible with",
            );
            o.text("version", RABBITMQ_VERSION);
        });
    });
    o.array("exchange_types", exchange_types);
    o.array("auth_mechanisms", |list| {
        for (name, description) in [
            ("PLAIN", "SASL PLAIN authentication mechanism"),
            ("AMQPLAIN", "AMQPLAIN authentication mechanism"),
        ] {
            list.object(|o| {
                o.text("name", name);
                o.text("description", description);
                o.bool("enabled", true);
            });
        }
    });
    contexts(admin, o);
    o.array("partitions", |_| ());
    o.array("cluster_links", |_| ());
    o.text("db_dir", &admin.data_dir.display().to_string());
    o.array("config_files", |_| ());
    o.array("log_files", |list| list.text("<stdout>"));
}

/// The disk as the log uses it: batches, bytes and syncs. What RabbitMQ counts beside these is 0 there since 4.0.
fn disk(node: &Node, rates: &NodeRates, o: &mut Object<'_>) {
    counted(&DISK, rates::disk(node), rates.disk, o);
    let stats = node.log.stats();
    let millis = stats.sync_time.as_secs_f64() * 1000.0 / stats.syncs.max(1) as f64;
    o.float("io_sync_avg_time", millis);
    o.object("io_sync_avg_time_details", |o| o.float("rate", 0.0));
    for (name, details) in UNCOUNTED {
        o.counted(name, details, 0, 0.0);
    }
}

/// The limits of numbers and sizes beside their use: a field of Leveret's.
fn limits(node: &Node, o: &mut Object<'_>) {
    for quota in Quota::ALL {
        o.object(quota.setting(), |o| {
            if let Some(used) = quota.is_of_broker().then(|| node.quotas.used(quota)) {
                o.number("used", used);
            }
            match node.quotas.most(quota) {
                Some(most) => o.number("limit", most),
                None => o.text("limit", "infinity"),
            }
        });
    }
    for (name, bytes) in [
        ("max_message_size", node.max_message_bytes()),
        ("max_header_size", node.max_header_bytes()),
    ] {
        o.object(name, |o| o.number("limit", bytes));
    }
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}
