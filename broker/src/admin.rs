//! The HTTP API: RabbitMQ's management API under `/api`, metrics, and probes.
//!
//! Comes in: bound sockets and the node. Goes out: answers. One file per resource, each a router; this one puts them
//! together. Does not know about AMQP frames.

/// `/api/vhosts`.
pub mod vhosts;

/// `/api/exchanges`.
pub mod exchanges;

/// `/api/queues`.
pub mod queues;

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

/// `/api/definitions`: the topology as one document.
pub mod definitions;

/// `/api/permissions`, `/api/topic-permissions`.
pub mod permissions;

/// `/api/users`, `/api/whoami`.
pub mod users;

/// `/api/parameters`, `/api/global-parameters`.
pub mod parameters;

/// `/api/policies`, `/api/operator-policies`.
pub mod policies;

/// `/api/vhost-limits`, `/api/user-limits`.
pub mod limits;

/// `/api/feature-flags`, `/api/deprecated-features`.
pub mod features;

/// `/api/nodes`.
pub mod nodes;

/// `/api/overview`, and what other lists show of it.
pub mod overview;

/// Health checks and probes.
pub mod health;

/// `/metrics`.
pub mod scrape;

/// Figures of queues.
pub mod stats;

/// The door: credentials, and 503 until the broker has recovered.
pub mod login;

/// The broker as the API sees it.
pub mod state;

/// Bodies of requests, field by field.
pub mod body;

/// Names of exchanges and queues in a URL.
pub mod names;

/// Lists: pages, filters, order, columns.
pub mod page;

/// Parameters and answers that all resources share.
pub mod http;

/// Errors as statuses and RabbitMQ's words.
pub mod error;

/// JSON, written.
pub mod json;

/// Times as RabbitMQ writes them.
pub mod time;

/// Sockets, with and without TLS.
pub mod sockets;

use crate::listener::Socket;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use error::Failure;
use sockets::{PeerAddress, PlainListener, TlsListener};

pub use login::Gate;
pub use state::Admin;

/// Largest body of a request, bytes (RabbitMQ's `management.http.max_body_size`).
const BODY_MAX_BYTES: usize = 20_000_000;

impl Gate {
    /// Serves one socket until the task is dropped.
    ///
    /// # Errors
    /// The socket can't be used.
    pub async fn serve(self, socket: Socket) -> std::io::Result<()> {
        let app = router().with_state(self);
        let app = app.into_make_service_with_connect_info::<PeerAddress>();
        match socket.certificates {
            None => axum::serve(PlainListener::new(socket.socket, socket.descriptors)?, app).await,
            Some(certificates) => {
                let listener = TlsListener::new(socket.socket, certificates, socket.descriptors)?;
                axum::serve(listener, app).await
            }
        }
    }
}

fn router() -> Router<Gate> {
    let api = Router::new()
        .merge(overview::router())
        .merge(nodes::router())
        .merge(vhosts::router())
        .merge(exchanges::router())
        .merge(queues::router())
        .merge(bindings::router())
        .merge(messages::router())
        .merge(connections::router())
        .merge(channels::router())
        .merge(consumers::router())
        .merge(users::router())
        .merge(permissions::router())
        .merge(policies::router())
        .merge(parameters::router())
        .merge(limits::router())
        .merge(features::router())
        .merge(definitions::router())
        .merge(health::router())
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES));
    Router::new()
        .merge(health::probes())
        .merge(scrape::router())
        .merge(api)
        .fallback(|| async { Failure::NotFound })
}
