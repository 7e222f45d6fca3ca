//! `/api/consumers`: who consumes from what, by which channel of which connection.
//!
//! Comes in: the consumers of queues, copied under their locks. Goes out: RabbitMQ's consumer objects.

use super::error::Result;
use super::http::{Parameters, aside};
use super::json::Object;
use super::login::{Gate, Login};
use super::page::Query;
use super::state::Admin;
use crate::queue::Queue;
use crate::queue::consumers::{ChannelId, Standing};
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;
use leveret_amqp::{RawTable, ShortString};
use std::sync::Arc;

/// Consumers.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/consumers", get(list_all))
        .route("/api/consumers/{vhost}", get(list_vhost))
}

async fn list_all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, None, Query::without_pages(&parameters)?).await
}

async fn list_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, Some(vhost), Query::without_pages(&parameters)?).await
}

async fn list(admin: Arc<Admin>, vhost: Option<String>, query: Query) -> Result<Response> {
    let vhosts = admin.vhosts(vhost.as_deref())?;
    aside(admin.clone(), move |out| {
        let mut rows = Vec::new();
        for vhost in vhosts {
            let mut queues = vhost.queues();
            queues.sort_by(|a, b| a.name().cmp(b.name()));
            queues.iter().for_each(|queue| rows.extend(of(&vhost.name, queue)));
        }
        query.list(
            out,
            rows,
            |row| row.tag.to_str_lossy(),
            |row, o| row.describe(&admin, o),
        )
    })
    .await
}

/// A consumer as it was when its queue was looked at.
pub struct Row {
    tag: ShortString,
    vhost: String,
    queue: ShortString,
    no_ack: bool,
    exclusive: bool,
    prefetch: u32,
    timeout: u64,
    arguments: RawTable,
    channel: ChannelId,
    standing: Standing,
    blocked: bool,
}

/// The consumers of a queue.
pub fn of(vhost: &str, queue: &Queue) -> Vec<Row> {
    let mut rows = Vec::new();
    queue.each_consumer(|consumer| {
        rows.push(Row {
            tag: consumer.tag.clone(),
            vhost: vhost.to_owned(),
            queue: queue.name().clone(),
            no_ack: consumer.terms.no_ack,
            exclusive: consumer.terms.exclusive,
            prefetch: consumer.terms.prefetch,
            timeout: consumer.timeout().unwrap_or_default(),
            arguments: consumer.terms.arguments.clone(),
            channel: consumer.channel,
            standing: consumer.standing(),
            blocked: consumer.is_blocked(),
        });
    });
    rows
}

impl Row {
    /// True if it belongs to this channel.
    pub fn is_of(&self, channel: ChannelId) -> bool {
        self.channel == channel
    }

    /// As RabbitMQ shows it.
    pub fn describe(&self, admin: &Admin, o: &mut Object<'_>) {
        o.name("consumer_tag", &self.tag);
        o.object("queue", |o| {
            o.name("name", &self.queue);
            o.text("vhost", &self.vhost);
        });
        o.bool("ack_required", !self.no_ack);
        o.bool("active", self.standing != Standing::Waiting);
        o.text(
            "activity_status",
            match self.standing {
                Standing::Up if self.blocked => "blocked",
                Standing::Up => "up",
                Standing::SingleActive => "single_active",
                Standing::Waiting => "waiting",
            },
        );
        o.bool("exclusive", self.exclusive);
        o.number("prefetch_count", self.prefetch.into());
        // 0 is none: consumers may take as long as they like.
        o.number("consumer_timeout", self.timeout);
        o.table("arguments", &self.arguments.to_table());
        o.object("channel_details", |o| {
            let ChannelId { connection, number } = self.channel;
            if let Some(connection) = admin.node.connections.get(connection) {
                o.text("connection_name", &connection.name());
                o.text("name", &format!("{} ({number})", connection.name()));
                o.text("peer_host", &connection.client.peer.ip().to_string());
                o.number("peer_port", connection.client.peer.port().into());
                o.text("user", &connection.user);
            }
            o.text("node", &admin.node.name);
            o.number("number", number.into());
        });
    }
}
