//! The door of the HTTP API: shut until the broker has recovered, and then open to users with a password.
//!
//! Comes in: heads of requests. Goes out: the state that handlers work with, and who asks. Does not know about
//! resources.

use super::error::{Failure, Result};
use super::http::ok;
use super::sockets::PeerAddress;
use super::state::Admin;
use crate::access::Actor;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

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
}

/// The state of a handler without login. Before the broker has recovered, the answer is 503.
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
    /// The user who logged in.
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

/// The answer of a list that is always empty: this version has nothing that would stand in it.
pub async fn empty(_: Login) -> Response {
    ok(b"[]".to_vec())
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
    }
}
