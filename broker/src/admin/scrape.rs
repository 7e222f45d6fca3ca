//! `/metrics`, `/metrics/per-object`, `/metrics/detailed`, `/metrics/memory-breakdown`: for Prometheus.
//!
//! Comes in: requests. Goes out: what `metrics` writes. On the port that is there for it, as in RabbitMQ, no password
//! is needed; on those of the API there is.

use super::answers::Answers;
use super::error::{Failure, Result};
use super::login::{Gate, Login, Open};
use super::page;
use super::zip::{self, Zip};
use crate::metrics::{self, Service};
use crate::pieces::Pieces;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4";

/// The parameters of a URL, of which some may be there several times.
type Pairs = Query<Vec<(String, String)>>;

/// Metrics without login.
pub fn open() -> Router<Gate> {
    Router::new()
        .route("/metrics", get(aggregated))
        .route("/metrics/per-object", get(per_object))
        .route("/metrics/memory-breakdown", get(memory))
        .route("/metrics/detailed", get(detailed))
}

/// Metrics with login.
pub fn router() -> Router<Gate> {
    Router::new()
        .route(
            "/metrics",
            get(|_: Login, headers, gate, open| aggregated(headers, gate, open)),
        )
        .route(
            "/metrics/per-object",
            get(|_: Login, headers, open| per_object(headers, open)),
        )
        .route(
            "/metrics/memory-breakdown",
            get(|_: Login, headers, open| memory(headers, open)),
        )
        .route(
            "/metrics/detailed",
            get(|_: Login, headers, open, pairs| detailed(headers, open, pairs)),
        )
}

async fn aggregated(headers: HeaderMap, State(gate): State<Gate>, Open(admin): Open) -> Result<Response> {
    let [_, sums] = admin.scrapes.clone();
    let (http_connections, http_ousted) = gate.connections();
    let service = Service {
        http_connections,
        http_ousted,
        held: gate.watch().held(),
        longest: gate.watch().longest(),
        sockets: admin.sockets.list(),
    };
    text(sums, &headers, move |out| {
        metrics::aggregated(&admin.node, &admin.data_dir, &service, out);
        Ok(())
    })
    .await
}

async fn per_object(headers: HeaderMap, Open(admin): Open) -> Result<Response> {
    let [objects, _] = admin.scrapes.clone();
    text(objects, &headers, move |out| {
        metrics::per_object(&admin.node, &admin.data_dir, &admin.rates, out);
        Ok(())
    })
    .await
}

async fn memory(headers: HeaderMap, Open(admin): Open) -> Result<Response> {
    let [_, sums] = admin.scrapes.clone();
    text(sums, &headers, move |out| {
        metrics::memory_breakdown(&admin.node, &admin.data_dir, out);
        Ok(())
    })
    .await
}

async fn detailed(headers: HeaderMap, Open(admin): Open, Query(pairs): Pairs) -> Result<Response> {
    let [objects, _] = admin.scrapes.clone();
    text(objects, &headers, move |out| {
        let last = |wanted: &str| {
            pairs
                .iter()
                .rfind(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let wrong = |error| Failure::BadRequest(format!("queue is not a regular expression: {error}"));
        let queue = last("queue").map(page::pattern).transpose().map_err(wrong)?;
        let vhost = last("vhost");
        let keep = |of: &str, name: &str| {
            vhost.is_none_or(|vhost| vhost == of) && queue.as_ref().is_none_or(|queue| queue.matches(name.as_bytes()))
        };
        let families = pairs.iter().filter(|(name, _)| name == "family");
        let families: Vec<String> = families.map(|(_, family)| family.clone()).collect();
        let node = (&*admin.node, admin.data_dir.as_path());
        metrics::detailed(node, &admin.rates, &families, (vhost, keep), out);
        Ok(())
    })
    .await
}

async fn text(
    answers: Answers,
    headers: &HeaderMap,
    write: impl FnOnce(&mut Pieces) -> Result<()> + Send + 'static,
) -> Result<Response> {
    let zip = Zip::new(zip::is_accepted(headers));
    answers.of((TEXT, zip), write).await
}
