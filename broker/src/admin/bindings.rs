//! `/api/bindings`: lists of all, of one vhost, of one end, of two ends; bind and unbind.
//!
//! Comes in: requests. Goes out: RabbitMQ's binding objects, each with the `properties_key` by which its URL names it; changes
//! through `vhost`, answered when they are durable.

use super::error::Result;
use super::json::{Object, quoted};
use super::page::Query;
use super::{Admin, Gate, Login, aside};
use crate::exchange::binding::{Binding, DestinationKind};
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;
use base64::Engine;
use leveret_amqp::{FieldTable, ShortString};
use std::collections::HashMap;
use std::sync::Arc;

/// Bindings.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/bindings", get(list_all))
        .route("/api/bindings/{vhost}", get(list_vhost))
}

type Parameters = extract::Query<HashMap<String, String>>;

/// A binding with its vhost.
type Row = (Arc<Vhost>, Binding);

async fn list_all(Login(admin): Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(&admin, None, Query::parse(&parameters)?, |_| true).await
}

async fn list_vhost(
    Login(admin): Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(&admin, Some(&vhost), Query::parse(&parameters)?, |_| true).await
}

/// Answers with those bindings that `keep` says.
///
/// # Errors
/// 404 for a vhost that doesn't exist, 400 for a page that doesn't.
pub async fn list(
    admin: &Admin,
    vhost: Option<&str>,
    query: Query,
    keep: impl Fn(&Binding) -> bool + Send + 'static,
) -> Result<Response> {
    let vhosts = admin.vhosts(vhost)?;
    aside(move || {
        let mut rows: Vec<Row> = Vec::new();
        for vhost in vhosts {
            let mut bindings = collect(&vhost, &keep);
            bindings.sort_by(|a, b| order(a).cmp(&order(b)));
            rows.extend(bindings.into_iter().map(|binding| (vhost.clone(), binding)));
        }
        query.list(
            rows,
            |(_, binding)| binding.source.to_str_lossy(),
            |(vhost, binding), o| describe(vhost, binding, o),
        )
    })
    .await
}

fn order(binding: &Binding) -> (&ShortString, DestinationKind, &ShortString, &ShortString) {
    (
        &binding.source,
        binding.destination_kind,
        &binding.destination,
        &binding.routing_key,
    )
}

fn collect(vhost: &Vhost, keep: &impl Fn(&Binding) -> bool) -> Vec<Binding> {
    let topology = vhost.topology();
    let implicit = topology
        .queues
        .keys()
        .map(default_binding)
        .filter(|binding| keep(binding));
    let declared = topology
        .incoming
        .values()
        .flatten()
        .filter(|binding| keep(binding))
        .cloned();
    implicit.chain(declared).collect()
}

/// Every queue is bound to the default exchange by its name (AMQP 0-9-1, 3.1.3.1).
pub fn default_binding(queue: &ShortString) -> Binding {
    Binding {
        source: ShortString::new(),
        destination_kind: DestinationKind::Queue,
        destination: queue.clone(),
        routing_key: queue.clone(),
        arguments: FieldTable::new(),
    }
}

/// A binding as RabbitMQ shows it.
pub fn describe(vhost: &Vhost, binding: &Binding, o: &mut Object<'_>) {
    o.name("source", &binding.source);
    o.text("vhost", &vhost.name);
    o.name("destination", &binding.destination);
    o.text("destination_type", binding.destination_kind.name());
    o.name("routing_key", &binding.routing_key);
    o.table("arguments", &binding.arguments);
    if o.wants("properties_key") {
        o.text("properties_key", &properties_key(binding));
    }
}

/// The last part of a binding's URL: the quoted key, `~` if it is empty, and behind another `~` a hash of the arguments.
pub fn properties_key(binding: &Binding) -> String {
    match (binding.routing_key.is_empty(), binding.arguments.is_empty()) {
        (true, true) => "~".to_owned(),
        (_, true) => quoted(binding.routing_key.as_bytes()),
        (_, false) => format!(
            "{}~{}",
            quoted(binding.routing_key.as_bytes()),
            arguments_hash(&binding.arguments)
        ),
    }
}

/// FNV-1a over the encoded arguments. Clients take it as it is; it only has to be the same for the same arguments.
fn arguments_hash(arguments: &FieldTable) -> String {
    let mut bytes = Vec::new();
    arguments.encode(&mut bytes);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.to_be_bytes())
}
