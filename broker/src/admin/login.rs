//! The door of the HTTP API: shut until the broker has recovered, and then open to users with a password.
//!
//! Comes in: heads of requests. Goes out: the state that handlers work with, as far as the user may see it, and who
//! asks; or a refusal. Does not know about resources.

use super::error::{Failure, Result};
use super::http::ok;
use super::rights::{self, Asked};
use super::seats::Seats;
use super::state::Admin;
use super::zip;
use crate::access::Actor;
use crate::access::attempts::Protocol;
use crate::access::logins::Refused;
use crate::access::users::Users;
use crate::listener::Client;
use crate::turns::Watch;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// The door of the HTTP API: shut until the broker has recovered. The state of all routers.
#[derive(Clone)]
pub struct Gate(Arc<State>);

struct State {
    admin: OnceLock<Arc<Admin>>,
    watch: Arc<Watch>,
    guest: bool,
    largest_body: u64,
    seats: Mutex<Vec<Arc<Seats>>>,
}

impl Gate {
    /// A door that is shut, for these users and for bodies of so many bytes; `watch` is over the threads that serve
    /// clients.
    pub fn new(users: &Users, largest_body: u64, watch: Arc<Watch>) -> Self {
        Self(Arc::new(State {
            admin: OnceLock::new(),
            watch,
            guest: matches!(users, Users::Guest { .. }),
            largest_body,
            seats: Mutex::default(),
        }))
    }

    /// True if the password is the one that everybody knows.
    pub fn is_guest(&self) -> bool {
        self.0.guest
    }

    /// Largest body of a request, bytes.
    pub fn largest_body(&self) -> u64 {
        self.0.largest_body
    }

    /// The watch over the threads that serve clients.
    pub fn watch(&self) -> &Watch {
        &self.0.watch
    }

    /// Another service with seats for its clients.
    pub fn seats(&self, seats: Arc<Seats>) {
        self.0.seats.lock().push(seats);
    }

    /// HTTP connections, and those that had to make room for others.
    pub fn connections(&self) -> (u64, u64) {
        let seats = self.0.seats.lock();
        let sum = |count: fn(&Seats) -> u64| seats.iter().map(|seats| count(seats)).sum();
        (sum(|seats| seats.taken() as u64), sum(Seats::ousted))
    }

    /// Opens it, once, and starts to sample rates.
    pub fn open(&self, admin: Admin) {
        let sampling = admin.rates.clone().run(admin.node.clone(), admin.data_dir.clone());
        tokio::spawn(sampling);
        let _ = self.0.admin.set(Arc::new(admin));
    }
}

/// The state of a handler without login. Before the broker has recovered, the answer is 503.
pub struct Open(pub Arc<Admin>);

impl FromRequestParts<Gate> for Open {
    type Rejection = Failure;

    async fn from_request_parts(_: &mut Parts, gate: &Gate) -> Result<Self> {
        let admin = gate.0.admin.get().cloned();
        admin
            .map(Self)
            .ok_or_else(|| Failure::Unavailable("the broker is starting".into()))
    }
}

/// A request that knows user and password (HTTP basic, RFC 7617) or a token (RFC 6750), and may be made: what all other
/// handlers work with.
pub struct Login {
    /// The API as the user sees it.
    pub admin: Arc<Admin>,
    /// The user who logged in.
    pub actor: Actor,
}

impl FromRequestParts<Gate> for Login {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, gate: &Gate) -> Result<Self> {
        let Open(admin) = Open::from_request_parts(parts, gate).await?;
        let client = parts.extensions.get::<Arc<Client>>().ok_or(Failure::NotAuthorized)?;
        let actor = log_in(&admin, client.peer.ip(), &parts.headers).await?;
        let names = RawPathParams::from_request_parts(parts, gate).await;
        let names = names.map_err(|fault| Failure::BadRequest(fault.to_string()))?;
        let named = |wanted: &str| names.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let asked = Asked {
            method: &parts.method,
            route: parts.extensions.get().map_or("", MatchedPath::as_str),
            vhost: named("vhost").filter(|vhost| admin.node.vhost(vhost).is_some()),
            user: named("user"),
        };
        let seen = rights::check(&asked, &actor)?;
        let admin = admin.seen_by(&actor, seen, zip::is_accepted(&parts.headers));
        Ok(Self { admin, actor })
    }
}

/// The answer of a list that is always empty: this version has nothing that would stand in it.
pub async fn empty(_: Login) -> Response {
    ok(b"[]".to_vec())
}

async fn log_in(admin: &Admin, from: IpAddr, headers: &HeaderMap) -> Result<Actor> {
    let header = headers.get(AUTHORIZATION).ok_or(Failure::NoCredentials)?;
    let from_token = match bearer(header.as_bytes()) {
        Some(token) => admin.node.access.log_in_by_token(Protocol::Http, from, token).await,
        None => {
            let (user, password) = credentials(header.as_bytes()).ok_or(Failure::NotAuthorized)?;
            return check_login(admin, from, &user, &password).await;
        }
    };
    from_token.map_err(refused)
}

/// Logs a user in.
///
/// # Errors
/// 401 for a wrong name or password, 429 after too many.
pub async fn check_login(admin: &Admin, from: IpAddr, user: &str, password: &str) -> Result<Actor> {
    let login = admin.node.access.log_in(Protocol::Http, from, user, password).await;
    login.map_err(refused)
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Wrong => Failure::NotAuthorized,
        Refused::TooMany(wait) => Failure::TooManyLogins(wait),
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_the_header() {
        let read = |header: &str| credentials(header.as_bytes());
        assert_eq!(read("Basic Z3Vlc3Q6Z3Vlc3Q="), Some(("guest".into(), "guest".into())));
        assert_eq!(read("basic YTpiOmM="), Some(("a".into(), "b:c".into())));
        for wrong in ["", "Basic", "Basic !", "Bearer Z3Vlc3Q6Z3Vlc3Q=", "Basic Z3Vlc3Q="] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(bearer(b"Bearer a.b.c "), Some("a.b.c"));
        assert_eq!(bearer(b"bearer a"), Some("a"));
        assert!(bearer(b"Basic a").is_none() && bearer(b"Bearer").is_none());
    }
}
