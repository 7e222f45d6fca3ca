//! The HTTP API: RabbitMQ's management API under `/api`, metrics, and probes.
//!
//! Comes in: bound sockets and the node. Goes out: answers. One file per resource, each a router; this one puts them together,
//! checks credentials, and answers the probes while the broker starts.
//! Does not know about AMQP frames.

pub mod json;

pub mod error;

pub mod page;

pub mod rates;

pub mod overview;

pub mod queues;

pub mod exchanges;

pub mod bindings;

pub mod health;

use crate::auth;
use crate::node::Node;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use base64::Engine;
use error::{Failure, Result};
use rates::Rates;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

/// Largest body of a request, bytes (RabbitMQ's `management.http.max_body_size`).
const BODY_MAX_BYTES: usize = 20_000_000;

/// What all resources work with.
pub struct Admin {
    /// The broker.
    pub node: Arc<Node>,
    /// Where it listens: protocol and address.
    pub listeners: Vec<(&'static str, SocketAddr)>,
    /// How fast counters grow.
    pub rates: Arc<Rates>,
}

impl Admin {
    /// The API of a node that listens on these addresses.
    pub fn new(node: Arc<Node>, listeners: Vec<(&'static str, SocketAddr)>) -> Self {
        let rates = Arc::default();
        Self { node, listeners, rates }
    }

    /// A vhost of a URL.
    ///
    /// # Errors
    /// 404 if there is none.
    pub fn vhost(&self, name: &str) -> Result<Arc<Vhost>> {
        self.node.vhost(name).ok_or(Failure::NotFound)
    }

    /// The vhosts that a list is about, by name: the one of the URL, or all.
    ///
    /// # Errors
    /// 404 if the one of the URL doesn't exist.
    pub fn vhosts(&self, name: Option<&str>) -> Result<Vec<Arc<Vhost>>> {
        if let Some(name) = name {
            return self.vhost(name).map(|vhost| vec![vhost]);
        }
        let mut vhosts = self.node.vhosts();
        vhosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(vhosts)
    }
}

/// The door of the HTTP API: shut until the broker has recovered. The state of all routers.
#[derive(Clone, Default)]
pub struct Gate {
    admin: Arc<OnceLock<Arc<Admin>>>,
}

impl Gate {
    /// Opens it, once, and starts to sample rates.
    pub fn open(&self, admin: Admin) {
        tokio::spawn(admin.rates.clone().run(admin.node.clone()));
        let _ = self.admin.set(Arc::new(admin));
    }

    /// Serves one socket until the task is dropped.
    ///
    /// # Errors
    /// The socket can't be used.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
            // Answers are written in one piece; waiting to fill a packet would only delay them.
            let _ = stream.set_nodelay(true);
        });
        let app = router().with_state(self);
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    }
}

/// What a handler without login works with. Before the broker has recovered, the answer is 503.
pub struct Open(pub Arc<Admin>);

impl FromRequestParts<Gate> for Open {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, gate: &Gate) -> Result<Self> {
        let admin = gate.admin.get().cloned();
        admin
            .map(Self)
            .ok_or_else(|| Failure::Unavailable("the broker is starting".into()))
    }
}

/// What all other handlers work with: only for requests that know user and password (HTTP basic, RFC 7617).
pub struct Login(pub Arc<Admin>);

impl FromRequestParts<Gate> for Login {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self> {
        let Open(admin) = Open::from_request_parts(parts, gate).await?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        check(&admin, peer, &parts.headers)?;
        Ok(Self(admin))
    }
}

fn router() -> Router<Gate> {
    let api = Router::new()
        .merge(overview::router())
        .merge(queues::router())
        .merge(exchanges::router())
        .merge(bindings::router())
        .merge(health::router())
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES));
    Router::new()
        .merge(health::probes())
        .merge(api)
        .fallback(|| async { Failure::NotFound })
}

fn check(admin: &Admin, peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<()> {
    let header = headers.get(AUTHORIZATION).ok_or(Failure::NoCredentials)?;
    let (user, password) = credentials(header.as_bytes()).ok_or(Failure::NotAuthorized)?;
    auth::check(&user, &password).map_err(|reason| {
        tracing::info!(?peer, %reason, "HTTP login refused");
        Failure::NotAuthorized
    })?;
    let loopback = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if admin.node.limits.guest_loopback_only && !loopback {
        tracing::info!(
            ?peer,
            "HTTP login refused: user 'guest' can only log in from this machine"
        );
        return Err(Failure::NotAuthorized);
    }
    Ok(())
}

/// User and password of `Basic BASE64(user:password)`.
fn credentials(header: &[u8]) -> Option<(String, String)> {
    let (scheme, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(token.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// An answer with a JSON body.
pub fn ok(body: Vec<u8>) -> Response {
    with_status(StatusCode::OK, body)
}

/// An answer with a JSON body and another status than 200.
pub fn with_status(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Work that takes milliseconds (long lists), away from the threads that serve clients.
///
/// # Errors
/// Those of `work`; 500 if it was broken off.
pub async fn aside(work: impl FnOnce() -> Result<Vec<u8>> + Send + 'static) -> Result<Response> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Failure::Internal("the request was broken off".into()))?
        .map(ok)
}
