//! `/api/definitions`: everything that was declared, in one document that RabbitMQ and this broker can load.
//!
//! Comes in: requests. Goes out: RabbitMQ's definitions; what one says, made (`import`).

/// A document, made.
pub mod import;

/// A document, taken apart.
pub mod document;

use super::error::Result;
use super::http::{Parameters, aside, blocking};
use super::input::Definitions;
use super::json::{self, Array, Object};
use super::login::{Gate, Login};
use super::state::Admin;
use super::{limits, parameters, policies, vhosts};
use crate::access::Actor;
use crate::exchange::binding::Binding;
use crate::parameters::{CLUSTER_ID, Key};
use crate::policy::Class;
use crate::product::{PRODUCT, RABBITMQ_VERSION, VERSION};
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use document::Document;
use import::import;
use std::collections::HashMap;
use std::sync::Arc;

/// Definitions.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/definitions", get(all).post(load))
        .route("/api/all-configuration", get(all).post(load))
        .route("/api/definitions/{vhost}", get(of_vhost).post(load_into))
}

async fn all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let vhosts = admin.vhosts(None)?;
    let answer = aside(admin.clone(), move |out| {
        json::put_object(out, None, |o| {
            versions(&admin, "cluster", o);
            // The only user is one of the settings. A user without a hash of the password would lock out the one of
            // that name wherever the document is loaded; rights of a user who isn't there are refused.
            ["users", "permissions"].iter().for_each(|none| o.array(none, |_| ()));
            o.array("vhosts", |list| {
                vhosts.iter().for_each(|vhost| list.object(|o| describe(vhost, o)));
            });
            o.array("topic_permissions", |_| ());
            global_parameters(&admin, o);
            policies_of(&admin, &vhosts, true, o);
            topology(&vhosts, true, o);
        });
        Ok(())
    });
    answer.await.map(|answer| as_file(answer, &parameters))
}

async fn of_vhost(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let vhosts = admin.vhosts(Some(&name))?;
    let answer = aside(admin.clone(), move |out| {
        json::put_object(out, None, |o| {
            versions(&admin, "single_virtual_host", o);
            let settings = vhosts.iter().map(|vhost| vhost.settings()).next().unwrap_or_default();
            o.object("limits", |o| limits::describe(&settings, o));
            o.object("metadata", |o| vhosts::about(&settings, o));
            policies_of(&admin, &vhosts, false, o);
            topology(&vhosts, false, o);
        });
        Ok(())
    });
    answer.await.map(|answer| as_file(answer, &parameters))
}

async fn load(Login { admin, actor }: Login, body: Definitions) -> Result<StatusCode> {
    make(admin, actor, None, body).await
}

async fn load_into(Login { admin, actor }: Login, Path(vhost): Path<String>, body: Definitions) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    make(admin, actor, Some(vhost), body).await
}

async fn make(
    admin: Arc<Admin>,
    actor: Actor,
    vhost: Option<Arc<Vhost>>,
    Definitions(body): Definitions,
) -> Result<StatusCode> {
    let node = admin.node.clone();
    let made = blocking(move || {
        let document = Document::parse(&body)?;
        import(&node, &document, &actor, vhost.as_ref())
    });
    admin.node.wait_durable(made.await?).await;
    Ok(StatusCode::NO_CONTENT)
}

/// With `download=NAME` a browser saves the answer as a file.
fn as_file(mut answer: Response, parameters: &HashMap<String, String>) -> Response {
    let name = parameters.get("download").map(|name| name.replace(['"', '\\'], "_"));
    let named = name.and_then(|name| HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).ok());
    if let Some(named) = named {
        answer.headers_mut().insert(CONTENT_DISPOSITION, named);
    }
    answer
}

fn versions(admin: &Admin, format: &str, o: &mut Object<'_>) {
    o.text("rabbitmq_definition_format", format);
    o.text("original_cluster_name", &admin.node.cluster_name());
    o.text("rabbit_version", RABBITMQ_VERSION);
    o.text("rabbitmq_version", RABBITMQ_VERSION);
    o.text("product_name", PRODUCT);
    o.text("product_version", VERSION);
}

fn describe(vhost: &Vhost, o: &mut Object<'_>) {
    let settings = vhost.settings();
    o.text("name", &vhost.name);
    o.object("limits", |o| limits::describe(&settings, o));
    o.object("metadata", |o| vhosts::about(&settings, o));
}

/// Global parameters, but for what this cluster is known by: no other is to have it.
fn global_parameters(admin: &Admin, o: &mut Object<'_>) {
    let known = |key: &Key| key.vhost.is_none() && key.name != CLUSTER_ID;
    o.array("global_parameters", |list| {
        for (key, value) in admin.node.parameters.list(known) {
            list.object(|o| parameters::describe_global(&key, &value, o));
        }
    });
}

/// Policies, and operator policies, which are parameters here as they are in RabbitMQ.
fn policies_of(admin: &Admin, vhosts: &[Arc<Vhost>], with_vhost: bool, o: &mut Object<'_>) {
    o.array("parameters", |list| {
        for (vhost, policy) in policies::rows(Class::Operator, vhosts) {
            let vhost = with_vhost.then_some(vhost.name.as_str());
            list.object(|o| parameters::describe(vhost, &policy, o));
        }
        for (key, value) in admin.node.parameters.list(|key| key.vhost.is_some()) {
            if vhosts.iter().any(|vhost| key.vhost.as_deref() == Some(&vhost.name)) {
                list.object(|o| parameters::describe_kept(&key, &value, with_vhost, o));
            }
        }
    });
    o.array("policies", |list| {
        for (vhost, policy) in policies::rows(Class::User, vhosts) {
            list.object(|o| {
                if with_vhost {
                    o.text("vhost", &vhost.name);
                }
                o.text("name", &policy.name);
                policies::says(&policy, o);
            });
        }
    });
}

/// Objects that a client has declared and that outlive it: without predeclared exchanges, the default exchange's
/// bindings and exclusive queues.
fn topology(vhosts: &[Arc<Vhost>], with_vhost: bool, o: &mut Object<'_>) {
    let place = |vhost: &Vhost, o: &mut Object<'_>| {
        if with_vhost {
            o.text("vhost", &vhost.name);
        }
    };
    o.array("queues", |list| {
        for vhost in vhosts {
            let mut queues = vhost.queues();
            queues.retain(|queue| queue.definition.owner.is_none());
            queues.sort_by(|a, b| a.name().cmp(b.name()));
            for queue in queues {
                list.object(|o| {
                    o.name("name", queue.name());
                    place(vhost, o);
                    o.text("type", queue.definition.arguments.values.queue_type().name());
                    o.bool("durable", queue.definition.durable);
                    o.bool("auto_delete", queue.definition.auto_delete);
                    o.table("arguments", &queue.definition.arguments.declared.to_table());
                });
            }
        }
    });
    o.array("exchanges", |list| {
        for vhost in vhosts {
            let topology = vhost.topology();
            let mut exchanges: Vec<_> = topology.exchanges.values().map(|x| x.definition.clone()).collect();
            drop(topology);
            exchanges.retain(|x| !x.name.is_empty() && !x.name.as_bytes().starts_with(b"amq."));
            exchanges.sort_by(|a, b| a.name.cmp(&b.name));
            for exchange in exchanges {
                list.object(|o| {
                    o.name("name", &exchange.name);
                    place(vhost, o);
                    o.text("type", exchange.kind.name);
                    o.bool("durable", exchange.durable);
                    o.bool("auto_delete", exchange.auto_delete);
                    o.bool("internal", exchange.internal);
                    o.table("arguments", &exchange.arguments.to_table());
                });
            }
        }
    });
    o.array("bindings", |list| {
        for vhost in vhosts {
            bindings(vhost, list, &place);
        }
    });
}

fn bindings(vhost: &Vhost, list: &mut Array<'_>, place: &impl Fn(&Vhost, &mut Object<'_>)) {
    let topology = vhost.topology();
    let exclusive = |binding: &&Arc<Binding>| {
        let queue = topology.queues.get(&binding.destination);
        queue.is_some_and(|queue| queue.definition.owner.is_some())
    };
    let all = topology.incoming.values().flatten();
    let mut bindings: Vec<Arc<Binding>> = all.filter(|binding| !exclusive(binding)).cloned().collect();
    drop(topology);
    bindings
        .sort_by(|a, b| (&a.source, &a.destination, &a.routing_key).cmp(&(&b.source, &b.destination, &b.routing_key)));
    for binding in bindings {
        list.object(|o| {
            o.name("source", &binding.source);
            place(vhost, o);
            o.name("destination", &binding.destination);
            o.text("destination_type", binding.destination_kind.name());
            o.name("routing_key", &binding.routing_key);
            o.table("arguments", &binding.arguments.to_table());
        });
    }
}
