//! `/api/queues`: lists, one queue, declare, delete, purge.
//!
//! Comes in: requests. Goes out: RabbitMQ's queue objects; changes through `vhost`, answered when they are durable.

use super::bindings;
use super::body::{Fields, short};
use super::consumers;
use super::error::{Failure, Result};
use super::http::{Parameters, aside, is_true, with_status};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::names::queue as queue_named;
use super::page::Query;
use super::policies;
use super::state::Admin;
use super::stats::{delivery_stats, depth};
use super::time::date;
use crate::metrics::backlog::Backlog;
use crate::metrics::history::Of;
use crate::metrics::rates::QueueRates;
use crate::outbox::{Wakes, Work};
use crate::queue::Queue;
use crate::queue::arguments::{QueueType, Retry};
use crate::queue::consumers::{Standing, cancelled};
use crate::queue::totals::Snapshot;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use leveret_amqp::method::QueueDeclare;
use std::collections::HashSet;
use std::sync::Arc;

/// Queues.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/queues", get(list_all))
        .route("/api/queues/detailed", get(list_all))
        .route("/api/queues/{vhost}", get(list_vhost))
        .route("/api/queues/{vhost}/{name}", get(one).put(declare).delete(remove))
        .route("/api/queues/{vhost}/{name}/contents", delete(purge))
        .route("/api/queues/{vhost}/{name}/bindings", get(bindings_of))
        .route("/api/queues/{vhost}/{name}/actions", post(act))
        .route("/api/users/{user}/queues", get(list_user))
}

/// The field with the time of the first message.
const HEAD: &str = "head_message_timestamp";

/// A queue with its vhost.
type Row = (Arc<Vhost>, Arc<Queue>);

async fn list_all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, None, Query::parse(&parameters)?, |_| true).await
}

/// The queues of a user: of those that belong to a connection. Who declared the others isn't recorded.
async fn list_user(
    Login { admin, .. }: Login,
    Path(user): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let connections = admin.node.connections.list().into_iter();
    let owners: HashSet<u64> = connections.filter(|of| of.user == user).map(|of| of.id).collect();
    let belongs = move |queue: &Queue| queue.definition.owner.is_some_and(|owner| owners.contains(&owner));
    list(admin, None, Query::parse(&parameters)?, belongs).await
}

async fn list_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, Some(vhost), Query::parse(&parameters)?, |_| true).await
}

async fn list(
    admin: Arc<Admin>,
    vhost: Option<String>,
    query: Query,
    keep: impl Fn(&Queue) -> bool + Send + 'static,
) -> Result<Response> {
    let vhosts = admin.vhosts(vhost.as_deref())?;
    aside(admin.clone(), move |out| {
        let mut rows: Vec<Row> = Vec::new();
        for vhost in vhosts {
            let mut queues = vhost.queues();
            queues.retain(|queue| keep(queue));
            queues.sort_by(|a, b| a.name().cmp(b.name()));
            rows.extend(queues.into_iter().map(|queue| (vhost.clone(), queue)));
        }
        query.list(
            out,
            rows,
            |(_, queue)| queue.name().to_str_lossy(),
            |(vhost, queue), o| {
                query.charts_of_row(&admin.rates, &Of::Queue(queue.id), o);
                describe(&admin, vhost, queue, &query, o);
            },
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhost = admin.vhost(&vhost)?;
    let queue = queue_named(&vhost, &name)?;
    aside(admin.clone(), move |out| {
        json::put_object(out, query.columns(), |o| {
            query.charts(&admin.rates, &Of::Queue(queue.id), o);
            describe(&admin, &vhost, &queue, &query, o);
            if !query.disable_stats {
                // RabbitMQ fills these with the rates of each exchange and channel only where it is told to.
                o.array("incoming", |_| ());
                o.array("deliveries", |_| ());
            }
            if !query.disable_stats && o.wants("consumer_details") {
                consumer_details(&admin, &vhost, &queue, o);
            }
        });
        Ok(())
    })
    .await
}

async fn declare(
    Login { admin, actor }: Login,
    Path((vhost, name)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    admin.check_enters(&vhost)?;
    let fields = Fields::parse(&body)?;
    let declare = QueueDeclare {
        queue: short(&name)?,
        durable: fields.bool("durable")?,
        auto_delete: fields.bool("auto_delete")?,
        arguments: fields.table("arguments")?.into(),
        ..QueueDeclare::default()
    };
    let (_, change) = vhost.declare_queue(&declare, &actor)?;
    admin.node.wait_durable(change.lsn).await;
    Ok(if change.changed {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

async fn remove(
    Login { admin, actor }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    let (if_unused, if_empty) = (is_true(&parameters, "if-unused"), is_true(&parameters, "if-empty"));
    let queue = queue_named(&vhost, &name)?;
    admin.check_enters(&vhost)?;
    // Leveret's own condition: nobody has a message of it either.
    let deleted = match is_true(&parameters, "if-idle") {
        true => vhost.delete_idle_queue(queue.name(), if_unused, &actor)?,
        false => vhost.delete_queue(queue.name(), if_unused, if_empty, &actor)?,
    };
    cancelled(&deleted.consumers, &mut Wakes::default());
    admin.node.wait_durable(deleted.change.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn purge(Login { admin, actor }: Login, Path((vhost, name)): Path<(String, String)>) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    queue_named(&vhost, &name)?;
    admin.check_enters(&vhost)?;
    let queue = vhost.queue(&short(&name)?, &actor)?;
    let lsn = {
        let mut work = Work::default();
        queue.purge(&mut work);
        let lsn = work.append_now(vhost.log())?;
        work.finish(vhost.log())?;
        lsn
    };
    admin.node.wait_durable(lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

/// RabbitMQ has none any more of the actions that mirrored queues had.
async fn act(Login { admin, .. }: Login, Path((vhost, name)): Path<(String, String)>, body: Input) -> Result<Response> {
    queue_named(&*admin.vhost(&vhost)?, &name).map_err(|_| Failure::Missing("queue_not_found".into()))?;
    let fields = Fields::parse(&body)?;
    fields.require(&["action"])?;
    let body = json::object(None, |o| {
        o.text("error", "bad_request");
        o.json("reason", &format!("[\"unknown\",{}]", fields.json("action")));
    });
    Ok(with_status(StatusCode::BAD_REQUEST, body))
}

async fn bindings_of(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::without_pages(&parameters)?;
    let scope = bindings::Scope::to_queue(short(&name)?);
    bindings::list(&admin, Some(&vhost), query, scope).await
}

fn describe(admin: &Admin, vhost: &Vhost, queue: &Queue, query: &Query, o: &mut Object<'_>) {
    let definition = &queue.definition;
    o.name("name", &definition.name);
    o.text("vhost", &vhost.name);
    o.text("type", definition.arguments.values.queue_type().name());
    o.bool("durable", definition.durable);
    o.bool("auto_delete", definition.auto_delete);
    o.bool("exclusive", definition.owner.is_some());
    o.table("arguments", &definition.arguments.declared.to_table());
    o.text("node", &admin.node.name);
    o.text("state", "running");
    if definition.arguments.values.queue_type() == QueueType::Quorum {
        o.text("leader", &admin.node.name);
        for replicas in ["members", "online"] {
            o.array(replicas, |list| list.text(&admin.node.name));
        }
    }
    policies::of_object(queue.policies().as_deref(), o);
    if !query.disable_stats {
        o.bool("internal", false);
        o.bool("internal_owner", false);
        counters(queue, &admin.rates.queue(queue.id), o);
        redelivery(queue, o);
        owner(admin, queue, o);
    } else if query.queue_totals {
        let now = queue.snapshot();
        o.number("messages", now.messages() as u64);
        o.number("messages_ready", now.ready as u64);
        o.number("messages_unacknowledged", now.unacked as u64);
    }
}

/// The conduct towards messages that come back, where a queue has one.
fn redelivery(queue: &Queue, o: &mut Object<'_>) {
    let values = queue.values_now();
    if !values.tell_returns() {
        return;
    }
    o.number("messages_delayed", queue.snapshot().delayed as u64);
    let retry = values.retry().map_or("disabled".into(), |Retry { after, min, max }| {
        format!("{} (min: {min}ms, max: {max}ms)", after.name())
    });
    o.text("delayed_retry", &retry);
    match values.delivery_limit() {
        Some(limit) => o.number("delivery_limit", limit.into()),
        None => o.text("delivery_limit", "unlimited"),
    }
}

fn counters(queue: &Queue, rates: &QueueRates, o: &mut Object<'_>) {
    let now = queue.snapshot();
    depth(&now, rates, o);
    o.number("messages_persistent", now.persistent as u64);
    o.number("message_bytes", now.bytes());
    o.number("message_bytes_ready", now.ready_bytes);
    o.number("message_bytes_unacknowledged", now.unacked_bytes);
    o.number("message_bytes_persistent", now.persistent_bytes);
    o.number("memory", now.memory);
    o.number("consumers", now.consumers as u64);
    for name in ["consumer_utilisation", "consumer_capacity"] {
        match (now.consumers, rates.capacity) {
            (0, _) => o.number(name, 0),
            (_, capacity) => o.float(name, capacity.unwrap_or(1.0)),
        }
    }
    if o.wants(HEAD) {
        match queue.head_timestamp() {
            Some(seconds) => o.number(HEAD, seconds),
            None => o.null(HEAD),
        }
    }
    if let Some(at) = now.totals.last_active
        && o.wants("idle_since")
        && is_idle(&now, rates)
    {
        o.text("idle_since", &date(at.elapsed()));
    }
    if now.totals.last_active.is_some() && o.wants("message_stats") {
        o.object("message_stats", |o| {
            o.counted("publish", "publish_details", now.totals.published, rates.publish);
            delivery_stats(&now.totals, rates, o);
        });
    }
    backlog(&now, rates, o);
}

/// Nothing happened in the last sample (RabbitMQ shows `idle_since` then).
fn is_idle(now: &Snapshot, rates: &QueueRates) -> bool {
    let rates = QueueRates {
        capacity: None,
        ..*rates
    };
    rates == QueueRates::default() && now.totals.last_active.is_some_and(|at| at.elapsed().as_secs() > 0)
}

/// The trend of the backlog: a field of Leveret's.
fn backlog(now: &Snapshot, rates: &QueueRates, o: &mut Object<'_>) {
    let backlog = Backlog::new(now.messages(), now.consumers, rates);
    o.object("backlog", |o| {
        o.float("publish_rate", backlog.publish_rate);
        o.float("ack_rate", backlog.ack_rate);
        match backlog.drain_seconds {
            Some(seconds) => o.float("drain_seconds", seconds),
            None => o.null("drain_seconds"),
        }
        match backlog.consumers_for_steady {
            Some(consumers) => o.number("consumers_for_steady", consumers),
            None => o.null("consumers_for_steady"),
        }
    });
}

/// The connection that an exclusive queue belongs to, and the consumer that has the queue for itself, or for now.
fn owner(admin: &Admin, queue: &Queue, o: &mut Object<'_>) {
    if let Some(id) = queue.definition.owner
        && let Some(connection) = admin.node.connections.get(id)
    {
        o.object("owner_pid_details", |o| {
            o.text("name", &connection.name());
            o.text("peer_host", &connection.client.peer.ip().to_string());
            o.number("peer_port", connection.client.peer.port().into());
        });
    }
    let mut exclusive = None;
    let mut active = None;
    queue.each_consumer(|consumer| {
        exclusive = consumer.terms.exclusive.then(|| consumer.tag.clone());
        if consumer.standing() == Standing::SingleActive {
            active = Some(consumer.tag.clone());
        }
    });
    match exclusive {
        Some(tag) => o.name("exclusive_consumer_tag", &tag),
        None => o.null("exclusive_consumer_tag"),
    }
    match active {
        Some(tag) => o.name("single_active_consumer_tag", &tag),
        None => o.null("single_active_consumer_tag"),
    }
}

fn consumer_details(admin: &Admin, vhost: &Vhost, queue: &Queue, o: &mut Object<'_>) {
    let rows = consumers::of(&vhost.name, queue);
    o.array("consumer_details", |list| {
        rows.iter().for_each(|row| list.object(|o| row.describe(admin, o)));
    });
}
