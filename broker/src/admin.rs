//! The HTTP API: RabbitMQ's management API under `/api`, metrics, and probes.
//!
//! Comes in: bound sockets and the node. Goes out: answers. One file per resource, each a router; this one puts them together,
//! checks credentials, and answers the probes while the broker starts.
//! Does not know about AMQP frames.

pub mod vhosts;

pub mod exchanges;

pub mod queues;

pub mod bindings;

pub mod messages;

pub mod body;

pub mod names;

pub mod connections;

pub mod channels;

pub mod consumers;

pub mod definitions;

pub mod users;

pub mod nodes;

pub mod overview;

pub mod scrape;

pub mod page;

pub mod health;

pub mod error;

pub mod json;

pub mod sockets;

use crate::access::Actor;
use crate::listener::Socket;
use crate::metrics::rates::Rates;
use crate::node::Node;
use crate::protocol::Listener;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use error::{Failure, Result};
use sockets::{PeerAddress, PlainListener, TlsListener};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest body of a request, bytes (RabbitMQ's `management.http.max_body_size`).
const BODY_MAX_BYTES: usize = 20_000_000;

/// What all resources work with.
pub struct Admin {
    /// The broker.
    pub node: Arc<Node>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// How fast counters grow.
    pub rates: Arc<Rates>,
}

/// The parameters of a URL.
type Parameters = axum::extract::Query<HashMap<String, String>>;

impl Admin {
    /// The API of a node that listens on these addresses.
    pub fn new(node: Arc<Node>, listeners: Vec<Listener>, data_dir: PathBuf) -> Self {
        let rates = Arc::default();
        Self {
            node,
            listeners,
            data_dir,
            rates,
        }
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
    pub async fn serve(self, socket: Socket) -> std::io::Result<()> {
        let app = router().with_state(self);
        let app = app.into_make_service_with_connect_info::<PeerAddress>();
        match socket.certificates {
            None => axum::serve(PlainListener::new(socket.socket)?, app).await,
            Some(certificates) => axum::serve(TlsListener::new(socket.socket, certificates)?, app).await,
        }
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

/// A request that knows user and password (HTTP basic, RFC 7617): what all other handlers work with.
pub struct Login {
    /// The API.
    pub admin: Arc<Admin>,
    /// Who logged in.
    pub actor: Actor,
}

impl FromRequestParts<Gate> for Login {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self> {
        let Open(admin) = Open::from_request_parts(parts, gate).await?;
        let peer = parts.extensions.get::<ConnectInfo<PeerAddress>>().map(|info| info.0.0);
        let actor = log_in(&admin, peer, &parts.headers)?;
        Ok(Self { admin, actor })
    }
}

fn router() -> Router<Gate> {
    let api = Router::new()
        .merge(overview::router())
        .merge(nodes::router())
        .merge(vhosts::router())
        .merge(exchanges::router())
        .merge(queues::router())
        .merge(bindings::router())
        .merge(messages::router())
        .merge(connections::router())
        .merge(channels::router())
        .merge(consumers::router())
        .merge(users::router())
        .merge(definitions::router())
        .merge(health::router())
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES));
    Router::new()
        .merge(health::probes())
        .merge(scrape::router())
        .merge(api)
        .fallback(|| async { Failure::NotFound })
}

fn log_in(admin: &Admin, peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<Actor> {
    let header = headers.get(AUTHORIZATION).ok_or(Failure::NoCredentials)?;
    let (user, password) = credentials(header.as_bytes()).ok_or(Failure::NotAuthorized)?;
    let from = peer.ok_or(Failure::NotAuthorized)?.ip();
    admin.node.users.login(&user, &password, from).map_err(|reason| {
        tracing::info!(?peer, %reason, "HTTP login refused");
        Failure::NotAuthorized
    })
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

/// The vhost that a change is made in.
///
/// # Errors
/// 404 with RabbitMQ's words if there is none.
fn vhost_of_change(admin: &Admin, name: &str) -> Result<Arc<Vhost>> {
    let missing = || Failure::Missing("vhost_not_found".into());
    admin.node.vhost(name).ok_or_else(missing)
}

fn is_true(parameters: &HashMap<String, String>, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value == "true")
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// When something happened that was `ago`, as RabbitMQ writes times: `2026-11-22T19:30:26.375+00:00`.
fn date(ago: Duration) -> String {
    date_of(millis(SystemTime::now()).saturating_sub(ago.as_millis() as u64))
}

/// Days to dates by H. Hinnant's algorithm for the Gregorian calendar: eras of 400 years, years that start in March.
fn date_of(millis: u64) -> String {
    let (seconds, milli) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{milli:03}+00:00",
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date_of(0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(date_of(951_782_399_999), "2000-02-28T23:59:59.999+00:00");
        assert_eq!(date_of(951_782_400_000), "2000-02-29T00:00:00.000+00:00");
        assert_eq!(date_of(1_795_375_826_375), "2026-11-22T19:30:26.375+00:00");
        assert_eq!(date_of(4_107_542_400_000), "2100-03-01T00:00:00.000+00:00");
    }

    #[test]
    fn credentials_are_read_from_the_header() {
        let read = |header: &str| credentials(header.as_bytes());
        assert_eq!(read("Basic Z3Vlc3Q6Z3Vlc3Q="), Some(("guest".into(), "guest".into())));
        assert_eq!(read("basic YTpiOmM="), Some(("a".into(), "b:c".into())));
        for wrong in ["", "Basic", "Basic !", "Bearer Z3Vlc3Q6Z3Vlc3Q=", "Basic Z3Vlc3Q="] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
