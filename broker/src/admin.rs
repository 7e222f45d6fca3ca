//! HTTP: RabbitMQ's management API under `/api`, metrics, and probes.
//!
//! Comes in: sockets and the node. Goes out: answers. One file per resource, each a router; this one puts them
//! together. Does not know about AMQP frames.

/// Sockets, and the threads that serve them.
pub mod serve;

/// Pages for browsers.
pub mod pages;

/// `/api/definitions`: the topology as one document.
pub mod definitions;

/// `/api/vhosts`.
pub mod vhosts;

/// `/api/exchanges`.
pub mod exchanges;

/// `/api/queues`.
pub mod queues;

/// Replicas of queues.
pub mod quorum;

/// `/api/bindings`.
pub mod bindings;

/// Messages published and fetched by HTTP.
pub mod messages;

/// `/api/connections`.
pub mod connections;

/// `/api/channels`.
pub mod channels;

/// `/api/consumers`.
pub mod consumers;

/// `/api/permissions`, `/api/topic-permissions`.
pub mod permissions;

/// `/api/login`.
pub mod session;

/// `/api/users`, `/api/whoami`.
pub mod users;

/// `/api/zeromq`.
pub mod zeromq;

/// `/api/shovels`, `/api/federation-links`.
pub mod shovels;

/// `/api/parameters`, `/api/global-parameters`.
pub mod parameters;

/// `/api/policies`, `/api/operator-policies`.
pub mod policies;

/// `/api/vhost-limits`.
pub mod limits;

/// `/api/feature-flags`, `/api/deprecated-features`.
pub mod features;

/// Health checks and probes.
pub mod health;

/// Memory of a node.
pub mod memory;

/// `/api/nodes`.
pub mod nodes;

/// `/api/settings`.
pub mod settings;

/// `/api/overview`, and what other lists show of it.
pub mod overview;

/// `/metrics`.
pub mod scrape;

/// Figures of queues.
pub mod stats;

/// Bodies of requests, read.
pub mod input;

/// The door: credentials, and 503 until the broker has recovered.
pub mod login;

/// Parameters and answers that all resources share.
pub mod http;

/// The broker as the API sees it.
pub mod state;

/// Rights to endpoints.
pub mod rights;

/// Requests of pages from elsewhere.
pub mod guard;

/// Room for bodies of requests.
pub mod room;

/// Long answers, so many at a time.
pub mod answers;

/// Answers, compressed.
pub mod zip;

/// Seats for connections.
pub mod seats;

/// Times for which a socket may keep the broker waiting.
pub mod patience;

/// Limits of users in requests and answers.
pub mod user_limits;

/// Bodies of requests, field by field.
pub mod body;

/// Names of exchanges and queues in a URL.
pub mod names;

/// Lists: pages, filters, order, columns.
pub mod page;

/// Errors as statuses and RabbitMQ's words.
pub mod error;

/// JSON, written.
pub mod json;

/// Times as RabbitMQ writes them.
pub mod time;

use crate::listener::Socket;
use crate::protocol::Protocol;
use axum::Router;
use error::Failure;
use serve::{Front, Web};
use tokio::runtime::Handle;

pub use login::Gate;
pub use state::Admin;

/// Connections to the API at a time, and to metrics and probes: those of one broker's Prometheus, kubelet and people.
const API_CLIENTS: usize = 1000;
const METRICS_CLIENTS: usize = 32;

/// Serves sockets of HTTP until the threads that are returned are dropped. Probes are answered from now on, all else
/// once the gate has been opened. The work of the API is done by `workers`.
///
/// # Errors
/// A thread can't be started.
pub fn serve(gate: &Gate, sockets: Vec<Socket>, workers: &Handle) -> anyhow::Result<[Front; 2]> {
    let is_metrics = |socket: &Socket| socket.listener.service.protocol == Protocol::Metrics;
    let (metrics, api): (Vec<_>, Vec<_>) = sockets.into_iter().partition(is_metrics);
    let web = |app, clients| Web::new(app, gate.clone(), clients, workers.clone());
    Ok([
        web(router(), API_CLIENTS).front("http", api)?,
        web(metrics_router(), METRICS_CLIENTS).front("metrics", metrics)?,
    ])
}

fn metrics_router() -> Router<Gate> {
    Router::new()
        .merge(health::probes())
        .merge(scrape::open())
        .fallback(|| async { Failure::NotFound })
}

fn router() -> Router<Gate> {
    let api = Router::new()
        .merge(overview::router())
        .merge(nodes::router())
        .merge(settings::router())
        .merge(memory::router())
        .merge(vhosts::router())
        .merge(exchanges::router())
        .merge(queues::router())
        .merge(quorum::router())
        .merge(bindings::router())
        .merge(messages::router())
        .merge(connections::router())
        .merge(channels::router())
        .merge(consumers::router())
        .merge(users::router())
        .merge(session::router())
        .merge(permissions::router())
        .merge(policies::router())
        .merge(parameters::router())
        .merge(shovels::router())
        .merge(zeromq::router())
        .merge(limits::router())
        .merge(features::router())
        .merge(definitions::router())
        .merge(health::router());
    Router::new()
        .merge(health::probes())
        .merge(scrape::router())
        .merge(pages::router())
        .merge(api)
        .fallback(|| async { Failure::NotFound })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The routes of a router, which axum tells nowhere but here.
    fn routes(router: &Router<Gate>) -> BTreeSet<String> {
        let text = format!("{router:?}");
        let texts = text
            .split('"')
            .filter(|text| text.starts_with('/') && !text.contains("__private__"));
        texts.map(str::to_owned).collect()
    }

    #[test]
    fn the_rights_to_each_route_are_in_the_table() {
        let served = routes(&router());
        assert!(served.len() > 120, "{served:?}");
        let listed: BTreeSet<String> = rights::routes().map(str::to_owned).collect();
        let (without, gone): (Vec<_>, Vec<_>) = (
            served.difference(&listed).collect(),
            listed.difference(&served).collect(),
        );
        assert!(without.is_empty(), "routes without rights: {without:?}");
        assert!(gone.is_empty(), "rights to what is no route: {gone:?}");
    }
}
