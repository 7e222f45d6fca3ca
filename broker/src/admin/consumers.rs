//! `/api/consumers`: who consumes from what, by which channel of which connection.
//!
//! Comes in: the consumers of queues, copied under their locks. Goes out: RabbitMQ's consumer objects.

use super::error::Result;
use super::json::Object;
use super::page::Query;
use super::{Admin, Gate, Login, Parameters, aside};
use crate::channel::deliver::Deliveries;
use crate::connection::registry::ConnectionInfo;
use crate::queue::Queue;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;
use leveret_amqp::{FieldTable, ShortString};
use std::collections::HashMap;
use std::sync::Arc;

/// Consumers.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/consumers", get(list_all))
        .route("/api/consumers/{vhost}", get(list_vhost))
}

async fn list_all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, None, Query::parse(&parameters)?).await
}

async fn list_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, Some(vhost), Query::parse(&parameters)?).await
}

async fn list(admin: Arc<Admin>, vhost: Option<String>, query: Query) -> Result<Response> {
    let vhosts = admin.vhosts(vhost.as_deref())?;
    aside(move || {
        let mut rows = Vec::new();
        for vhost in vhosts {
            let mut queues = vhost.queues();
            queues.sort_by(|a, b| a.name().cmp(b.name()));
            queues.iter().for_each(|queue| rows.extend(of(&vhost.name, queue)));
        }
        let places = Places::of(&admin);
        query.list(
            rows,
            |row| row.tag.to_str_lossy(),
            |row, o| row.describe(&admin, &places, o),
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
    arguments: FieldTable,
    deliveries: Arc<Deliveries>,
}

/// The consumers of a queue.
pub fn of(vhost: &str, queue: &Queue) -> Vec<Row> {
    let mut rows = Vec::new();
    queue.each_consumer(|consumer| {
        rows.push(Row {
            tag: consumer.tag.clone(),
            vhost: vhost.to_owned(),
            queue: queue.name().clone(),
            no_ack: consumer.no_ack,
            exclusive: consumer.exclusive,
            prefetch: consumer.prefetch,
            arguments: consumer.arguments.clone(),
            deliveries: consumer.deliveries.clone(),
        });
    });
    rows
}

impl Row {
    /// Whether it belongs to this channel.
    pub fn is_of(&self, deliveries: &Arc<Deliveries>) -> bool {
        Arc::ptr_eq(&self.deliveries, deliveries)
    }

    /// As RabbitMQ shows it.
    pub fn describe(&self, admin: &Admin, places: &Places, o: &mut Object<'_>) {
        o.name("consumer_tag", &self.tag);
        o.object("queue", |o| {
            o.name("name", &self.queue);
            o.text("vhost", &self.vhost);
        });
        o.bool("ack_required", !self.no_ack);
        o.bool("active", true);
        o.text("activity_status", "up");
        o.bool("exclusive", self.exclusive);
        o.number("prefetch_count", self.prefetch.into());
        // 0 is none: consumers may take as long as they like.
        o.number("consumer_timeout", 0);
        o.table("arguments", &self.arguments);
        o.object("channel_details", |o| {
            let number = self.deliveries.channel();
            if let Some(connection) = places.connection(&self.deliveries) {
                o.text("connection_name", &connection.name());
                o.text("name", &format!("{} ({number})", connection.name()));
                o.text("peer_host", &connection.peer.ip().to_string());
                o.number("peer_port", connection.peer.port().into());
                o.text("user", &connection.user);
            }
            o.text("node", &admin.node.name);
            o.number("number", number.into());
        });
    }
}

/// Which connection a channel's delivering side belongs to.
pub struct Places(HashMap<usize, Arc<ConnectionInfo>>);

impl Places {
    /// Of all channels that are open now.
    pub fn of(admin: &Admin) -> Self {
        let mut places = HashMap::new();
        for connection in admin.node.connections.list() {
            for channel in connection.channels.lock().values() {
                places.insert(key(&channel.deliveries), connection.clone());
            }
        }
        Self(places)
    }

    fn connection(&self, deliveries: &Arc<Deliveries>) -> Option<&ConnectionInfo> {
        self.0.get(&key(deliveries)).map(Arc::as_ref)
    }
}

fn key(deliveries: &Arc<Deliveries>) -> usize {
    Arc::as_ptr(deliveries).addr()
}
