//! `/api/vhosts`: the virtual hosts.
//!
//! Comes in: requests. Goes out: RabbitMQ's vhost objects; changes through `vhosts`, answered when they are durable.

use super::body::{Fields, short};
use super::error::{Failure, Result};
use super::http::{Parameters, aside, blocking};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::state::Admin;
use super::stats::{counted, delivery_stats, depth, publish_stats};
use crate::accounts;
use crate::metrics::history::Of;
use crate::metrics::rates::{self, OCTETS, Traffics};
use crate::queue::arguments::QueueType;
use crate::vhost::Vhost;
use crate::vhost::settings::Settings;
use crate::vhosts::Deletion;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use leveret_store::{Batch, Lsn};
use serde_json::Value;

/// Vhosts.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/vhosts", get(list))
        .route("/api/vhosts/{vhost}", get(one).put(put).delete(remove))
        .route(
            "/api/vhosts/{vhost}/deletion/protection",
            post(protect).delete(unprotect),
        )
        .route("/api/vhosts/{vhost}/start/{node}", post(start))
}

async fn list(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhosts = admin.vhosts(None)?;
    aside(admin.clone(), move |out| {
        let traffics = Traffics::now(&admin.node);
        query.list(
            out,
            vhosts,
            |vhost| vhost.name.as_str().into(),
            |vhost, o| {
                query.charts_of_row(&admin.rates, &Of::Vhost(vhost.name.clone()), o);
                describe(&admin, vhost, &traffics, &query, o);
            },
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhost = admin.vhost(&name)?;
    aside(admin.clone(), move |out| {
        let traffics = Traffics::now(&admin.node);
        json::put_object(out, query.columns(), |o| {
            query.charts(&admin.rates, &Of::Vhost(vhost.name.clone()), o);
            describe(&admin, &vhost, &traffics, &query, o);
        });
        Ok(())
    })
    .await
}

async fn put(Login { admin, actor }: Login, Path(name): Path<String>, body: Input) -> Result<StatusCode> {
    short(&name)?;
    let change = change(&Fields::parse(&body)?)?;
    let node = admin.node.clone();
    let put = blocking(move || {
        let mut put = node.hosts.put(&name, &actor, change)?;
        if put.created {
            put.lsn = accounts::permit_all(&node, &name, &actor)?.unwrap_or(put.lsn);
        }
        Ok(put)
    });
    let put = put.await?;
    admin.node.wait_durable(Some(put.lsn)).await;
    Ok(match put.created {
        true => StatusCode::CREATED,
        false => StatusCode::NO_CONTENT,
    })
}

async fn remove(Login { admin, actor }: Login, Path(name): Path<String>) -> Result<StatusCode> {
    let node = admin.node.clone();
    let of = name.clone();
    let deletion = blocking(move || {
        let mut users = Vec::new();
        let permissions = |records: &mut Batch| users = node.access.directory.forget_vhost(&of, records);
        let deletion = node.hosts.delete(&of, &node.connections, &actor, permissions)?;
        if matches!(deletion, Deletion::Done(_)) {
            node.parameters.forget_vhost(&of)?;
        }
        accounts::forgotten(&node, &of, users, &actor);
        Ok(deletion)
    });
    match deletion.await? {
        Deletion::Done(lsn) => durable(&admin, lsn).await,
        Deletion::Missing => Err(Failure::NotFound),
        Deletion::Protected => Err(Failure::Precondition(format!(
            "Refusing to delete virtual host '{name}' because it is protected from deletion"
        ))),
    }
}

async fn protect(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<StatusCode> {
    let missing = format!("Cannot enable deletion protection of virtual host '{name}' because it does not exist");
    let lsn = admin.node.hosts.protect(&name, true)?;
    durable(&admin, lsn.ok_or(Failure::Missing(missing))?).await
}

async fn unprotect(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<StatusCode> {
    let lsn = admin.node.hosts.protect(&name, false)?;
    durable(&admin, lsn.ok_or(Failure::NotFound)?).await
}

/// A vhost of a broker of one node always runs.
async fn start(Login { admin, .. }: Login, Path((name, node)): Path<(String, String)>) -> Result<StatusCode> {
    let here = &admin.node.name;
    if node != *here {
        return Err(Failure::BadRequest(format!("Unknown node: {node}")));
    }
    match admin.node.vhost(&name) {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Failure::BadRequest(format!(
            "Request to node {here} failed with {{no_such_vhost,<<\"{name}\">>}}"
        ))),
    }
}

async fn durable(admin: &Admin, lsn: Lsn) -> Result<StatusCode> {
    admin.node.wait_durable(Some(lsn)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The change that metadata make to settings.
///
/// # Errors
/// 400 for values that can't be.
pub fn change(fields: &Fields) -> Result<impl FnOnce(&mut Settings) + use<>> {
    let change = Change::parse(fields)?;
    Ok(move |settings: &mut Settings| {
        settings.description = change.description;
        settings.tags = change.tags;
        settings.default_queue_type = change.default_queue_type;
        settings.tracing = change.tracing.unwrap_or(settings.tracing);
    })
}

/// The settings in a body. Those that it leaves out become the usual ones, but for tracing (RabbitMQ).
struct Change {
    description: String,
    tags: Vec<String>,
    default_queue_type: Option<QueueType>,
    tracing: Option<bool>,
}

impl Change {
    fn parse(fields: &Fields) -> Result<Self> {
        Ok(Self {
            description: fields.text("description")?.unwrap_or_default().to_owned(),
            tags: tags(fields.get("tags"))?,
            default_queue_type: queue_type(fields.get("default_queue_type"))?,
            tracing: fields.get("tracing").map(|_| fields.bool("tracing")).transpose()?,
        })
    }
}

/// Tags: a list, or a text with commas.
fn tags(value: Option<&Value>) -> Result<Vec<String>> {
    let wrong = |value: &Value| Failure::BadRequest(format!("tags: not_string: {value}"));
    let tag = |tag: &Value| tag.as_str().map(str::to_owned).ok_or_else(|| wrong(tag));
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split(',').map(|tag| tag.trim().to_owned()).collect()),
        Some(Value::Array(list)) => list.iter().map(tag).collect(),
        Some(other) => Err(wrong(other)),
    }
}

fn queue_type(value: Option<&Value>) -> Result<Option<QueueType>> {
    let wrong = |text: String| Err(Failure::BadRequest(text));
    match value {
        None => Ok(None),
        Some(Value::String(name)) if name == "undefined" => Ok(None),
        Some(Value::String(name)) if name.is_empty() => {
            wrong("default_queue_type must not be an empty string".to_owned())
        }
        Some(Value::String(name)) => match QueueType::of_name(name) {
            Some(queue_type) => Ok(Some(queue_type)),
            None => wrong(format!("{name} is not a valid queue type")),
        },
        Some(other) => wrong(format!("{other} is not a valid default_queue_type value")),
    }
}

fn describe(admin: &Admin, vhost: &Vhost, traffics: &Traffics, query: &Query, o: &mut Object<'_>) {
    let settings = vhost.settings();
    o.text("name", &vhost.name);
    about(&settings, o);
    o.object("metadata", |o| metadata(&settings, o));
    o.bool("protected_from_deletion", settings.is_protected());
    o.bool("tracing", settings.tracing);
    o.object("cluster_state", |o| o.text(&admin.node.name, "running"));
    if query.disable_stats {
        return;
    }
    figures(admin, vhost, traffics, o);
}

/// Messages that have come, gone and wait. RabbitMQ leaves out what there was nothing of.
fn figures(admin: &Admin, vhost: &Vhost, traffics: &Traffics, o: &mut Object<'_>) {
    let (rates, octets) = (admin.rates.vhost(&vhost.name), traffics.of(vhost));
    if octets != [0; 2] {
        counted(&OCTETS, octets, rates.octets, o);
    }
    let (all, published) = (vhost.sums().all(), rates::published(&vhost.published));
    depth(&all, &rates.queues, o);
    if published != [0; 4] || all.totals.last_active.is_some() {
        o.object("message_stats", |o| {
            publish_stats(published, rates.published, o);
            delivery_stats(&all.totals, &rates.queues, o);
        });
    }
}

/// The settings that RabbitMQ calls metadata.
pub fn metadata(settings: &Settings, o: &mut Object<'_>) {
    about(settings, o);
    if let Some(protected) = settings.protected {
        o.bool("protected_from_deletion", protected);
    }
}

/// The settings that stand beside the metadata, too.
fn about(settings: &Settings, o: &mut Object<'_>) {
    o.text("description", &settings.description);
    o.array("tags", |list| settings.tags.iter().for_each(|tag| list.text(tag)));
    o.text("default_queue_type", settings.queue_type_name());
}
