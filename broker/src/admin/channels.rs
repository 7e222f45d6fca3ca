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
use crate::clients::{ChannelInfo, ConnectionInfo};
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
        let rows = rows(&admin, keep);
        query.list(out, rows, |row| name(row).into(), |row, o| describe(&admin, row, o))
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
        let row = rows(&admin, |connection| wanted.starts_with(&connection.name()));
        let row = row
            .into_iter()
            .find(|row| name(row) == wanted)
            .ok_or(Failure::NotFound)?;
        json::put_object(out, query.columns(), |o| {
            describe(&admin, &row, o);
            if o.wants("consumer_details") {
                consumer_details(&admin, &row, o);
            }
        });
        Ok(())
    })
    .await
}

fn rows(admin: &Admin, keep: impl Fn(&ConnectionInfo) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for connection in admin.node.connections.list() {
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
    let deliveries = &channel.deliveries;
    o.object("message_stats", |o| {
        o.number("publish", channel.published.load(Ordering::Relaxed));
        o.number("deliver_get", deliveries.delivered.load(Ordering::Relaxed));
        o.number("ack", deliveries.acknowledged.load(Ordering::Relaxed));
    });
}
