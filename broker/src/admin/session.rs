//! `/api/login`: user and password of a form, looked at. RabbitMQ's pages keep the token that comes back; it is what
//! their requests log in with.
//!
//! Comes in: a form. Goes out: the user, and the token. Nothing is kept here, so there is nothing to end.

use super::error::{Failure, Result};
use super::http::ok;
use super::input::Short;
use super::json::{self, unquoted};
use super::login::{Gate, Open, check_login};
use super::users::myself;
use crate::listener::Client;
use axum::Router;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// Logins by a form.
pub fn router() -> Router<Gate> {
    Router::new().route("/api/login", post(begin).delete(end))
}

async fn begin(Open(admin): Open, Extension(client): Extension<Arc<Client>>, body: Short) -> Result<Response> {
    let form = std::str::from_utf8(&body).map_err(|_| Failure::NotAuthorized)?;
    let field = |wanted: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
        String::from_utf8(unquoted(value)).ok()
    };
    let (Some(user), Some(password)) = (field("username"), field("password")) else {
        return Err(Failure::NotAuthorized);
    };
    let actor = check_login(&admin, client.peer.ip(), &user, &password).await?;
    if !actor.tags.is_management() {
        return Err(Failure::Refused("Not management user".into()));
    }
    let token = STANDARD.encode(format!("{user}:{password}"));
    Ok(ok(json::object(None, |o| {
        o.object("user", |o| myself(&actor, o));
        o.object("token", |o| {
            o.text("type", "basic");
            o.text("value", &token);
        });
    })))
}

async fn end(_: Open) -> StatusCode {
    StatusCode::NO_CONTENT
}
