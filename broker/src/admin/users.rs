//! `/api/users`, `/api/whoami`, `/api/auth`: the users, whom this API shows and doesn't change.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects.

use super::error::{Failure, Result};
use super::http::ok;
use super::json::{self, Object};
use super::login::{Gate, Login, empty};
use super::nodes;
use super::state::Admin;
use crate::access::users::TAGS;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;

/// Users.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/whoami", get(whoami))
        .route("/api/users", get(users))
        .route("/api/users/without-permissions", get(empty))
        .route("/api/users/{user}", get(user))
        .route("/api/auth/attempts/{node}", get(attempts))
}

async fn whoami(Login { actor, .. }: Login) -> Response {
    ok(json::object(None, |o| {
        o.text("name", &actor.user);
        tags(o);
        o.bool("is_internal_user", true);
    }))
}

async fn users(Login { admin, .. }: Login) -> Response {
    let users = admin.node.users.names();
    ok(json::array(None, |list| {
        users.iter().for_each(|user| list.object(|o| describe(user, o)));
    }))
}

async fn user(Login { admin, .. }: Login, Path(user): Path<String>) -> Result<Response> {
    is_user(&admin, &user)?;
    Ok(ok(json::object(None, |o| describe(&user, o))))
}

/// # Errors
/// 404 for a user that doesn't exist.
pub fn is_user(admin: &Admin, user: &str) -> Result<()> {
    if admin.node.users.names().iter().any(|name| name == user) {
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

/// Logins are not counted in this version.
async fn attempts(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    Ok(ok(b"[]".to_vec()))
}
