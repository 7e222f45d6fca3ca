//! `/api/definitions`: everything that was declared, in one document that RabbitMQ and this broker can load.
//!
//! Comes in: requests. Goes out: RabbitMQ's definitions (`export`); what one says, made (`import`).

/// Documents that a start loads.
pub mod start;

/// Documents, made.
pub mod import;

/// Users of documents.
pub mod people;

/// Objects of documents.
pub mod objects;

/// Steps of an import, each with the way back.
pub mod steps;

/// A document, taken apart.
pub mod document;

/// A document, written.
pub mod export;

use super::error::Result;
use super::http::{Parameters, aside, blocking};
use super::input::Definitions;
use super::json;
use super::login::{Gate, Login};
use super::state::Admin;
use crate::access::Actor;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use document::Document;
use std::collections::HashMap;
use std::sync::Arc;

/// Definitions.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/definitions", get(all).post(load))
        .route("/api/all-configuration", get(all).post(load))
        .route("/api/definitions/{vhost}", get(of_vhost).post(load_into))
}

async fn all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let vhosts = admin.vhosts(None)?;
    let answer = aside(admin.clone(), move |out| {
        json::put_object(out, None, |o| export::cluster(&admin, &vhosts, o));
        Ok(())
    });
    answer.await.map(|answer| as_file(answer, &parameters))
}

async fn of_vhost(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let vhost = admin.vhost(&name)?;
    let answer = aside(admin.clone(), move |out| {
        json::put_object(out, None, |o| export::of_vhost(&admin, &vhost, o));
        Ok(())
    });
    answer.await.map(|answer| as_file(answer, &parameters))
}

async fn load(Login { admin, actor }: Login, body: Definitions) -> Result<StatusCode> {
    make(admin, actor, None, body).await
}

async fn load_into(Login { admin, actor }: Login, Path(vhost): Path<String>, body: Definitions) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    make(admin, actor, Some(vhost), body).await
}

async fn make(
    admin: Arc<Admin>,
    actor: Actor,
    vhost: Option<Arc<Vhost>>,
    Definitions(body): Definitions,
) -> Result<StatusCode> {
    let most = admin.room.values();
    let document = blocking(move || {
        let document = Document::parse(&body, most)?;
        // The body is not needed any more, but what was counted for it is.
        Ok((document, body))
    });
    let (document, _counted) = document.await?;
    import::import(&admin.node, vec![(None, document)], actor, vhost).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// With `download=NAME` a browser saves the answer as a file.
fn as_file(mut answer: Response, parameters: &HashMap<String, String>) -> Response {
    let name = parameters.get("download").map(|name| name.replace(['"', '\\'], "_"));
    let named = name.and_then(|name| HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).ok());
    if let Some(named) = named {
        answer.headers_mut().insert(CONTENT_DISPOSITION, named);
    }
    answer
}
