//! `/api/queues/quorum`, `/api/rebalance`: replicas of queues. The one node has the only one of each.
//!
//! Comes in: requests. Goes out: what a node of RabbitMQ without others answers.

use super::body::Fields;
use super::error::{Failure, Result};
use super::http::{ok, with_status};
use super::input::Input;
use super::json;
use super::login::{Gate, Login};
use super::names;
use super::nodes::is_this;
use super::state::Admin;
use crate::queue::arguments::QueueType;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};

/// Replicas of queues.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/queues/quorum/{vhost}/{name}/status", get(status))
        .route("/api/queues/quorum/{vhost}/{name}/replicas/add", post(add))
        .route("/api/queues/quorum/{vhost}/{name}/replicas/delete", delete(remove))
        .route("/api/queues/quorum/replicas/on/{node}/grow", post(grow))
        .route("/api/queues/quorum/replicas/on/{node}/shrink", delete(shrink))
        .route("/api/rebalance/queues", post(rebalance))
}

/// RabbitMQ's word for a queue without replicas.
const CLASSIC: &str = "classic_queue_not_supported";

fn is_quorum(admin: &Admin, vhost: &str, name: &str) -> Result<bool> {
    let queue = names::queue(&*admin.vhost(vhost)?, name)?;
    Ok(queue.definition.arguments.values.queue_type() == QueueType::Quorum)
}

async fn status(Login { admin, .. }: Login, Path((vhost, name)): Path<(String, String)>) -> Result<Response> {
    if !is_quorum(&admin, &vhost, &name)? {
        let body = json::object(None, |o| {
            o.text("status", "failed");
            o.text("reason", CLASSIC);
        });
        return Ok(with_status(StatusCode::SERVICE_UNAVAILABLE, body));
    }
    Ok(ok(json::array(None, |list| {
        list.object(|o| {
            o.text("Node Name", &admin.node.name);
            o.text("Raft State", "leader");
            o.text("Membership", "voter");
            // There is no log of each queue: it has nothing that isn't committed.
            for name in ["Last Log Index", "Last Written", "Last Applied", "Commit Index"] {
                o.number(name, 0);
            }
            o.integer("Snapshot Index", -1);
            o.number("Term", 1);
            o.number("Machine Version", 0);
        });
    })))
}

async fn add(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    check_member(&admin, (&vhost, &name), &body)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    check_member(&admin, (&vhost, &name), &body)?;
    Err(Failure::Impossible("last_node"))
}

/// Refuses a queue without replicas, and a node that is another one.
fn check_member(admin: &Admin, (vhost, name): (&str, &str), body: &[u8]) -> Result<()> {
    if !is_quorum(admin, vhost, name)? {
        return Err(Failure::Impossible(CLASSIC));
    }
    let fields = Fields::parse(body)?;
    fields.require(&["node"])?;
    match fields.text("node")? == Some(&admin.node.name) {
        true => Ok(()),
        false => Err(Failure::BadRequest("Node is not a cluster member".into())),
    }
}

async fn grow(Login { admin, .. }: Login, Path(node): Path<String>, body: Input) -> Result<StatusCode> {
    is_this(&admin, &node)?;
    Fields::parse(&body)?.require(&["vhost_pattern", "queue_pattern", "strategy"])?;
    Ok(StatusCode::NO_CONTENT)
}

async fn shrink(Login { admin, .. }: Login, Path(node): Path<String>) -> Result<StatusCode> {
    is_this(&admin, &node)?;
    Ok(StatusCode::ACCEPTED)
}

async fn rebalance(_: Login) -> StatusCode {
    StatusCode::NO_CONTENT
}
