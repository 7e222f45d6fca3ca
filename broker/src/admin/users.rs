//! `/api/whoami`, users and permissions: one administrator, guest, who may do everything; and the lists of what this
//! version doesn't have (policies, parameters, limits), which are empty.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects.

use super::error::{Failure, Result};
use super::http::ok;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::nodes;
use super::state::Admin;
use crate::access::permissions::Right;
use crate::access::users::{PERMISSIONS, TAGS};
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

/// Lists of what there is none of in this version.
const EMPTY: [&str; 15] = [
    "/api/policies",
    "/api/policies/{vhost}",
    "/api/operator-policies",
    "/api/operator-policies/{vhost}",
    "/api/parameters",
    "/api/parameters/{component}",
    "/api/global-parameters",
    "/api/topic-permissions",
    "/api/users/{user}/topic-permissions",
    "/api/users/without-permissions",
    "/api/vhost-limits",
    "/api/user-limits",
    "/api/feature-flags",
    "/api/deprecated-features",
    "/api/deprecated-features/used",
];

/// Users and permissions.
pub fn router() -> Router<Gate> {
    let mut router = Router::new()
        .route("/api/whoami", get(whoami))
        .route("/api/users", get(users))
        .route("/api/users/{user}", get(user))
        .route("/api/users/{user}/permissions", get(permissions_of))
        .route("/api/permissions", get(permissions))
        .route("/api/permissions/{vhost}/{user}", get(permission))
        .route("/api/vhosts/{vhost}/permissions", get(permissions_in))
        .route(
            "/api/vhosts/{vhost}/topic-permissions",
            get(|_: Login| async { ok(b"[]".to_vec()) }),
        )
        .route("/api/auth/attempts/{node}", get(attempts));
    for path in EMPTY {
        router = router.route(path, get(|_: Login| async { ok(b"[]".to_vec()) }));
    }
    router
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
fn is_user(admin: &Admin, user: &str) -> Result<()> {
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

async fn permissions(Login { admin, .. }: Login) -> Result<Response> {
    let (users, vhosts) = (admin.node.users.names(), admin.vhosts(None)?);
    Ok(ok(list_permissions(&users, &vhosts)))
}

async fn permissions_of(Login { admin, .. }: Login, Path(user): Path<String>) -> Result<Response> {
    is_user(&admin, &user)?;
    Ok(ok(list_permissions(&[user], &admin.vhosts(None)?)))
}

async fn permissions_in(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    let vhost = admin.vhost(&vhost)?;
    Ok(ok(list_permissions(&admin.node.users.names(), &[vhost])))
}

async fn permission(Login { admin, .. }: Login, Path((vhost, user)): Path<(String, String)>) -> Result<Response> {
    let vhost = admin.vhost(&vhost)?;
    is_user(&admin, &user)?;
    Ok(ok(json::object(None, |o| describe_permission(&user, &vhost, o))))
}

fn list_permissions(users: &[String], vhosts: &[Arc<Vhost>]) -> Vec<u8> {
    json::array(None, |list| {
        for user in users {
            vhosts
                .iter()
                .for_each(|vhost| list.object(|o| describe_permission(user, vhost, o)));
        }
    })
}

/// The rights of a user in a vhost, as RabbitMQ shows them.
pub fn describe_permission(user: &str, vhost: &Vhost, o: &mut Object<'_>) {
    o.text("user", user);
    o.text("vhost", &vhost.name);
    for right in Right::ALL {
        o.text(right.name(), PERMISSIONS.names(right).pattern());
    }
}

/// Logins are not counted in this version.
async fn attempts(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    Ok(ok(b"[]".to_vec()))
}
