//! `/api/bindings`: lists of all, of one vhost, of one end, of two ends; bind and unbind.
//!
//! Comes in: requests. Goes out: RabbitMQ's binding objects, each with the `properties_key` by which its URL names it;
//! changes through `vhost`, answered when they are durable.

use super::body::{Fields, short};
use super::error::{Failure, Result};
use super::http::{Parameters, aside, ok};
use super::input::Input;
use super::json::{self, Object, quoted, unquoted};
use super::login::{Gate, Login};
use super::names::from_url;
use super::page::Query;
use super::state::Admin;
use crate::error::Error;
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::vhost::{Topology, Vhost};
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use leveret_amqp::{RawTable, ShortString};
use std::sync::Arc;

/// Bindings.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/bindings", get(list_all))
        .route("/api/bindings/{vhost}", get(list_vhost))
        .route(
            "/api/bindings/{vhost}/e/{source}/{kind}/{destination}",
            get(list_between).post(bind),
        )
        .route(
            "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{key}",
            get(one).delete(unbind),
        )
}

/// A binding with its vhost.
type Row = (Arc<Vhost>, Binding);

/// Which bindings a list is about: those with these ends.
#[derive(Default)]
pub struct Scope {
    source: Option<ShortString>,
    destination: Option<(DestinationKind, ShortString)>,
}

impl Scope {
    /// Those from an exchange.
    pub fn from(exchange: ShortString) -> Self {
        Self {
            source: Some(exchange),
            destination: None,
        }
    }

    /// Those to an exchange.
    pub fn to_exchange(exchange: ShortString) -> Self {
        Self {
            source: None,
            destination: Some((DestinationKind::Exchange, exchange)),
        }
    }

    /// Those to a queue.
    pub fn to_queue(queue: ShortString) -> Self {
        Self {
            source: None,
            destination: Some((DestinationKind::Queue, queue)),
        }
    }

    fn has(&self, source: &ShortString) -> bool {
        self.source.as_ref().is_none_or(|wanted| wanted == source)
    }

    /// The bindings, sorted.
    fn collect(&self, topology: &Topology) -> Vec<Binding> {
        let mut found: Vec<Binding> = match &self.destination {
            Some((kind, name)) => topology.bindings_to(*kind, name).cloned().collect(),
            None => {
                let all = topology.incoming.values().flatten();
                let wanted = all.filter(|binding| self.has(&binding.source));
                wanted.map(|binding| Binding::clone(binding)).collect()
            }
        };
        found.retain(|binding| self.has(&binding.source));
        if self.has(&ShortString::new()) {
            match &self.destination {
                Some((DestinationKind::Queue, name)) => {
                    found.extend(topology.queues.get(name).map(|_| default_binding(name)))
                }
                Some((DestinationKind::Exchange, _)) => {}
                None => found.extend(topology.queues.keys().map(default_binding)),
            }
        }
        found.sort_by(|a, b| order(a).cmp(&order(b)));
        found
    }
}

fn order(binding: &Binding) -> (&ShortString, DestinationKind, &ShortString, &ShortString) {
    (
        &binding.source,
        binding.destination_kind,
        &binding.destination,
        &binding.routing_key,
    )
}

async fn list_all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(&admin, None, Query::without_pages(&parameters)?, Scope::default()).await
}

async fn list_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(
        &admin,
        Some(&vhost),
        Query::without_pages(&parameters)?,
        Scope::default(),
    )
    .await
}

/// Answers with the bindings of `scope`.
///
/// # Errors
/// 404 for a vhost that doesn't exist, 400 for a page that doesn't.
pub async fn list(admin: &Arc<Admin>, vhost: Option<&str>, query: Query, scope: Scope) -> Result<Response> {
    let vhosts = admin.vhosts(vhost)?;
    aside(admin.clone(), move |out| {
        let mut rows: Vec<Row> = Vec::new();
        for vhost in vhosts {
            let bindings = scope.collect(&vhost.topology());
            rows.extend(bindings.into_iter().map(|binding| (vhost.clone(), binding)));
        }
        query.list(
            out,
            rows,
            |(_, binding)| binding.source.to_str_lossy(),
            |(vhost, binding), o| describe(vhost, binding, o),
        )
    })
    .await
}

type Ends = Path<(String, String, String, String)>;

/// The binding that a URL names: source, and kind and name of the destination.
///
/// # Errors
/// 404 for another kind than `q` and `e`, 400 for names that are too long.
fn ends(source: &str, kind: &str, destination: &str) -> Result<Scope> {
    let destination = match kind {
        "q" => (DestinationKind::Queue, short(destination)?),
        "e" => (DestinationKind::Exchange, short(from_url(destination))?),
        _ => return Err(Failure::NotFound),
    };
    Ok(Scope {
        source: Some(short(from_url(source))?),
        destination: Some(destination),
    })
}

async fn list_between(
    Login { admin, .. }: Login,
    Path((vhost, source, kind, destination)): Ends,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::without_pages(&parameters)?;
    // Ends that don't exist have no bindings.
    let scope = ends(&source, &kind, &destination)?;
    list(&admin, Some(&vhost), query, scope).await
}

async fn bind(
    Login { admin, actor }: Login,
    Path((vhost, source, kind, destination)): Ends,
    body: Input,
) -> Result<Response> {
    let vhost = admin.vhost_of_change(&vhost)?;
    let scope = ends(&source, &kind, &destination)?;
    let fields = Fields::parse(&body)?;
    let (Some(source), Some((destination_kind, name))) = (scope.source, scope.destination) else {
        return Err(Failure::NotFound);
    };
    let binding = Binding {
        source,
        destination_kind,
        destination: name,
        routing_key: fields.short("routing_key")?.unwrap_or_default(),
        arguments: Sorted::try_from(RawTable::from(fields.table("arguments")?)).map_err(Error::from)?,
    };
    admin.check_enters(&vhost)?;
    let change = vhost.bind(binding.clone(), &actor)?;
    admin.node.wait_durable(change.lsn).await;
    // Relative to the request's URL, and quoted once more, as RabbitMQ sends it: clients take the last part as it is.
    let location = format!(
        "{}/{}",
        quoted(destination.as_bytes()),
        quoted_key(&properties_key(&binding))
    );
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

/// A properties key for a URL: `~` stays, as it separates.
fn quoted_key(key: &str) -> String {
    let parts: Vec<String> = key.split('~').map(|part| quoted(part.as_bytes())).collect();
    parts.join("~")
}

type Key = Path<(String, String, String, String, String)>;

async fn one(Login { admin, .. }: Login, Path((vhost, source, kind, destination, key)): Key) -> Result<Response> {
    let vhost = admin.vhost(&vhost)?;
    let scope = ends(&source, &kind, &destination)?;
    let binding = find(&vhost, &scope, &key)?;
    Ok(ok(json::object(None, |o| describe(&vhost, &binding, o))))
}

async fn unbind(
    Login { admin, actor }: Login,
    Path((vhost, source, kind, destination, key)): Key,
) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    let scope = ends(&source, &kind, &destination)?;
    let binding = find(&vhost, &scope, &key)?;
    admin.check_enters(&vhost)?;
    let change = vhost.unbind(&binding, &actor)?;
    admin.node.wait_durable(change.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The binding that a properties key names: as it is shown, or with its routing key not quoted (some clients quote it
/// once only).
fn find(vhost: &Vhost, scope: &Scope, key: &str) -> Result<Binding> {
    let bindings = scope.collect(&vhost.topology());
    let exact = bindings.iter().find(|binding| properties_key(binding) == key);
    let lenient = || {
        let (routing_key, hash) = key.rsplit_once('~').unwrap_or((key, ""));
        let routing_key = unquoted(routing_key);
        bindings.iter().find(|binding| {
            let same = if binding.arguments.is_empty() {
                hash.is_empty()
            } else {
                arguments_hash(&binding.arguments) == hash
            };
            same && binding.routing_key.as_bytes() == routing_key
        })
    };
    exact.or_else(lenient).cloned().ok_or(Failure::NotFound)
}

/// Every queue is bound to the default exchange by its name (AMQP 0-9-1, 3.1.3.1).
pub fn default_binding(queue: &ShortString) -> Binding {
    Binding {
        source: ShortString::new(),
        destination_kind: DestinationKind::Queue,
        destination: queue.clone(),
        routing_key: queue.clone(),
        arguments: Sorted::default(),
    }
}

/// A binding as RabbitMQ shows it.
pub fn describe(vhost: &Vhost, binding: &Binding, o: &mut Object<'_>) {
    o.name("source", &binding.source);
    o.text("vhost", &vhost.name);
    o.name("destination", &binding.destination);
    o.text("destination_type", binding.destination_kind.name());
    o.name("routing_key", &binding.routing_key);
    o.table("arguments", &binding.arguments.to_table());
    if o.wants("properties_key") {
        o.text("properties_key", &properties_key(binding));
    }
}

/// The last part of a binding's URL: the quoted key, `~` if it is empty, and behind another `~` a hash of the
/// arguments.
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
fn arguments_hash(arguments: &RawTable) -> String {
    let mut bytes = Vec::new();
    arguments.encode(&mut bytes);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::FieldValue;

    fn binding(key: &str, arguments: &[(&'static str, i64)]) -> Binding {
        let pair = |(name, value): &(&'static str, i64)| (ShortString::from_static(name), FieldValue::Long(*value));
        Binding {
            source: ShortString::from_static("x"),
            destination_kind: DestinationKind::Queue,
            destination: ShortString::from_static("q"),
            routing_key: ShortString::try_from(key).expect("short"),
            arguments: arguments.iter().map(pair).collect(),
        }
    }

    #[test]
    fn keys_are_written_as_rabbitmq_does() {
        assert_eq!(properties_key(&binding("", &[])), "~");
        assert_eq!(properties_key(&binding("a.#", &[])), "a.%23");
        assert_eq!(properties_key(&binding("a b/c~d", &[])), "a+b%2Fc%7Ed");
        let (one, two) = (binding("k", &[("a", 1)]), binding("k", &[("a", 2)]));
        assert!(properties_key(&one).starts_with("k~"));
        assert_ne!(properties_key(&one), properties_key(&two));
        assert!(properties_key(&binding("", &[("a", 1)])).starts_with('~'));
        assert_eq!(quoted_key("a.%23~x-_"), "a.%2523~x-_");
    }
}
