//! `/api/users`, `/api/whoami`, `/api/auth`: the users, whom this API shows and doesn't change.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects.

use super::error::{Failure, Result};
use super::http::{Parameters, aside, ok};
use super::json::{self, Object};
use super::login::{Gate, Login, empty};
use super::nodes;
use super::page::Query;
use super::state::Admin;
use crate::access::attempts::{Count, Protocol};
use crate::access::users::TAGS;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

/// Users.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/whoami", get(whoami))
        .route("/api/users", get(users))
        .route("/api/users/without-permissions", get(empty))
        .route("/api/users/{user}", get(user))
        .route("/api/auth/attempts/{node}", get(attempts).delete(reset))
        .route("/api/auth/attempts/{node}/source", get(sources).delete(reset_sources))
}

async fn whoami(Login { actor, .. }: Login) -> Response {
    ok(json::object(None, |o| {
        o.text("name", &actor.user);
        tags(o);
        o.bool("is_internal_user", true);
    }))
}

async fn users(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let users = admin.node.access.names();
    aside(admin, move |out| {
        query.list(out, users, |user| user.as_str().into(), |user, o| describe(user, o))
    })
    .await
}

async fn user(Login { admin, .. }: Login, Path(user): Path<String>) -> Result<Response> {
    is_user(&admin, &user)?;
    Ok(ok(json::object(None, |o| describe(&user, o))))
}

/// # Errors
/// 404 for a user that doesn't exist.
pub fn is_user(admin: &Admin, user: &str) -> Result<()> {
    if admin.node.access.names().iter().any(|name| name == user) {
        Ok(())
    } else {
        Err(Failure::NotFound)
    }
}

/// A user as RabbitMQ shows it, but without the hash of the password.
pub fn describe(user: &str, o: &mut Object<'_>) {
    o.text("name", user);
    o.text("password_hash", "");
    o.text("hashing_algorithm", "rabbit_password_hashing_sha256");
    tags(o);
    o.object("limits", |_| ());
}

fn tags(o: &mut Object<'_>) {
    o.array("tags", |list| TAGS.iter().for_each(|tag| list.text(tag)));
}

/// Protocols by which somebody has tried to log in.
async fn attempts(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    let counts = admin.node.access.attempts.by_protocol();
    Ok(ok(json::array(None, |list| {
        for (protocol, count) in counts.into_iter().filter(|(_, count)| count.all() > 0) {
            list.object(|o| counted(protocol, count, o));
        }
    })))
}

/// Addresses and users. RabbitMQ keeps them only when told to.
async fn sources(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    let counts = admin.node.access.attempts.by_source();
    Ok(ok(json::array(None, |list| {
        for (source, count) in &counts {
            list.object(|o| {
                o.text("remote_address", &source.address.to_string());
                if let Some(user) = &source.user {
                    o.text("username", user);
                }
                counted(source.protocol, *count, o);
            });
        }
    })))
}

fn counted(protocol: Protocol, count: Count, o: &mut Object<'_>) {
    o.text("protocol", protocol.name());
    o.number("auth_attempts", count.all());
    o.number("auth_attempts_failed", count.failed);
    o.number("auth_attempts_succeeded", count.succeeded);
}

async fn reset(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<StatusCode> {
    nodes::is_this(&admin, &node)?;
    admin.node.access.attempts.reset();
    Ok(StatusCode::NO_CONTENT)
}

async fn reset_sources(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<StatusCode> {
    nodes::is_this(&admin, &node)?;
    admin.node.access.attempts.reset_sources();
    Ok(StatusCode::NO_CONTENT)
}
