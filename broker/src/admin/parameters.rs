//! `/api/parameters`, `/api/global-parameters`: settings of plugins, such as shovels, of which there are none in this
//! version. As in RabbitMQ, operator policies are listed here, too.
//!
//! Comes in: requests. Goes out: lists, which tools ask for.

use super::error::Result;
use super::http::{Parameters, aside, ok};
use super::json::{self, Object};
use super::login::{Gate, Login, empty};
use super::page::Query;
use super::policies;
use crate::policy::{Class, Policy};
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;

/// Parameters.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/parameters", get(all))
        .route("/api/parameters/{component}", get(of_component))
        .route("/api/global-parameters", get(empty))
}

async fn all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let rows = policies::rows(Class::Operator, &admin.vhosts(None)?);
    aside(admin.clone(), move |out| {
        query.list(
            out,
            rows,
            |(_, policy)| policy.name.as_str().into(),
            |(vhost, policy), o| describe(Some(&vhost.name), policy, o),
        )
    })
    .await
}

async fn of_component(login: Login, Path(component): Path<String>, parameters: Parameters) -> Result<Response> {
    if component == Class::Operator.name() {
        return all(login, parameters).await;
    }
    Ok(ok(json::array(None, |_| ())))
}

/// An operator policy as a parameter.
pub fn describe(vhost: Option<&str>, policy: &Policy, o: &mut Object<'_>) {
    o.object("value", |o| policies::says(policy, o));
    if let Some(vhost) = vhost {
        o.text("vhost", vhost);
    }
    o.text("component", Class::Operator.name());
    o.text("name", &policy.name);
}
