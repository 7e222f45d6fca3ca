//! `/api/policies`, `/api/operator-policies`: values for queues and exchanges by their names.
//!
//! Comes in: requests. Goes out: RabbitMQ's policy objects, and its fields about policies in other objects; changes
//! through `vhost`, answered when they are durable. Does not know what a policy does to an object.

use super::body::{Fields, short};
use super::error::{Failure, Result};
use super::http::{Parameters, aside, blocking, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::state::Admin;
use crate::policy::{Applied, Class, Policy};
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

/// Policies.
pub fn router() -> Router<Gate> {
    of_class("/api/policies", Class::User).merge(of_class("/api/operator-policies", Class::Operator))
}

fn of_class(path: &str, class: Class) -> Router<Gate> {
    let all = move |Login { admin, .. }: Login, parameters: Parameters| list(class, admin, None, parameters);
    let of_vhost = move |Login { admin, .. }: Login, Path(vhost): Path<String>, parameters: Parameters| {
        list(class, admin, Some(vhost), parameters)
    };
    let show = move |login: Login, path: Place, parameters: Parameters| one(class, login, path, parameters);
    let put = move |login: Login, path: Place, body: Input| put(class, login, path, body);
    let delete = move |login: Login, path: Place| remove(class, login, path);
    Router::new()
        .route(path, get(all))
        .route(&format!("{path}/{{vhost}}"), get(of_vhost))
        .route(&format!("{path}/{{vhost}}/{{name}}"), get(show).put(put).delete(delete))
}

/// A vhost and the name of a policy.
type Place = Path<(String, String)>;

/// A policy with its vhost.
type Row = (Arc<Vhost>, Arc<Policy>);

async fn list(
    class: Class,
    admin: Arc<Admin>,
    vhost: Option<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::without_pages(&parameters)?;
    let mut rows = rows(class, &admin.vhosts(vhost.as_deref())?);
    rows.sort_by_key(|(_, policy)| policy.priority);
    aside(admin.clone(), move |out| {
        query.list(
            out,
            rows,
            |(_, policy)| policy.name.as_str().into(),
            |(vhost, policy), o| describe(vhost, policy, o),
        )
    })
    .await
}

/// The policies of these vhosts, by vhost and name.
pub fn rows(class: Class, vhosts: &[Arc<Vhost>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for vhost in vhosts {
        let mut policies = vhost.topology().policies.list(class).to_vec();
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        rows.extend(policies.into_iter().map(|policy| (vhost.clone(), policy)));
    }
    rows
}

async fn one(
    class: Class,
    Login { admin, .. }: Login,
    Path((vhost, name)): Place,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhost = admin.vhost(&vhost)?;
    let policy = vhost.topology().policies.get(class, &name).cloned();
    let policy = policy.ok_or(Failure::NotFound)?;
    Ok(ok(json::object(query.columns(), |o| describe(&vhost, &policy, o))))
}

async fn put(
    class: Class,
    Login { admin, actor }: Login,
    Path((vhost, name)): Place,
    body: Input,
) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    let fields = Fields::parse(&body)?;
    fields.require(&["pattern", "definition"])?;
    short(&name)?;
    let policy = Policy::parse(class, &name, &fields.all()?).map_err(Failure::BadRequest)?;
    let put = blocking(move || Ok(vhost.put_policy(class, policy, &actor)?)).await?;
    admin.node.wait_durable(put.change.lsn).await;
    Ok(if put.created {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

async fn remove(class: Class, Login { admin, actor }: Login, Path((vhost, name)): Place) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    let removed = blocking(move || Ok(vhost.delete_policy(class, &name, &actor)?)).await?;
    let change = removed.ok_or(Failure::NotFound)?;
    admin.node.wait_durable(change.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(vhost: &Vhost, policy: &Policy, o: &mut Object<'_>) {
    o.text("vhost", &vhost.name);
    o.text("name", &policy.name);
    says(policy, o);
}

/// The fields of a policy that it can be put with.
pub fn says(policy: &Policy, o: &mut Object<'_>) {
    o.text("pattern", policy.pattern.text());
    o.text("apply-to", policy.apply_to.name());
    o.table("definition", &policy.definition);
    o.integer("priority", policy.priority);
}

/// The policies of an object, in the description of that object.
pub fn of_object(policies: Option<&Applied>, o: &mut Object<'_>) {
    let name = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|policy| policy.name.clone());
    let policy = policies.and_then(|policies| name(&policies.policy));
    let operator = policies.and_then(|policies| name(&policies.operator));
    for (field, name) in [("policy", policy), ("operator_policy", operator)] {
        match name {
            Some(name) => o.text(field, &name),
            None => o.null(field),
        }
    }
    match policies {
        Some(policies) => o.table("effective_policy_definition", &policies.definition),
        None => o.object("effective_policy_definition", |_| ()),
    }
}
