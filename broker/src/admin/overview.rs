//! `/api/overview`: what this broker is, and everything in sums.
//!
//! Comes in: the node's counters and a snapshot of each queue. Goes out: RabbitMQ's overview object.

use super::error::Result;
use super::http::{Parameters, aside, ok};
use super::json::{self, Object};
use super::login::{Gate, Login, empty};
use super::page::Query;
use super::state::Admin;
use super::stats::{delivery_stats, depth};
use crate::exchange;
use crate::metrics::rates::{self, QueueRates};
use crate::product::{ERLANG_VERSION, PRODUCT, RABBITMQ_VERSION, VERSION};
use crate::protocol::Listener;
use crate::queue::totals::Totals;
use axum::Router;
use axum::extract;
use axum::response::Response;
use axum::routing::get;
use std::sync::atomic::{AtomicU64, Ordering};

/// Overview and the cluster's name.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/overview", get(overview))
        .route("/api/cluster-name", get(cluster_name))
        .route("/api/extensions", get(empty))
}

async fn cluster_name(Login { admin, .. }: Login) -> Response {
    ok(json::object(None, |o| o.text("name", &admin.node.name)))
}

async fn overview(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    aside(admin.clone(), move |out| {
        json::put_object(out, query.columns(), |o| {
            about(&admin, o);
            sums(&admin, o);
            listeners(&admin, o);
        });
        Ok(())
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
    o.bool("is_op_policy_updating_enabled", true);
    o.bool("enable_queue_totals", false);
    o.number("statistics_db_event_queue", 0);
    o.text("node", node);
    contexts(admin, o);
}

/// The exchange types, for overview and nodes.
pub fn exchange_types(list: &mut json::Array<'_>) {
    for kind in exchange::TYPES {
        list.object(|o| {
            o.text("name", kind.name);
            o.text("description", kind.description);
            o.bool("enabled", true);
        });
    }
}

fn sums(admin: &Admin, o: &mut Object<'_>) {
    let node = &admin.node;
    let (all, rates) = (rates::sums(node).all(), admin.rates.sum());
    let (mut queues, mut exchanges) = (0, 0);
    for vhost in node.vhosts() {
        let topology = vhost.topology();
        queues += topology.queues.len();
        exchanges += topology.exchanges.len();
    }
    let connections = node.connections.list();
    let channels: usize = connections
        .iter()
        .map(|connection| connection.channels.lock().len())
        .sum();
    o.object("queue_totals", |o| depth(&all, &rates, o));
    o.object("object_totals", |o| {
        o.number("queues", queues as u64);
        o.number("exchanges", exchanges as u64);
        o.number("channels", channels as u64);
        o.number("consumers", all.consumers as u64);
        o.number("connections", connections.len() as u64);
    });
    o.object("message_stats", |o| message_stats(admin, &all.totals, &rates, o));
    churn(admin, o);
}

fn message_stats(admin: &Admin, totals: &Totals, rates: &QueueRates, o: &mut Object<'_>) {
    let (counts, node) = (&admin.node.totals, admin.rates.node());
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    o.counted("publish", "publish_details", load(&counts.published), node.publish);
    o.counted("confirm", "confirm_details", load(&counts.confirmed), node.confirm);
    o.counted(
        "return_unroutable",
        "return_unroutable_details",
        load(&counts.returned_unroutable),
        node.return_unroutable,
    );
    o.counted(
        "drop_unroutable",
        "drop_unroutable_details",
        load(&counts.dropped_unroutable),
        node.drop_unroutable,
    );
    delivery_stats(totals, rates, o);
}

fn churn(admin: &Admin, o: &mut Object<'_>) {
    const NAMES: [(&str, &str); 7] = [
        ("connection_created", "connection_created_details"),
        ("connection_closed", "connection_closed_details"),
        ("channel_created", "channel_created_details"),
        ("channel_closed", "channel_closed_details"),
        ("queue_declared", "queue_declared_details"),
        ("queue_created", "queue_created_details"),
        ("queue_deleted", "queue_deleted_details"),
    ];
    let (counts, rates) = (rates::churn(&admin.node), admin.rates.node().churn);
    o.object("churn_rates", |o| {
        for ((name, details), (count, rate)) in NAMES.into_iter().zip(counts.into_iter().zip(rates)) {
            o.counted(name, details, count, rate);
        }
    });
}

fn listeners(admin: &Admin, o: &mut Object<'_>) {
    o.array("listeners", |list| {
        for Listener { service, address } in &admin.listeners {
            list.object(|o| {
                o.text("node", &admin.node.name);
                o.text("protocol", service.shown_as());
                o.text("ip_address", &address.ip().to_string());
                o.number("port", address.port().into());
                o.array("socket_opts", |_| ());
                o.bool("tls", service.tls);
            });
        }
    });
}

/// Services for browsers and HTTP clients, for overview and nodes.
pub fn contexts(admin: &Admin, o: &mut Object<'_>) {
    o.array("contexts", |list| {
        for Listener { service, address } in &admin.listeners {
            let Some(description) = service.protocol.context() else {
                continue;
            };
            list.object(|o| {
                o.array("ssl_opts", |_| ());
                o.text("node", &admin.node.name);
                o.text("description", description);
                o.text("path", "/");
                o.text("ip", &address.ip().to_string());
                o.text("port", &address.port().to_string());
                if service.tls {
                    o.text("ssl", "true");
                }
            });
        }
    });
}
