//! `/api/whoami`, users and permissions: one administrator, guest, who may do everything; and the lists of what this version doesn't
//! have (policies, parameters, limits), which are empty.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects.

use super::error::{Failure, Result};
use super::json::{Array, Object};
use super::{Gate, Login, json, nodes, ok};
use crate::auth;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;

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

async fn whoami(_: Login) -> Response {
    ok(json::object(None, |o| {
        o.text("name", auth::administrator());
        o.array("tags", |tags| tags.text("administrator"));
        o.bool("is_internal_user", true);
    }))
}

async fn users(_: Login) -> Response {
    ok(json::array(None, |list| list.object(describe)))
}

async fn user(_: Login, Path(user): Path<String>) -> Result<Response> {
    is_user(&user)?;
    Ok(ok(json::object(None, describe)))
}

fn is_user(user: &str) -> Result<()> {
    if user == auth::administrator() {
        Ok(())
    } else {
        Err(Failure::NotFound)
    }
}

fn describe(o: &mut Object<'_>) {
    o.text("name", auth::administrator());
    // The hash is nobody's business.
    o.text("password_hash", "");
    o.text("hashing_algorithm", "rabbit_password_hashing_sha256");
    o.array("tags", |tags| tags.text("administrator"));
    o.object("limits", |_| ());
}

async fn permissions(Login(admin): Login) -> Result<Response> {
    let vhosts = admin.vhosts(None)?;
    Ok(ok(json::array(None, |list| {
        vhosts.iter().for_each(|vhost| everything(&vhost.name, list));
    })))
}

async fn permissions_of(login: Login, Path(user): Path<String>) -> Result<Response> {
    is_user(&user)?;
    permissions(login).await
}

async fn permissions_in(Login(admin): Login, Path(vhost): Path<String>) -> Result<Response> {
    admin.vhost(&vhost)?;
    Ok(ok(json::array(None, |list| everything(&vhost, list))))
}

async fn permission(Login(admin): Login, Path((vhost, user)): Path<(String, String)>) -> Result<Response> {
    admin.vhost(&vhost)?;
    is_user(&user)?;
    Ok(ok(json::object(None, |o| allowed(&vhost, o))))
}

fn everything(vhost: &str, list: &mut Array<'_>) {
    list.object(|o| allowed(vhost, o));
}

fn allowed(vhost: &str, o: &mut Object<'_>) {
    o.text("user", auth::administrator());
    o.text("vhost", vhost);
    ["configure", "write", "read"]
        .iter()
        .for_each(|right| o.text(right, ".*"));
}

/// Logins are not counted in this version.
async fn attempts(Login(admin): Login, Path(node): Path<String>) -> Result<Response> {
    nodes::is_this(&admin, &node)?;
    Ok(ok(b"[]".to_vec()))
}
