//! `/api/queues`: lists, one queue, declare, delete, purge.
//!
//! Comes in: requests. Goes out: RabbitMQ's queue objects; changes through `vhost`, answered when they are durable.

use super::error::{Failure, Result};
use super::json::Object;
use super::page::Query;
use super::{Admin, Gate, Login, aside, json};
use crate::queue::Queue;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;
use std::collections::HashMap;
use std::sync::Arc;

/// Queues.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/queues", get(list_all))
        .route("/api/queues/{vhost}", get(list_vhost))
        .route("/api/queues/{vhost}/{name}", get(one))
}

type Parameters = extract::Query<HashMap<String, String>>;

/// A queue with its vhost.
type Row = (Arc<Vhost>, Arc<Queue>);

async fn list_all(Login(admin): Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, None, Query::parse(&parameters)?).await
}

async fn list_vhost(
    Login(admin): Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, Some(vhost), Query::parse(&parameters)?).await
}

async fn list(admin: Arc<Admin>, vhost: Option<String>, query: Query) -> Result<Response> {
    let vhosts = admin.vhosts(vhost.as_deref())?;
    aside(move || {
        let mut rows: Vec<Row> = Vec::new();
        for vhost in vhosts {
            let mut queues = vhost.queues();
            queues.sort_by(|a, b| a.name().cmp(b.name()));
            rows.extend(queues.into_iter().map(|queue| (vhost.clone(), queue)));
        }
        query.list(
            rows,
            |(_, queue)| queue.name().to_str_lossy(),
            |(vhost, queue), o| describe(&admin, vhost, queue, &query, o),
        )
    })
    .await
}

async fn one(
    Login(admin): Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhost = admin.vhost(&vhost)?;
    let queue = find(&vhost, &name)?;
    aside(move || {
        Ok(json::object(query.columns(), |o| {
            describe(&admin, &vhost, &queue, &query, o);
        }))
    })
    .await
}

/// The queue of a URL.
///
/// # Errors
/// 404 if there is none.
pub fn find(vhost: &Vhost, name: &str) -> Result<Arc<Queue>> {
    let topology = vhost.topology();
    topology.queues.get(name.as_bytes()).cloned().ok_or(Failure::NotFound)
}

fn describe(admin: &Admin, vhost: &Vhost, queue: &Queue, query: &Query, o: &mut Object<'_>) {
    let definition = &queue.definition;
    o.name("name", &definition.name);
    o.text("vhost", &vhost.name);
    o.text("type", "classic");
    o.bool("durable", definition.durable);
    o.bool("auto_delete", definition.auto_delete);
    o.bool("exclusive", definition.owner.is_some());
    o.table("arguments", &definition.arguments);
    o.text("node", &admin.node.name);
    o.text("state", "running");
    if !query.disable_stats {
        counters(queue, o);
    } else if query.queue_totals {
        let now = queue.snapshot();
        o.number("messages", (now.ready + now.unacked) as u64);
        o.number("messages_ready", now.ready as u64);
        o.number("messages_unacknowledged", now.unacked as u64);
    }
}

fn counters(queue: &Queue, o: &mut Object<'_>) {
    let now = queue.snapshot();
    let (ready, unacked) = (now.ready as u64, now.unacked as u64);
    o.counted("messages", "messages_details", ready + unacked, 0.0);
    o.counted("messages_ready", "messages_ready_details", ready, 0.0);
    o.counted(
        "messages_unacknowledged",
        "messages_unacknowledged_details",
        unacked,
        0.0,
    );
    o.number("message_bytes", now.ready_bytes + now.unacked_bytes);
    o.number("message_bytes_ready", now.ready_bytes);
    o.number("message_bytes_unacknowledged", now.unacked_bytes);
    o.number("consumers", now.consumers as u64);
    o.number("memory", now.memory);
}
