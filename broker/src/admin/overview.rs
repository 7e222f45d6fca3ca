//! `/api/overview`: what this broker is, and everything in sums.
//!
//! Comes in: the node's counters and a snapshot of each queue. Goes out: RabbitMQ's overview object.

use super::body::Fields;
use super::error::Result;
use super::http::{Parameters, aside, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login, Open, empty};
use super::page::Query;
use super::state::Admin;
use super::stats::{counted, delivery_stats, depth, publish_stats};
use crate::exchange;
use crate::metrics::history::Of;
use crate::metrics::rates::{self, CHURN, VhostRates};
use crate::parameters::Key;
use crate::product::{CRYPTO_VERSION, ERLANG_VERSION, PRODUCT, RABBITMQ_VERSION, VERSION};
use crate::protocol::Listener;
use crate::queue::totals::Snapshot;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

/// Overview and the cluster's name.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/overview", get(overview))
        .route("/api/cluster-name", get(cluster_name).put(set_cluster_name))
        .route("/api/extensions", get(empty))
        .route("/api/version", get(version))
}

async fn cluster_name(Login { admin, .. }: Login) -> Response {
    ok(json::object(None, |o| o.text("name", &admin.node.cluster_name())))
}

async fn set_cluster_name(Login { admin, .. }: Login, body: Input) -> Result<StatusCode> {
    let fields = Fields::parse(&body)?;
    fields.require(&["name"])?;
    let name = fields.text("name")?.unwrap_or_default();
    let put = admin.node.parameters.set_cluster_name(name)?;
    admin.node.wait_durable(Some(put.lsn)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// RabbitMQ's version, as everywhere else.
async fn version(_: Open) -> Response {
    ok(format!("\"{RABBITMQ_VERSION}\"").into_bytes())
}

async fn overview(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhosts = admin.vhosts(None)?;
    aside(admin.clone(), move |out| {
        json::put_object(out, query.columns(), |o| {
            about(&admin, &query, o);
            match query.disable_stats {
                true => {
                    o.text("node", &admin.node.name);
                    o.object("object_totals", |o| objects(&admin, &vhosts, o));
                }
                false => {
                    if admin.sees_all() {
                        query.charts(&admin.rates, &Of::Broker, o);
                    }
                    sums(&admin, &vhosts, o);
                }
            }
            // Of nodes only who may see them is told.
            if admin.sees_all() && !query.disable_stats {
                o.text("node", &admin.node.name);
                listeners(&admin, o);
                contexts(&admin, o);
            }
        });
        Ok(())
    })
    .await
}

fn about(admin: &Admin, query: &Query, o: &mut Object<'_>) {
    o.text("management_version", RABBITMQ_VERSION);
    o.text("rates_mode", "basic");
    o.object("sample_retention_policies", retention);
    o.array("exchange_types", exchange_types);
    o.text("product_version", VERSION);
    o.text("product_name", PRODUCT);
    o.text("rabbitmq_version", RABBITMQ_VERSION);
    o.text("cluster_name", &admin.node.cluster_name());
    let tags = admin.node.parameters.get(&Key::global("cluster_tags"));
    match tags.filter(|tags| tags.starts_with('{')) {
        Some(tags) => o.json("cluster_tags", &tags),
        None => o.object("cluster_tags", |_| ()),
    }
    o.object("node_tags", |_| ());
    o.text("erlang_version", ERLANG_VERSION);
    o.text("erlang_full_version", ERLANG_VERSION);
    o.text("crypto_lib_version", CRYPTO_VERSION);
    o.bool("disable_stats", query.disable_stats);
    o.text("default_queue_type", "classic");
    o.bool("is_op_policy_updating_enabled", true);
    o.bool("enable_queue_totals", query.queue_totals);
    o.bool("require_definition_json_extension", false);
}

/// The times, in seconds, for which samples are kept: of the broker, of objects that somebody looks at.
fn retention(o: &mut Object<'_>) {
    const TEN_MINUTES: u64 = 600;
    o.array("global", |list| {
        for seconds in [TEN_MINUTES, 3600, 28_800, 86_400] {
            list.number(seconds);
        }
    });
    for kind in ["basic", "detailed"] {
        o.array(kind, |list| list.number(TEN_MINUTES));
    }
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

/// Figures of all vhosts that somebody sees, together.
struct Sums {
    queues: Snapshot,
    published: [u64; 4],
    rates: VhostRates,
}

impl Sums {
    /// Of the whole broker, with what vhosts that are gone had counted; of whoever doesn't see all, over their vhosts.
    fn of(admin: &Admin, vhosts: &[Arc<Vhost>]) -> Self {
        let node = &admin.node;
        if admin.sees_all() {
            let rates = VhostRates {
                published: admin.rates.node().published,
                queues: admin.rates.sum(),
                ..VhostRates::default()
            };
            return Self {
                queues: rates::sums(node).all(),
                published: rates::published(&node.totals.published),
                rates,
            };
        }
        let mut sums = Self {
            queues: Snapshot::default(),
            published: [0; 4],
            rates: VhostRates::default(),
        };
        for vhost in vhosts {
            sums.queues.add(&vhost.sums().all());
            let published = rates::published(&vhost.published);
            sums.published
                .iter_mut()
                .zip(published)
                .for_each(|(sum, of)| *sum += of);
            sums.rates.add(&admin.rates.vhost(&vhost.name));
        }
        sums
    }
}

fn sums(admin: &Admin, vhosts: &[Arc<Vhost>], o: &mut Object<'_>) {
    let sums = Sums::of(admin, vhosts);
    o.number("statistics_db_event_queue", 0);
    o.object("queue_totals", |o| depth(&sums.queues, &sums.rates.queues, o));
    o.object("object_totals", |o| {
        // RabbitMQ doesn't look up those of one user.
        if admin.sees_all() {
            o.number("consumers", sums.queues.consumers as u64);
        }
        objects(admin, vhosts, o);
    });
    o.object("message_stats", |o| message_stats(admin, &sums, o));
    churn(admin, o);
}

/// Numbers of what somebody sees.
fn objects(admin: &Admin, vhosts: &[Arc<Vhost>], o: &mut Object<'_>) {
    let (mut queues, mut exchanges) = (0, 0);
    for vhost in vhosts {
        let topology = vhost.topology();
        queues += topology.queues.len();
        exchanges += topology.exchanges.len();
    }
    let connections = admin.connections();
    let channels: usize = connections
        .iter()
        .map(|connection| connection.channels.lock().len())
        .sum();
    o.number("queues", queues as u64);
    o.number("exchanges", exchanges as u64);
    o.number("channels", channels as u64);
    o.number("connections", connections.len() as u64);
}

fn message_stats(admin: &Admin, sums: &Sums, o: &mut Object<'_>) {
    publish_stats(sums.published, sums.rates.published, o);
    delivery_stats(&sums.queues.totals, &sums.rates.queues, o);
    if !admin.sees_all() {
        return;
    }
    // Batches that were appended to the log, which many messages share; reads are not counted.
    let [appends, ..] = rates::disk(&admin.node);
    let [appended, ..] = admin.rates.node().disk;
    o.counted("disk_writes", "disk_writes_details", appends, appended);
    o.counted("disk_reads", "disk_reads_details", 0, 0.0);
}

fn churn(admin: &Admin, o: &mut Object<'_>) {
    let (counts, rates) = (rates::churn(&admin.node), admin.rates.node().churn);
    o.object("churn_rates", |o| counted(&CHURN, counts, rates, o));
}

fn listeners(admin: &Admin, o: &mut Object<'_>) {
    o.array("listeners", |list| {
        for Listener { service, address } in &admin.listeners() {
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
        for Listener { service, address } in &admin.listeners() {
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
