//! `/api/permissions`, `/api/topic-permissions`: rights of users, the same in every vhost. There are no
//! topic permissions in this version.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects, from what `access` grants.

use super::error::Result;
use super::http::ok;
use super::json::{self, Object};
use super::login::{Gate, Login, empty};
use super::users::is_user;
use crate::access::permissions::Right;
use crate::access::users::PERMISSIONS;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

/// Permissions.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/permissions", get(all))
        .route("/api/permissions/{vhost}/{user}", get(one))
        .route("/api/users/{user}/permissions", get(of_user))
        .route("/api/vhosts/{vhost}/permissions", get(in_vhost))
        .route("/api/topic-permissions", get(empty))
        .route("/api/users/{user}/topic-permissions", get(empty))
        .route("/api/vhosts/{vhost}/topic-permissions", get(empty))
}

async fn all(Login { admin, .. }: Login) -> Result<Response> {
    let (users, vhosts) = (admin.node.access.names(), admin.vhosts(None)?);
    Ok(ok(list(&users, &vhosts)))
}

async fn of_user(Login { admin, .. }: Login, Path(user): Path<String>) -> Result<Response> {
    is_user(&admin, &user)?;
    Ok(ok(list(&[user], &admin.vhosts(None)?)))
}

async fn in_vhost(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    let vhost = admin.vhost(&vhost)?;
    Ok(ok(list(&admin.node.access.names(), &[vhost])))
}

async fn one(Login { admin, .. }: Login, Path((vhost, user)): Path<(String, String)>) -> Result<Response> {
    let vhost = admin.vhost(&vhost)?;
    is_user(&admin, &user)?;
    Ok(ok(json::object(None, |o| describe(&user, &vhost, o))))
}

fn list(users: &[String], vhosts: &[Arc<Vhost>]) -> Vec<u8> {
    json::array(None, |list| {
        for user in users {
            vhosts
                .iter()
                .for_each(|vhost| list.object(|o| describe(user, vhost, o)));
        }
    })
}

/// The rights of a user in a vhost, as RabbitMQ shows them.
pub fn describe(user: &str, vhost: &Vhost, o: &mut Object<'_>) {
    o.text("user", user);
    o.text("vhost", &vhost.name);
    for right in Right::ALL {
        o.text(right.name(), PERMISSIONS.names(right).pattern());
    }
}
