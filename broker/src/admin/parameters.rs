//! `/api/parameters`, `/api/global-parameters`: values by name. As in RabbitMQ, operator policies are parameters, too.
//!
//! Comes in: requests. Goes out: RabbitMQ's parameter objects; changes through `parameters` and `vhost`, answered when
//! they are durable.

use super::body::{Fields, short};
use super::error::{Failure, Result};
use super::http::{Parameters, aside, blocking, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::policies;
use super::state::Admin;
use crate::access::Actor;
use crate::events::Event;
use crate::parameters::Key;
use crate::policy::{Class, Policy};
use crate::zeromq::socket::Origin;
use crate::zeromq::spec::{COMPONENT, Spec};
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Parameters.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/parameters", get(all))
        .route("/api/parameters/{component}", get(of_component))
        .route("/api/parameters/{component}/{vhost}", get(of_vhost))
        .route(
            "/api/parameters/{component}/{vhost}/{name}",
            get(one).put(put).delete(remove),
        )
        .route("/api/global-parameters", get(global))
        .route(
            "/api/global-parameters/{name}",
            get(one_global).put(put_global).delete(remove_global),
        )
}

/// Kinds of parameters that are kept: those of RabbitMQ's own plugins, and ZeroMQ's sockets.
const KEPT: [&str; 5] = [SHOVEL, UPSTREAM, "federation-upstream-set", "federation", COMPONENT];
const UPSTREAM: &str = "federation-upstream";
/// The kind of shovels.
pub const SHOVEL: &str = "shovel";
/// Policies of users, which have a path of their own.
const POLICY: &str = "policy";

/// A parameter as a list has it.
enum Row {
    Policy(String, Arc<Policy>),
    Kept(Key, Arc<str>),
}

impl Row {
    fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Policy(_, policy) => policy.name.as_str().into(),
            Self::Kept(key, _) => key.name.as_str().into(),
        }
    }

    fn describe(&self, o: &mut Object<'_>) {
        match self {
            Self::Policy(vhost, policy) => describe(Some(vhost), policy, o),
            Self::Kept(key, value) => describe_kept(key, value, true, o),
        }
    }
}

/// The parameters of a component, or of all; of a vhost, or of all.
fn rows(admin: &Admin, component: Option<&str>, vhost: Option<&str>) -> Result<Vec<Row>> {
    let vhosts = admin.vhosts(vhost)?;
    let wanted = |of: &str| component.is_none_or(|component| component == of);
    let mut rows = Vec::new();
    if wanted(Class::Operator.name()) {
        let policies = policies::rows(Class::Operator, &vhosts).into_iter();
        rows.extend(policies.map(|(vhost, policy)| Row::Policy(vhost.name.clone(), policy)));
    }
    let of_vhost = |key: &Key| vhosts.iter().any(|vhost| key.vhost.as_deref() == Some(&vhost.name));
    let kept = admin
        .node
        .parameters
        .list(|key| key.vhost.is_some() && wanted(&key.component));
    rows.extend(
        kept.into_iter()
            .filter(|(key, _)| of_vhost(key))
            .map(|(key, value)| Row::Kept(key, value)),
    );
    Ok(rows)
}

async fn list(
    admin: Arc<Admin>,
    (component, vhost): (Option<String>, Option<String>),
    query: Query,
) -> Result<Response> {
    let rows = rows(&admin, component.as_deref(), vhost.as_deref())?;
    aside(admin, move |out| query.list(out, rows, Row::name, Row::describe)).await
}

async fn all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, (None, None), Query::parse(&parameters)?).await
}

async fn of_component(
    Login { admin, .. }: Login,
    Path(component): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, (Some(component), None), Query::parse(&parameters)?).await
}

async fn of_vhost(
    Login { admin, .. }: Login,
    Path((component, vhost)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, (Some(component), Some(vhost)), Query::parse(&parameters)?).await
}

/// Component, vhost and name.
type Place = Path<(String, String, String)>;

async fn one(Login { admin, .. }: Login, Path((component, vhost, name)): Place) -> Result<Response> {
    let rows = rows(&admin, Some(&component), Some(&vhost))?;
    let row = rows.iter().find(|row| row.name() == name).ok_or(Failure::NotFound)?;
    Ok(ok(json::object(None, |o| row.describe(o))))
}

fn status(created: bool) -> StatusCode {
    match created {
        true => StatusCode::CREATED,
        false => StatusCode::NO_CONTENT,
    }
}

async fn put(Login { admin, actor }: Login, Path((component, vhost, name)): Place, body: Input) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    let fields = Fields::parse(&body)?;
    fields.require(&["value"])?;
    if component == Class::Operator.name() {
        let policy = operator_policy(&name, &fields)?;
        let put = blocking(move || Ok(vhost.put_policy(Class::Operator, policy, &actor)?)).await?;
        admin.node.wait_durable(put.change.lsn).await;
        return Ok(status(put.created));
    }
    may_change(&component, &actor)?;
    let value = fields.value("value");
    check(&component, &name, &value)?;
    keep(&admin, &actor, Key::of(&vhost.name, &component, &name), &value).await
}

/// Keeps a parameter that has been checked, and answers when it is durable and has taken effect.
///
/// # Errors
/// 400 if a name or the value is too large, or memory is full.
pub async fn keep(admin: &Admin, actor: &Actor, key: Key, value: &Value) -> Result<StatusCode> {
    if let Some(vhost) = key.vhost.as_deref().filter(|_| key.component == COMPONENT) {
        not_of_settings(admin, vhost, &key.name)?;
    }
    let put = admin.node.parameters.put(key.clone(), &value.to_string())?;
    admin.node.wait_durable(Some(put.lsn)).await;
    if key.component == COMPONENT {
        admin.sockets.look().await;
    }
    tell(admin, actor, "parameter.set", &key);
    Ok(status(put.before.is_none()))
}

/// Removes a parameter, and answers when that is durable and has taken effect.
///
/// # Errors
/// 404 if there is none of this name.
pub async fn forget(admin: &Admin, actor: &Actor, key: &Key) -> Result<StatusCode> {
    let lsn = admin.node.parameters.delete(key)?.ok_or(Failure::NotFound)?;
    admin.node.wait_durable(Some(lsn)).await;
    if key.component == COMPONENT {
        admin.sockets.look().await;
    }
    tell(admin, actor, "parameter.cleared", key);
    Ok(StatusCode::NO_CONTENT)
}

/// Tells of a change by its names. The value, which RabbitMQ tells as well, may have passwords in it.
fn tell(admin: &Admin, actor: &Actor, routing_key: &'static str, key: &Key) {
    let vhost = key.vhost.as_deref().and_then(|name| admin.node.vhost(name));
    let Some(vhost) = vhost else { return };
    let names = [("component", &key.component), ("name", &key.name)];
    let headers = names.map(|(header, name)| (header, name.as_str().into()));
    vhost.tell(&actor.user, &[Event::other(routing_key, headers.into())]);
}

/// Refuses to change a socket of the settings.
///
/// # Errors
/// 400 if it is one.
pub fn not_of_settings(admin: &Admin, vhost: &str, name: &str) -> Result<()> {
    match admin.sockets.get(vhost, name) {
        Some(socket) if socket.origin == Origin::Settings => Err(Failure::BadRequest(format!(
            "socket '{name}' is declared by the settings, and changed there"
        ))),
        _ => Ok(()),
    }
}

/// Refuses to change what only administrators may: a socket is bound on the machine, and lets peers act as a user.
fn may_change(component: &str, actor: &Actor) -> Result<()> {
    match component == COMPONENT && !actor.tags.is_administrator() {
        true => Err(Failure::Refused("Not administrator user".into())),
        false => Ok(()),
    }
}

/// Refuses a parameter that nobody knows, or whose value can't be used.
///
/// # Errors
/// 400 with RabbitMQ's words.
pub fn check(component: &str, name: &str, value: &Value) -> Result<()> {
    check_component(component)?;
    let refused = |text: String| Failure::BadRequest(format!("Validation failed\n\n{text}\n"));
    match component {
        UPSTREAM => check_upstream(name, value),
        COMPONENT => Spec::parse(value).map(drop).map_err(|fault| refused(fault.to_string())),
        _ => Ok(()),
    }
}

fn check_component(component: &str) -> Result<()> {
    if component == POLICY {
        return Err(Failure::BadRequest("policies may not be set using this method".into()));
    }
    if !KEPT.contains(&component) {
        return Err(Failure::BadRequest(format!(
            "Validation failed\n\ncomponent {component} not found\n"
        )));
    }
    Ok(())
}

/// Refuses an upstream without an address, as the plugin that would run it does.
fn check_upstream(name: &str, value: &Value) -> Result<()> {
    let Value::Object(value) = value else {
        return Err(Failure::BadRequest(format!("value: not_object: {value}")));
    };
    let refused = |text: String| Err(Failure::BadRequest(format!("Validation failed\n\n{text}\n")));
    match value.get("uri") {
        Some(Value::String(_) | Value::Array(_)) => Ok(()),
        Some(other) => refused(format!(
            "uri should be a string or a list of strings, actually was {other}"
        )),
        None => refused(format!("Key \"uri\" not found in {name}")),
    }
}

/// An operator policy that came as a parameter: then it must have a priority.
///
/// # Errors
/// 400 with RabbitMQ's words.
pub fn operator_policy(name: &str, fields: &Fields) -> Result<Policy> {
    let value = fields.object("value")?;
    short(name)?;
    if let Some(missing) = ["priority", "pattern", "definition"]
        .iter()
        .find(|key| value.get(key).is_none())
    {
        let text = format!("Validation failed\n\nKey \"{missing}\" not found in {name}\n");
        return Err(Failure::BadRequest(text));
    }
    Policy::parse(Class::Operator, name, &value.all()?).map_err(Failure::BadRequest)
}

async fn remove(Login { admin, actor }: Login, Path((component, vhost, name)): Place) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    if component == Class::Operator.name() {
        let removed = blocking(move || Ok(vhost.delete_policy(Class::Operator, &name, &actor)?)).await?;
        admin.node.wait_durable(removed.ok_or(Failure::NotFound)?.lsn).await;
        return Ok(StatusCode::NO_CONTENT);
    }
    may_change(&component, &actor)?;
    forget(&admin, &actor, &Key::of(&vhost.name, &component, &name)).await
}

/// RabbitMQ gives no pages of these.
async fn global(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::without_pages(&parameters)?;
    let rows = admin.node.parameters.list(|key| key.vhost.is_none());
    aside(admin, move |out| {
        query.list(
            out,
            rows,
            |(key, _)| key.name.as_str().into(),
            |(key, value), o| describe_global(key, value, o),
        )
    })
    .await
}

async fn one_global(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    let key = Key::global(&name);
    let value = admin.node.parameters.get(&key).ok_or(Failure::NotFound)?;
    Ok(ok(json::object(None, |o| describe_global(&key, &value, o))))
}

async fn put_global(Login { admin, .. }: Login, Path(name): Path<String>, body: Input) -> Result<StatusCode> {
    let fields = Fields::parse(&body)?;
    fields.require(&["value"])?;
    let put = admin.node.parameters.put(Key::global(&name), &fields.json("value"))?;
    admin.node.wait_durable(Some(put.lsn)).await;
    Ok(status(put.before.is_none()))
}

async fn remove_global(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<StatusCode> {
    let deleted = admin.node.parameters.delete(&Key::global(&name))?;
    admin.node.wait_durable(Some(deleted.ok_or(Failure::NotFound)?)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A global parameter.
pub fn describe_global(key: &Key, value: &str, o: &mut Object<'_>) {
    o.json("value", value);
    o.text("name", &key.name);
}

/// A parameter that is kept.
pub fn describe_kept(key: &Key, value: &str, with_vhost: bool, o: &mut Object<'_>) {
    o.json("value", value);
    if let Some(vhost) = key.vhost.as_deref().filter(|_| with_vhost) {
        o.text("vhost", vhost);
    }
    o.text("component", &key.component);
    o.text("name", &key.name);
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
