//! Messages over HTTP, for people and tests: publish one, look at some.
//!
//! Comes in: requests. Goes out: a message on the same way as a channel's (checked, routed, logged, enqueued), answered
//! when it is durable; messages of a queue, put back or taken as asked.

use super::body::{Fields, short};
use super::error::{Failure, Result};
use super::http::{aside, blocking, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::names::{self, from_url};
use crate::access::Actor;
use crate::error::Error;
use crate::limits::held::{Held, Holding};
use crate::message::Message;
use crate::node::Node;
use crate::outbox::Work;
use crate::pieces::Pieces;
use crate::publish::check::check;
use crate::publish::stage::Stage;
use crate::publish::trace::{self, Party};
use crate::queue::{Outcome, Queue};
use crate::sizes::Untold;
use crate::vhost::Vhost;
use crate::vhost::route::{NoRoute, Route};
use crate::vhost::routes::RouteCache;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use leveret_amqp::{BasicProperties, ReplyCode, ShortString};
use leveret_store::Lsn;
use serde_json::Value;
use std::sync::Arc;

/// Publish and get.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/exchanges/{vhost}/{name}/publish", post(publish))
        .route("/api/queues/{vhost}/{name}/get", post(take))
}

async fn publish(
    Login { admin, actor }: Login,
    Path((vhost, exchange)): Path<(String, String)>,
    body: Input,
) -> Result<Response> {
    let vhost = admin.vhost_of_change(&vhost)?;
    admin.check_enters(&vhost)?;
    let fields = Fields::parse(&body)?;
    fields.require(&["routing_key", "payload", "payload_encoding"])?;
    let message = message(&short(from_url(&exchange))?, &fields)?;
    let (len, most) = (message.body_len(), admin.node.max_message_bytes());
    if len as u64 > most {
        let text = format!("message size {len} is larger than configured max size {most}");
        return Err(Failure::BadRequest(text));
    }
    if let Some(reason) = admin.node.alarms.reason() {
        return Err(Failure::Blocked(reason));
    }
    let checked = check(&actor, &message, admin.node.max_header_bytes());
    let message = checked.map_err(with_code)?.unwrap_or(message);
    let mut routes = RouteCache::default();
    let route = routes
        .route(&vhost, Some(&actor), &message)
        .map_err(|reason| match reason {
            NoRoute::Missing => Failure::Missing("exchange_not_found".into()),
            NoRoute::Internal => Failure::BadRequest(format!(
                "403 ACCESS_REFUSED - cannot publish to internal exchange '{exchange}' in vhost '{}'",
                vhost.name
            )),
            NoRoute::Refused(error) => with_code(*error),
        })?;
    let routed = !route.queues.is_empty();
    for published in [&admin.node.totals.published, &vhost.published] {
        published.count(1, 1);
        published.confirm(1);
        if !routed {
            // Like a mandatory message: the client is told that it led nowhere.
            published.unroutable(true);
        }
    }
    let mut size = Untold::default();
    size.note(len.into());
    size.tell(&admin.node.totals.sizes);
    let mut work = Work::default();
    if vhost.is_traced() {
        trace::published(&vhost, party(&admin.node, &actor), &message, &route, &mut work);
    }
    let lsn = send(&vhost, route, message, work)?;
    admin.node.wait_durable(lsn).await;
    Ok(ok(json::object(None, |o| o.bool("routed", routed))))
}

/// Hands a message to its queues. Gives the position of the log that it waits for.
fn send(vhost: &Vhost, route: Route, message: Message, mut work: Work) -> Result<Option<Lsn>> {
    let mut stage = Stage::default();
    if !route.queues.is_empty() {
        stage.push(0, route, message, Some(1));
    }
    let flushed = stage.flush(vhost.log(), &mut work);
    work.finish(vhost.log())?;
    if stage.refused_any(0) {
        let text = "rejected Unable to publish message. Check queue limits.";
        return Err(Failure::BadRequest(text.into()));
    }
    Ok(flushed?)
}

/// The client of a message that came by HTTP: it has neither connection nor channel.
fn party<'a>(node: &'a Node, actor: &'a Actor) -> Party<'a> {
    Party {
        node: &node.name,
        connection: "HTTP",
        channel: 0,
        user: &actor.user,
    }
}

fn message(exchange: &ShortString, fields: &Fields) -> Result<Message> {
    let payload = fields.text("payload")?.unwrap_or_default();
    let payload = match fields.text("payload_encoding")? {
        Some("string") => payload.as_bytes().to_vec(),
        Some("base64") => {
            let wrong = |error| Failure::BadRequest(format!("payload is not base64: {error}"));
            STANDARD.decode(payload).map_err(wrong)?
        }
        other => {
            let text = format!("payload_encoding: {other:?}; known are string and base64");
            return Err(Failure::BadRequest(text));
        }
    };
    let properties = match fields.get("properties") {
        None => BasicProperties::default(),
        Some(Value::Array(none)) if none.is_empty() => BasicProperties::default(),
        Some(Value::Object(properties)) => read_properties(&Fields::new(properties.clone()))?,
        Some(other) => return Err(Failure::BadRequest(format!("properties: not_object: {other}"))),
    };
    let routing_key = fields.short("routing_key")?.unwrap_or_default();
    Ok(Message::new(
        exchange.as_bytes(),
        routing_key.as_bytes(),
        &properties.to_bytes(),
        &payload,
    ))
}

fn read_properties(fields: &Fields) -> Result<BasicProperties> {
    let octet = |name: &str| match fields.number(name)? {
        None => Ok(None),
        Some(number) => match u8::try_from(number) {
            Ok(octet) => Ok(Some(octet)),
            Err(_) => Err(Failure::BadRequest(format!("{name}: {number} is larger than 255"))),
        },
    };
    let headers = fields.get("headers").map(|_| fields.table("headers")).transpose()?;
    Ok(BasicProperties {
        content_type: fields.short("content_type")?,
        content_encoding: fields.short("content_encoding")?,
        headers,
        delivery_mode: octet("delivery_mode")?,
        priority: octet("priority")?,
        correlation_id: fields.short("correlation_id")?,
        reply_to: fields.short("reply_to")?,
        expiration: fields.short("expiration")?,
        message_id: fields.short("message_id")?,
        timestamp: fields.number("timestamp")?,
        kind: fields.short("type")?,
        user_id: fields.short("user_id")?,
        app_id: fields.short("app_id")?,
        cluster_id: fields.short("cluster_id")?,
    })
}

/// An error of a message, which RabbitMQ answers as its own client is told of it.
fn with_code(error: Error) -> Failure {
    let code = error.reply_code();
    let text = format!("{} {} - {error}", code.number(), code.name());
    match code {
        ReplyCode::InternalError => Failure::Internal(text),
        _ => Failure::BadRequest(text),
    }
}

/// Memory of a message that was fetched, beside its body and properties, bytes.
const FETCHED: usize = 256;
/// Bytes of messages that are fetched at a time, until there are no more: that of the last comes on top.
const MOST_FETCHED: usize = 20_000_000;

/// The end of a message that was looked at.
#[derive(Clone, Copy)]
struct After(Outcome);

impl After {
    fn parse(mode: &str) -> Result<Self> {
        match mode {
            "ack_requeue_true" => Ok(Self(Outcome::Requeued)),
            "reject_requeue_true" => Ok(Self(Outcome::Failed)),
            "ack_requeue_false" => Ok(Self(Outcome::Acked)),
            "reject_requeue_false" => Ok(Self(Outcome::Rejected)),
            other => Err(Failure::BadRequest(format!(
                "Invalid ackmode value: {other}. Valid values are: ack_requeue_true, ack_requeue_false, \
                 reject_requeue_true, reject_requeue_false"
            ))),
        }
    }
}

/// A message that was fetched.
struct Fetched {
    message: Message,
    redelivered: bool,
    remaining: usize,
}

async fn take(
    Login { admin, actor }: Login,
    Path((vhost, name)): Path<(String, String)>,
    body: Input,
) -> Result<Response> {
    let vhost = admin.vhost_of_change(&vhost)?;
    // RabbitMQ's words, which differ from those about a queue of any other URL.
    names::queue(&vhost, &name).map_err(|_| Failure::Missing("queue_not_found".into()))?;
    admin.check_enters(&vhost)?;
    let queue = vhost.queue_to_get_from(&short(&name)?, &actor);
    let queue = queue.map_err(|error| match error.reply_code() {
        // Unlike those of a message that is published.
        code @ ReplyCode::AccessRefused => Failure::Refused(format!("{} - {error}", code.name())),
        _ => with_code(error),
    })?;
    let fields = Fields::parse(&body)?;
    fields.require(&["ackmode", "count", "encoding"])?;
    let after = After::parse(fields.text("ackmode")?.unwrap_or_default())?;
    let base64 = match fields.text("encoding")? {
        Some("auto") => false,
        Some("base64") => true,
        other => {
            let text = format!("Unsupported encoding: {other:?}; known are auto and base64");
            return Err(Failure::BadRequest(text));
        }
    };
    let truncate = fields.number("truncate")?.map_or(usize::MAX, |bytes| bytes as usize);
    let count = fields.number("count")?.unwrap_or_default();
    let node = admin.node.clone();
    let (fetched, held) = blocking(move || {
        let mut held = node.memory.hold(Holding::Replies, 0);
        let mut work = Work::default();
        let fetched = fetch(&queue, count, after, &mut held, &mut work);
        if vhost.is_traced() {
            for one in &fetched {
                let delivery = (&one.message, one.redelivered);
                trace::delivered(&vhost, party(&node, &actor), queue.name(), delivery, &mut work);
            }
        }
        work.finish(vhost.log())?;
        Ok((fetched, held))
    })
    .await?;
    let write = move |out: &mut Pieces| {
        let _held = held;
        json::put_array(out, None, |list| {
            for one in &fetched {
                list.object(|o| describe(one, base64, truncate, o));
            }
        });
        Ok(())
    };
    aside(admin, write).await
}

/// Messages of a queue, at most `count` and about as many as fit a body.
fn fetch(queue: &Arc<Queue>, count: u64, after: After, held: &mut Held, work: &mut Work) -> Vec<Fetched> {
    let (mut fetched, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..count {
        let found = queue.get(false, work, |entry, remaining| {
            ids.push(entry.id);
            if let Some(message) = &entry.message {
                bytes += message.body_len() as usize + message.properties().len() + FETCHED;
                fetched.push(Fetched {
                    message: message.clone(),
                    redelivered: entry.redelivered,
                    remaining,
                });
            }
        });
        held.set(bytes as u64);
        if !found || bytes >= MOST_FETCHED {
            break;
        }
    }
    queue.settle(0, &ids, after.0, work);
    fetched
}

fn describe(one: &Fetched, base64: bool, truncate: usize, o: &mut Object<'_>) {
    let message = &one.message;
    let body = message.body();
    o.number("payload_bytes", body.len() as u64);
    o.bool("redelivered", one.redelivered);
    o.text("exchange", &String::from_utf8_lossy(message.exchange()));
    o.text("routing_key", &String::from_utf8_lossy(message.routing_key()));
    o.number("message_count", one.remaining as u64);
    let properties = BasicProperties::parse(message.properties()).unwrap_or_default();
    o.object("properties", |o| write_properties(&properties, o));
    let shown = body.get(..truncate).unwrap_or(body);
    match std::str::from_utf8(shown) {
        Ok(text) if !base64 => {
            o.text("payload", text);
            o.text("payload_encoding", "string");
        }
        _ => {
            o.text("payload", &STANDARD.encode(shown));
            o.text("payload_encoding", "base64");
        }
    }
}

fn write_properties(properties: &BasicProperties, o: &mut Object<'_>) {
    let texts = [
        ("content_type", &properties.content_type),
        ("content_encoding", &properties.content_encoding),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
        ("expiration", &properties.expiration),
        ("message_id", &properties.message_id),
        ("type", &properties.kind),
        ("user_id", &properties.user_id),
        ("app_id", &properties.app_id),
        ("cluster_id", &properties.cluster_id),
    ];
    let numbers = [
        ("delivery_mode", properties.delivery_mode.map(u64::from)),
        ("priority", properties.priority.map(u64::from)),
        ("timestamp", properties.timestamp),
    ];
    if let Some(headers) = &properties.headers {
        o.table("headers", headers);
    }
    for (name, value) in texts {
        if let Some(value) = value {
            o.name(name, value);
        }
    }
    for (name, value) in numbers {
        if let Some(value) = value {
            o.number(name, value);
        }
    }
}
