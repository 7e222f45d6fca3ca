//! `/api/policies`, `/api/operator-policies`: arguments for queues by their names. There are none in this version.
//!
//! Comes in: requests. Goes out: empty lists, which tools ask for.

use super::login::{Gate, empty};
use axum::Router;
use axum::routing::get;

/// Policies.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/policies", get(empty))
        .route("/api/policies/{vhost}", get(empty))
        .route("/api/operator-policies", get(empty))
        .route("/api/operator-policies/{vhost}", get(empty))
}
