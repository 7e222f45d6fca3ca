//! `/api/zeromq`: ZeroMQ's sockets, as they are declared and what became of them, and the keys of those with CURVE.
//!
//! Comes in: requests. Goes out: the sockets with their figures; a declaration is the parameter of the kind
//! `zeromq-socket`, and changed as that.

use super::body::Fields;
use super::error::{Failure, Result};
use super::http::{Parameters, aside, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::parameters;
use super::state::Admin;
use crate::metrics::rates::Name;
use crate::parameters::Key;
use crate::zeromq::socket::{self, COUNTS, Socket, Standing};
use crate::zeromq::spec::{COMPONENT, Mechanism, Target};
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{self, get};
use leveret_zmtp::curve::SecretKey;
use std::sync::Arc;

/// Sockets.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/zeromq/sockets", get(all))
        .route("/api/zeromq/sockets/{vhost}", get(of_vhost))
        .route("/api/zeromq/sockets/{vhost}/{name}", get(one).put(put).delete(remove))
        .route("/api/zeromq/keys/{vhost}/{name}", routing::put(put_key))
}

async fn all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, None, Query::parse(&parameters)?).await
}

async fn of_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, Some(vhost), Query::parse(&parameters)?).await
}

async fn list(admin: Arc<Admin>, vhost: Option<String>, query: Query) -> Result<Response> {
    let vhosts = admin.vhosts(vhost.as_deref())?;
    let mut sockets = admin.sockets.list();
    sockets.retain(|socket| vhosts.iter().any(|vhost| vhost.name == socket.name.vhost));
    aside(admin, move |out| {
        query.list(
            out,
            sockets,
            |socket| socket.name.name.as_str().into(),
            |socket, o| describe(socket, o),
        )
    })
    .await
}

/// The names of a socket's counters and of the objects with their rates, in their order.
const COUNTED: [Name; COUNTS] = [
    ("messages_in", "messages_in_details"),
    ("messages_out", "messages_out_details"),
    ("messages_dropped", "messages_dropped_details"),
    ("bytes_in", "bytes_in_details"),
    ("bytes_out", "bytes_out_details"),
];

/// Vhost and name.
type Place = Path<(String, String)>;

async fn one(Login { admin, .. }: Login, Path((vhost, name)): Place) -> Result<Response> {
    admin.vhost(&vhost)?;
    let socket = admin.sockets.get(&vhost, &name).ok_or(Failure::NotFound)?;
    Ok(ok(json::object(None, |o| describe(&socket, o))))
}

async fn put(Login { admin, actor }: Login, Path((vhost, name)): Place, body: Input) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    let value = Fields::parse(&body)?.into_value();
    parameters::check(COMPONENT, &name, &value)?;
    parameters::keep(&admin, &actor, Key::of(&vhost.name, COMPONENT, &name), &value).await
}

async fn remove(Login { admin, actor }: Login, Path((vhost, name)): Place) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    parameters::not_of_settings(&admin, &vhost.name, &name)?;
    parameters::forget(&admin, &actor, &Key::of(&vhost.name, COMPONENT, &name)).await
}

/// The secret key of a socket with CURVE, which may be declared later. It is never shown.
async fn put_key(Login { admin, .. }: Login, Path((vhost, name)): Place, body: Input) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    let fields = Fields::parse(&body)?;
    fields.require(&["secret_key"])?;
    let secret = fields.text("secret_key")?.and_then(SecretKey::from_z85);
    // What was given is not said again: it may be nearly right.
    let secret = secret.ok_or_else(|| Failure::BadRequest("secret_key is not a key: 40 characters in Z85".into()))?;
    let vhost = vhost.name.clone();
    let lsn = admin.sockets.keys.put(&socket::Name { vhost, name }, secret)?;
    admin.node.wait_durable(Some(lsn)).await;
    admin.sockets.look().await;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(socket: &Socket, o: &mut Object<'_>) {
    let spec = &socket.spec;
    o.text("name", &socket.name.name);
    o.text("vhost", &socket.name.vhost);
    o.text("type", spec.role.name());
    o.text("listen", &spec.listen.to_string());
    standing(socket, o);
    o.text("mechanism", spec.mechanism.name());
    if let Mechanism::Null { user, .. } = &spec.mechanism {
        o.text("user", user);
    }
    match &spec.target {
        Target::Queue(queue) => o.name("queue", queue),
        Target::Exchange(exchange, key) => {
            o.name("exchange", exchange);
            o.name("routing_key", key);
        }
    }
    o.bool("durable", spec.durable);
    o.number("peers", socket.peers() as u64);
    if let Some(key) = &socket.server_key {
        o.text("curve_server_key", &key.to_string());
    }
    let (counts, rates) = (socket.figures.counts(), socket.figures.rates());
    for ((name, details), (count, rate)) in COUNTED.into_iter().zip(counts.into_iter().zip(rates)) {
        o.counted(name, details, count, rate);
    }
    o.text("declared_by", socket.origin.name());
}

/// The address with the port that was chosen; where it isn't bound, the reason.
fn standing(socket: &Socket, o: &mut Object<'_>) {
    match socket.standing() {
        Standing::Running(addresses) => {
            match addresses.first() {
                Some(address) => o.text("address", &socket.spec.listen.at(address.port()).to_string()),
                None => o.null("address"),
            }
            o.text("state", "running");
            o.null("error");
        }
        Standing::Failed(why) => {
            o.null("address");
            o.text("state", "failed");
            o.text("error", &why);
        }
    }
}
