//! `/api/connections`: who is connected; close one.
//!
//! Comes in: requests. Goes out: RabbitMQ's connection objects; a close is passed on to the connection itself.

use super::channels;
use super::error::{Failure, Result};
use super::http::{Parameters, aside, ok};
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::state::Admin;
use super::stats::counted;
use super::time::{millis, second};
use crate::clients::ConnectionInfo;
use crate::listener::session::Session;
use crate::metrics::history::Of;
use crate::metrics::rates::{self, OCTETS};
use axum::Router;
use axum::extract::{self, Path};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use leveret_amqp::field::RawValue;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Connections.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/connections", get(list_all))
        .route("/api/connections/{name}", get(one).delete(close))
        .route("/api/connections/{name}/channels", get(channels_of))
        .route("/api/connections/{name}/sessions", get(sessions_of))
        .route("/api/connections/username/{user}", get(list_user).delete(close_user))
        .route("/api/vhosts/{vhost}/connections", get(list_vhost))
}

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

async fn list_user(
    Login { admin, .. }: Login,
    Path(user): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    admin.check_owner(&user, false)?;
    list(admin, Query::parse(&parameters)?, move |connection| {
        connection.user == user
    })
    .await
}

async fn list(
    admin: Arc<Admin>,
    query: Query,
    keep: impl Fn(&ConnectionInfo) -> bool + Send + 'static,
) -> Result<Response> {
    aside(admin.clone(), move |out| {
        let mut rows = admin.connections();
        rows.retain(|connection| keep(connection));
        query.list(
            out,
            rows,
            |connection| connection.name().into(),
            |connection, o| {
                query.charts_of_row(&admin.rates, &Of::Connection(connection.id), o);
                describe(&admin, connection, o);
            },
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let connection = find(&admin, &name, false)?;
    Ok(ok(json::object(query.columns(), |o| {
        query.charts(&admin.rates, &Of::Connection(connection.id), o);
        describe(&admin, &connection, o);
    })))
}

async fn channels_of(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let id = find(&admin, &name, false)?.id;
    channels::list(admin, Query::parse(&parameters)?, move |connection| connection.id == id).await
}

/// AMQP 1.0 has sessions; here no connection speaks it.
async fn sessions_of(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    find(&admin, &name, false)?;
    Err(Failure::BadRequest("connection does not use AMQP 1.0".into()))
}

/// Closes with 320; the header `X-Reason` says why.
async fn close(Login { admin, .. }: Login, Path(name): Path<String>, headers: HeaderMap) -> Result<StatusCode> {
    find(&admin, &name, true)?.close(&reason(&headers));
    Ok(StatusCode::NO_CONTENT)
}

async fn close_user(Login { admin, .. }: Login, Path(user): Path<String>, headers: HeaderMap) -> Result<StatusCode> {
    admin.check_owner(&user, true)?;
    let connections = admin.connections();
    for connection in connections.iter().filter(|connection| connection.user == user) {
        connection.close(&reason(&headers));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// RabbitMQ's default text for clients that are closed over HTTP.
fn reason(headers: &HeaderMap) -> String {
    let given = headers.get("x-reason").and_then(|reason| reason.to_str().ok());
    given.unwrap_or("Closed via management plugin").to_owned()
}

/// A connection by name, to show it or with `change` to close it.
fn find(admin: &Admin, name: &str, change: bool) -> Result<Arc<ConnectionInfo>> {
    let connections = admin.node.connections.list();
    let found = connections.into_iter().find(|connection| connection.name() == name);
    let found = found.ok_or(Failure::NotFound)?;
    admin.check_owner(&found.user, change)?;
    Ok(found)
}

/// The terms of TLS; RabbitMQ has the fields without it, too, with no text in them.
fn tls(session: Option<&Session>, o: &mut Object<'_>) {
    o.bool("ssl", session.is_some());
    let terms = session.map(|session| [session.protocol, session.key_exchange, session.cipher, session.hash]);
    let names = ["ssl_protocol", "ssl_key_exchange", "ssl_cipher", "ssl_hash"];
    for (at, name) in names.into_iter().enumerate() {
        match terms.as_ref().and_then(|terms| terms.get(at)) {
            Some(term) => o.text(name, term),
            None => o.null(name),
        }
    }
    let peer = session.and_then(|session| session.peer.as_ref());
    let texts = peer.map(|peer| {
        let validity = format!("{} - {}", second(peer.not_before), second(peer.not_after));
        [peer.subject.clone(), peer.issuer.clone(), validity]
    });
    let names = ["peer_cert_subject", "peer_cert_issuer", "peer_cert_validity"];
    for (at, name) in names.into_iter().enumerate() {
        match texts.as_ref().and_then(|texts| texts.get(at)) {
            Some(text) => o.text(name, text),
            None => o.null(name),
        }
    }
}

fn describe(admin: &Admin, connection: &ConnectionInfo, o: &mut Object<'_>) {
    let name = connection.name();
    o.text("name", &name);
    o.text("node", &admin.node.name);
    o.text("state", connection.state());
    o.text("type", "network");
    o.text("protocol", connection.protocol.name());
    o.text("vhost", &connection.vhost);
    o.text("user", &connection.user);
    o.text("user_who_performed_action", &connection.user);
    o.text("auth_mechanism", &connection.mechanism);
    o.number("connected_at", millis(connection.connected_at));
    o.text("host", &connection.client.local.ip().to_string());
    o.number("port", connection.client.local.port().into());
    o.text("peer_host", &connection.client.peer.ip().to_string());
    o.number("peer_port", connection.client.peer.port().into());
    tls(connection.client.tls.as_deref(), o);
    o.number("channels", connection.channels.lock().len() as u64);
    o.number("channel_max", connection.tuned.channel_max.into());
    o.number("frame_max", connection.tuned.frame_max.into());
    o.number("timeout", connection.tuned.heartbeat_seconds.into());
    o.table("client_properties", &connection.client_properties.to_table());
    if let Some(given) = connection
        .client_properties
        .find("connection_name")
        .and_then(RawValue::as_str)
    {
        o.text("user_provided_name", given);
    }
    counted(
        &OCTETS,
        rates::octets(connection),
        admin.rates.connection(connection.id),
        o,
    );
    let octets = &connection.octets;
    o.number("recv_cnt", octets.reads.load(Ordering::Relaxed));
    o.number("send_cnt", octets.writes.load(Ordering::Relaxed));
    o.number("send_pend", connection.pending() as u64);
}
