//! `/api/feature-flags`, `/api/deprecated-features`: features that the versions of a cluster agree on. A node has none.
//!
//! Comes in: requests. Goes out: empty lists, which tools ask for.

use super::login::{Gate, empty};
use axum::Router;
use axum::routing::get;

/// Features.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/feature-flags", get(empty))
        .route("/api/deprecated-features", get(empty))
        .route("/api/deprecated-features/used", get(empty))
}
