//! `/api/parameters`, `/api/global-parameters`: settings of plugins, such as shovels. There are none in this version.
//!
//! Comes in: requests. Goes out: empty lists, which tools ask for.

use super::login::{Gate, empty};
use axum::Router;
use axum::routing::get;

/// Parameters.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/parameters", get(empty))
        .route("/api/parameters/{component}", get(empty))
        .route("/api/global-parameters", get(empty))
}
