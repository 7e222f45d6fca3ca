//! The parts of requests and answers that all resources share.
//!
//! Comes in: parameters of a URL, JSON. Goes out: answers. Does not know about the broker.

use super::error::{Failure, Result};
use super::state::Admin;
use super::zip::Zip;
use crate::pieces::Pieces;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::sync::Arc;

/// The type of nearly all answers.
pub const JSON: &str = "application/json";

/// The parameters of a URL.
pub type Parameters = axum::extract::Query<HashMap<String, String>>;

/// True for `name=true`.
pub fn is_true(parameters: &HashMap<String, String>, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value == "true")
}

/// An answer with a JSON body.
pub fn ok(body: Vec<u8>) -> Response {
    with_status(StatusCode::OK, body)
}

/// An answer with a JSON body and another status than 200.
pub fn with_status(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}

/// An answer that takes milliseconds or more (long lists), written away from the threads that serve clients.
///
/// # Errors
/// Those of `write`; 503 if too many are under way; 500 if it was broken off.
pub async fn aside(
    admin: Arc<Admin>,
    write: impl FnOnce(&mut Pieces) -> Result<()> + Send + 'static,
) -> Result<Response> {
    admin.answers.of((JSON, Zip::new(admin.zips)), write).await
}

/// Work that takes milliseconds or more, away from the threads that serve clients.
///
/// # Errors
/// Those of `work`; 500 if it was broken off.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(|| {
        let done = work();
        leveret_alloc::give_back();
        done
    });
    let done = done.await;
    done.map_err(|_| Failure::Internal("the request was broken off".into()))?
}
