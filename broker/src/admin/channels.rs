//! `/api/channels`: the channels of connections.
//!
//! Comes in: requests. Goes out: RabbitMQ's channel objects.

use super::consumers;
use super::error::{Failure, Result};
use super::http::{Parameters, aside};
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::state::Admin;
use super::stats::{counted, publish_stats};
use super::time::date;
use crate::clients::{ChannelInfo, ConnectionInfo};
use crate::metrics::history::Of;
use crate::metrics::rates::{self, DELIVERED, HANDED_OUT, INTERVAL};
use crate::queue::consumers::ChannelId;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Channels.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/channels", get(list_all))
        .route("/api/channels/{name}", get(one))
        .route("/api/vhosts/{vhost}/channels", get(list_vhost))
}

/// A channel with its connection.
type Row = (Arc<ConnectionInfo>, Arc<ChannelInfo>);

async fn list_all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, Query::parse(&parameters)?, |_| true).await
}

async fn list_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    admin.vhost(&vhost)?;
    list(admin, Query::parse(&parameters)?, move |connection| {
        connection.vhost == vhost
    })
    .await
}

/// Answers with the channels of those connections that `keep` says.
///
/// # Errors
/// 400 for a page that doesn't exist.
pub async fn list(
    admin: Arc<Admin>,
    query: Query,
    keep: impl Fn(&ConnectionInfo) -> bool + Send + 'static,
) -> Result<Response> {
    aside(admin.clone(), move |out| {
        let rows = rows(admin.connections(), keep);
        query.list(
            out,
            rows,
            |row| name(row).into(),
            |row, o| {
                query.charts_of_row(&admin.rates, &Of::Channel(row.0.id, row.1.number), o);
                describe(&admin, row, o);
            },
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path(wanted): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    aside(admin.clone(), move |out| {
        let connections = admin.node.connections.list();
        let rows = rows(connections, |connection| wanted.starts_with(&connection.name()));
        let row = rows.into_iter().find(|row| name(row) == wanted);
        let row = row.ok_or(Failure::NotFound)?;
        admin.check_owner(&row.0.user, false)?;
        json::put_object(out, query.columns(), |o| {
            query.charts(&admin.rates, &Of::Channel(row.0.id, row.1.number), o);
            describe(&admin, &row, o);
            // RabbitMQ fills these with the rates of each exchange and queue only where it is told to.
            o.array("publishes", |_| ());
            o.array("deliveries", |_| ());
            if o.wants("consumer_details") {
                consumer_details(&admin, &row, o);
            }
        });
        Ok(())
    })
    .await
}

fn rows(connections: Vec<Arc<ConnectionInfo>>, keep: impl Fn(&ConnectionInfo) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for connection in connections {
        if keep(&connection) {
            let channels: Vec<_> = connection.channels.lock().values().cloned().collect();
            rows.extend(channels.into_iter().map(|channel| (connection.clone(), channel)));
        }
    }
    rows
}

fn name((connection, channel): &Row) -> String {
    format!("{} ({})", connection.name(), channel.number)
}

fn consumer_details(admin: &Admin, (connection, channel): &Row, o: &mut Object<'_>) {
    let mut rows = Vec::new();
    if let Some(vhost) = admin.node.vhost(&connection.vhost) {
        for queue in vhost.queues() {
            rows.extend(consumers::of(&vhost.name, &queue));
        }
    }
    let channel = ChannelId {
        connection: connection.id,
        number: channel.number,
    };
    rows.retain(|row| row.is_of(channel));
    o.array("consumer_details", |list| {
        rows.iter().for_each(|row| list.object(|o| row.describe(admin, o)));
    });
}

fn describe(admin: &Admin, row: &Row, o: &mut Object<'_>) {
    let (connection, channel) = row;
    o.text("name", &name(row));
    o.number("number", channel.number.into());
    o.text("node", &admin.node.name);
    o.text("vhost", &connection.vhost);
    o.text("user", &connection.user);
    o.text("user_who_performed_action", &connection.user);
    o.text("state", channel.state(connection));
    o.bool("transactional", channel.transactional.load(Ordering::Relaxed));
    o.bool("confirm", channel.confirm.load(Ordering::Relaxed));
    o.number("prefetch_count", channel.prefetch.load(Ordering::Relaxed).into());
    o.number(
        "global_prefetch_count",
        channel.deliveries.prefetch.load(Ordering::Relaxed).into(),
    );
    o.number("consumer_count", channel.consumers.load(Ordering::Relaxed).into());
    o.number("messages_unacknowledged", channel.deliveries.unacked().into());
    o.number("messages_unconfirmed", channel.unconfirmed.load(Ordering::Relaxed));
    o.number(
        "messages_uncommitted",
        channel.uncommitted.publishes.load(Ordering::Relaxed),
    );
    o.number("acks_uncommitted", channel.uncommitted.acks.load(Ordering::Relaxed));
    o.object("connection_details", |o| {
        o.text("name", &connection.name());
        o.text("peer_host", &connection.client.peer.ip().to_string());
        o.number("peer_port", connection.client.peer.port().into());
    });
    figures(admin, connection, channel, o);
}

/// Messages that it has published and got. RabbitMQ leaves out what there was nothing of.
fn figures(admin: &Admin, connection: &ConnectionInfo, channel: &ChannelInfo, o: &mut Object<'_>) {
    let sampled = admin.rates.channel(connection.id, channel.number);
    // One that was never used is as old as its connection, roughly.
    let idle = match sampled {
        Some(sampled) => sampled.since.elapsed(),
        None => connection.connected_at.elapsed().unwrap_or_default(),
    };
    if idle > 2 * INTERVAL {
        o.text("idle_since", &date(idle));
    }
    // Of Erlang's, and of streams: clients of RabbitMQ's API know the fields.
    o.number("pending_raft_commands", 0);
    o.number("cached_segments", 0);
    let (published, delivered) = (rates::published_on(channel), rates::delivered_on(channel));
    let (mut published_rates, mut delivered_rates) = ([0.0; 4], [0.0; 7]);
    if let Some(sampled) = sampled {
        let to = published_rates.iter_mut().chain(&mut delivered_rates);
        to.zip(sampled.rates).for_each(|(to, rate)| *to = rate);
    }
    let (publishes, gets) = (published != [0; 4], delivered != [0; 7]);
    if !publishes && !gets {
        return;
    }
    o.object("message_stats", |o| {
        if publishes {
            publish_stats(published, published_rates, o);
        }
        if gets {
            counted(&DELIVERED, delivered, delivered_rates, o);
            let (all, rate) = (
                delivered.iter().take(HANDED_OUT).sum(),
                delivered_rates.iter().take(HANDED_OUT).sum(),
            );
            o.counted("deliver_get", "deliver_get_details", all, rate);
        }
    });
}
