//! `/api/overview`: what this broker is, and everything in sums.
//!
//! Comes in: the node's counters and a snapshot of each queue. Goes out: RabbitMQ's overview object.

use super::error::Result;
use super::json::Object;
use super::page::Query;
use super::{Admin, Gate, Login, aside, json, ok};
use crate::queue::totals::Snapshot;
use axum::Router;
use axum::extract;
use axum::response::Response;
use axum::routing::get;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// The RabbitMQ version whose API this is: tools look at it to know what they may call.
pub const RABBITMQ_VERSION: &str = "4.3.6";
/// What stands where RabbitMQ names its Erlang: there is none here, but tools insist on the field.
const ERLANG_VERSION: &str = "none";
/// This broker's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// This broker's name.
pub const PRODUCT: &str = "Leveret";

/// Overview and the cluster's name.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/overview", get(overview))
        .route("/api/cluster-name", get(cluster_name))
        .route("/api/extensions", get(|_: Login| async { ok(b"[]".to_vec()) }))
}

async fn cluster_name(Login(admin): Login) -> Response {
    ok(json::object(None, |o| o.text("name", &admin.node.name)))
}

async fn overview(
    Login(admin): Login,
    extract::Query(parameters): extract::Query<HashMap<String, String>>,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    aside(move || {
        Ok(json::object(query.columns(), |o| {
            about(&admin, o);
            sums(&admin, o);
            listeners(&admin, o);
        }))
    })
    .await
}

fn about(admin: &Admin, o: &mut Object<'_>) {
    let node = &admin.node.name;
    o.text("management_version", RABBITMQ_VERSION);
    o.text("rates_mode", "basic");
    o.array("exchange_types", exchange_types);
    o.text("product_version", VERSION);
    o.text("product_name", PRODUCT);
    o.text("rabbitmq_version", RABBITMQ_VERSION);
    o.text("cluster_name", node);
    o.object("cluster_tags", |_| ());
    o.object("node_tags", |_| ());
    o.text("erlang_version", ERLANG_VERSION);
    o.text("erlang_full_version", ERLANG_VERSION);
    o.bool("disable_stats", false);
    o.text("default_queue_type", "classic");
    o.bool("is_op_policy_updating_enabled", false);
    o.bool("enable_queue_totals", false);
    o.number("statistics_db_event_queue", 0);
    o.text("node", node);
    o.array("contexts", |_| ());
}

/// The exchange types, for overview and nodes.
pub fn exchange_types(list: &mut json::Array<'_>) {
    for (name, description) in [
        ("direct", "AMQP direct exchange, as per the AMQP specification"),
        ("fanout", "AMQP fanout exchange, as per the AMQP specification"),
        ("headers", "AMQP headers exchange, as per the AMQP specification"),
        ("topic", "AMQP topic exchange, as per the AMQP specification"),
    ] {
        list.object(|o| {
            o.text("name", name);
            o.text("description", description);
            o.bool("enabled", true);
        });
    }
}

fn sums(admin: &Admin, o: &mut Object<'_>) {
    let mut all = Snapshot::default();
    let (mut queues, mut exchanges) = (0, 0);
    if o.wants("queue_totals") || o.wants("object_totals") {
        for vhost in admin.node.vhosts() {
            let list = vhost.queues();
            queues += list.len();
            exchanges += vhost.topology().exchanges.len();
            for queue in list {
                let one = queue.snapshot();
                all.ready += one.ready;
                all.unacked += one.unacked;
                all.consumers += one.consumers;
            }
        }
    }
    let connections = admin.node.connections.list();
    let channels: usize = connections
        .iter()
        .map(|connection| connection.channels.lock().len())
        .sum();
    o.object("queue_totals", |o| {
        let (ready, unacked) = (all.ready as u64, all.unacked as u64);
        o.counted("messages", "messages_details", ready + unacked, 0.0);
        o.counted("messages_ready", "messages_ready_details", ready, 0.0);
        o.counted(
            "messages_unacknowledged",
            "messages_unacknowledged_details",
            unacked,
            0.0,
        );
    });
    o.object("object_totals", |o| {
        o.number("queues", queues as u64);
        o.number("exchanges", exchanges as u64);
        o.number("channels", channels as u64);
        o.number("consumers", all.consumers as u64);
        o.number("connections", connections.len() as u64);
    });
    o.object("message_stats", |_| ());
    churn(admin, o);
}

fn churn(admin: &Admin, o: &mut Object<'_>) {
    let totals = &admin.node.totals;
    let counters = [
        ("connection_created", &totals.connections.0),
        ("connection_closed", &totals.connections.1),
        ("channel_created", &totals.channels.0),
        ("channel_closed", &totals.channels.1),
        ("queue_declared", &totals.queues.0),
        ("queue_created", &totals.queues.1),
        ("queue_deleted", &totals.queues.2),
    ];
    o.object("churn_rates", |o| {
        for (name, counter) in counters {
            o.number(name, counter.load(Ordering::Relaxed));
        }
    });
}

fn listeners(admin: &Admin, o: &mut Object<'_>) {
    o.array("listeners", |list| {
        for (protocol, address) in &admin.listeners {
            list.object(|o| {
                o.text("node", &admin.node.name);
                o.text("protocol", protocol);
                o.text("ip_address", &address.ip().to_string());
                o.number("port", address.port().into());
                o.array("socket_opts", |_| ());
                o.bool("tls", false);
            });
        }
    });
}
