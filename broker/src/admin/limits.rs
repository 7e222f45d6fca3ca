//! `/api/vhost-limits`: most connections and queues of a vhost.
//!
//! Comes in: requests. Goes out: RabbitMQ's objects of limits; changes through `vhosts`, answered when they are
//! durable.

use super::body::Fields;
use super::error::{Failure, Result};
use super::http::{aside, blocking};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::state::Admin;
use crate::access::Actor;
use crate::erlang::plain;
use crate::vhost::Vhost;
use crate::vhost::settings::{Limit, Limits, Settings};
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use leveret_amqp::FieldValue;
use std::sync::Arc;

/// Limits.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/vhost-limits", get(list))
        .route("/api/vhost-limits/{vhost}", get(one))
        .route("/api/vhost-limits/{vhost}/{name}", put(set).delete(clear))
}

/// The component under which RabbitMQ keeps limits of vhosts as parameters, and the name of each.
pub const PARAMETER: (&str, &str) = ("vhost-limits", "limits");

/// A vhost and the name of a limit.
type Place = Path<(String, String)>;

async fn list(Login { admin, .. }: Login) -> Result<Response> {
    let mut vhosts = admin.vhosts(None)?;
    vhosts.retain(|vhost| vhost.settings().limits.is_some());
    rows(admin, vhosts).await
}

async fn one(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    let mut vhosts = admin.vhosts(Some(&vhost))?;
    let is_limited = |limits: Limits| limits.all().next().is_some();
    vhosts.retain(|vhost| vhost.settings().limits.is_some_and(is_limited));
    rows(admin, vhosts).await
}

async fn rows(admin: Arc<Admin>, vhosts: Vec<Arc<Vhost>>) -> Result<Response> {
    aside(admin, move |out| {
        json::put_array(out, None, |list| {
            for vhost in &vhosts {
                list.object(|o| {
                    o.text("vhost", &vhost.name);
                    o.object("value", |o| describe(&vhost.settings(), o));
                });
            }
        });
        Ok(())
    })
    .await
}

async fn set(Login { admin, actor }: Login, Path((vhost, name)): Place, body: Input) -> Result<StatusCode> {
    admin.vhost_of_change(&vhost)?;
    let fields = Fields::parse(&body)?;
    fields.require(&["value"])?;
    let fields = fields.all()?;
    let value = fields.get("value").unwrap_or(&FieldValue::Void);
    let (limit, number) = match (Limit::of_name(&name), value.as_i64()) {
        (Some(limit), Some(number)) => (limit, number),
        (Some(_), None) => {
            return Err(invalid(&format!(
                "{name} should be a number, actually was {}",
                plain(value)
            )));
        }
        (None, _) => {
            let term = format!("{{<<\"{name}\">>,{}}}", plain(value));
            return Err(invalid(&format!("Unrecognised terms [{term}] in limits")));
        }
    };
    change(admin, actor, vhost, Some((limit, Some(number)))).await
}

async fn clear(Login { admin, actor }: Login, Path((vhost, name)): Place) -> Result<StatusCode> {
    let limit = Limit::of_name(&name).map(|limit| (limit, None));
    change(admin, actor, vhost, limit).await
}

async fn change(
    admin: Arc<Admin>,
    actor: Actor,
    vhost: String,
    limit: Option<(Limit, Option<i64>)>,
) -> Result<StatusCode> {
    let node = admin.node.clone();
    let lsn = blocking(move || Ok(node.hosts.limit(&vhost, limit, &actor)?)).await?;
    let missing = || Failure::Missing("vhost_not_found".into());
    admin.node.wait_durable(Some(lsn.ok_or_else(missing)?)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The limits of a vhost, by name.
pub fn describe(settings: &Settings, o: &mut Object<'_>) {
    let limits = settings.limits.unwrap_or_default();
    limits.all().for_each(|(limit, value)| o.integer(limit.name(), value));
}

fn invalid(wrong: &str) -> Failure {
    Failure::BadRequest(format!("Validation failed\n\n{wrong}\n"))
}
