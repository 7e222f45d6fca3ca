//! `/metrics`, `/metrics/per-object`, `/metrics/detailed`: for Prometheus, without login, as RabbitMQ has them on its
//! own port.
//!
//! Comes in: requests. Goes out: what `metrics` writes.

use super::error::{Failure, Result};
use super::http::Parameters;
use super::login::{Gate, Open};
use super::page;
use crate::metrics;
use axum::Router;
use axum::extract;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The one family of `/metrics/detailed` that there is.
const FAMILY: &str = "queue_coarse_metrics";

/// Metrics.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/metrics", get(aggregated))
        .route("/metrics/per-object", get(per_object))
        .route("/metrics/detailed", get(detailed))
}

async fn aggregated(Open(admin): Open) -> Result<Response> {
    text(move || metrics::aggregated(&admin.node, &admin.data_dir)).await
}

async fn per_object(Open(admin): Open) -> Result<Response> {
    text(move || metrics::per_object(&admin.node, &admin.rates)).await
}

async fn detailed(Open(admin): Open, extract::Query(parameters): Parameters) -> Result<Response> {
    if parameters.get("family").is_none_or(|family| family != FAMILY) {
        let reason = format!("family: this broker has {FAMILY}");
        return Err(Failure::BadRequest(reason));
    }
    let wrong = |error| Failure::BadRequest(format!("queue is not a regular expression: {error}"));
    let queue = parameters
        .get("queue")
        .map(|queue| page::pattern(queue))
        .transpose()
        .map_err(wrong)?;
    let vhost = parameters.get("vhost").cloned();
    text(move || {
        metrics::queue_coarse(&admin.node, |of, name| {
            vhost.as_ref().is_none_or(|vhost| vhost == of)
                && queue.as_ref().is_none_or(|queue| queue.is_match(name.as_bytes()))
        })
    })
    .await
}

async fn text(write: impl FnOnce() -> String + Send + 'static) -> Result<Response> {
    let done = tokio::task::spawn_blocking(write).await;
    let text = done.map_err(|_| Failure::Internal("the request was broken off".into()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
