//! `/api/shovels`, `/api/federation-links`: what would run by parameters. In this version nothing does: shovels are
//! shown as ended, links of a federation don't come into being.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects; a deletion through `parameters`, answered when it is durable.

use super::error::{Failure, Result};
use super::http::ok;
use super::json;
use super::login::{Gate, Login, empty};
use super::parameters::{SHOVEL, describe_kept};
use super::state::Admin;
use crate::parameters::Key;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};

/// Shovels and links.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/shovels", get(shovels))
        .route("/api/shovels/{vhost}", get(shovels_of))
        .route("/api/shovels/vhost/{vhost}/{name}", get(shovel).delete(remove))
        .route("/api/shovels/vhost/{vhost}/{name}/restart", delete(restart))
        .route("/api/federation-links", get(empty))
        .route("/api/federation-links/state/down", get(empty))
        .route("/api/federation-links/{vhost}", get(links))
        .route("/api/federation-links/{vhost}/state/down", get(links))
        .route(
            "/api/federation-links/vhost/{vhost}/{id}/{node}/restart",
            delete(restart_link),
        )
}

async fn shovels(Login { admin, .. }: Login) -> Result<Response> {
    list(&admin, None)
}

async fn shovels_of(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    list(&admin, Some(&vhost))
}

/// The shovels that were declared, as not running.
fn list(admin: &Admin, vhost: Option<&str>) -> Result<Response> {
    let vhosts = admin.vhosts(vhost)?;
    let of_vhost = |key: &Key| vhosts.iter().any(|vhost| key.vhost.as_deref() == Some(&vhost.name));
    let mut kept = admin.node.parameters.list(|key| key.component == SHOVEL);
    kept.retain(|(key, _)| of_vhost(key));
    Ok(ok(json::array(None, |list| {
        for (Key { vhost, name, .. }, _) in &kept {
            list.object(|o| {
                o.text("node", &admin.node.name);
                o.text("name", name);
                o.text("vhost", vhost.as_deref().unwrap_or_default());
                o.text("type", "dynamic");
                o.text("state", "terminated");
                o.text("reason", "this broker keeps shovels and runs none");
            });
        }
    })))
}

async fn shovel(Login { admin, .. }: Login, Path((vhost, name)): Path<(String, String)>) -> Result<Response> {
    let key = Key::of(&vhost, SHOVEL, &name);
    let value = admin.node.parameters.get(&key).ok_or(Failure::NotFound)?;
    Ok(ok(json::object(None, |o| describe_kept(&key, &value, true, o))))
}

/// As in RabbitMQ, one that isn't there is deleted, too.
async fn remove(Login { admin, .. }: Login, Path((vhost, name)): Path<(String, String)>) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    let lsn = admin.node.parameters.delete(&Key::of(&vhost.name, SHOVEL, &name))?;
    admin.node.wait_durable(lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

/// None runs.
async fn restart(_: Login) -> Result<StatusCode> {
    Err(Failure::NotFound)
}

async fn restart_link(_: Login) -> Result<StatusCode> {
    Err(Failure::NotFound)
}

async fn links(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    admin.vhost(&vhost)?;
    Ok(ok(b"[]".to_vec()))
}
