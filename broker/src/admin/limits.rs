//! `/api/vhost-limits`, `/api/user-limits`: most connections, channels and queues. There are none in this version.
//!
//! Comes in: requests. Goes out: empty lists, which tools ask for.

use super::login::{Gate, empty};
use axum::Router;
use axum::routing::get;

/// Limits.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/vhost-limits", get(empty))
        .route("/api/user-limits", get(empty))
}
