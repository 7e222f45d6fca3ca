//! HTTP for machines: `/metrics`, `/healthz`, `/readyz`.
//!
//! In: requests. Out: metrics and health. Does not know about resources or brokers.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Says whether the process can do its work; the text tells what is missing.
pub type Ready = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// The address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--listen): {why}")]
pub struct Error {
    address: SocketAddr,
    why: std::io::Error,
}

#[derive(Clone)]
struct Served {
    metrics: Metrics,
    ready: Ready,
}

/// Opens the port.
///
/// # Errors
/// The port is in use, or not ours to open.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|why| Error { address, why })
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, metrics: Metrics, ready: Ready, shutdown: CancellationToken) {
    let router = router(Served { metrics, ready });
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "metrics and health are no longer served");
    }
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(served)
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    match (served.ready)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(served): State<Served>) -> axum::response::Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match served.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
