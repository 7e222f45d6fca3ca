//! The few pages for people who come with a browser: what answers here, and where to read on.
//!
//! Comes in: requests without a login. Goes out: HTML without scripts or styles. Does not know about the broker.

use super::login::Gate;
use crate::product::{PRODUCT, VERSION};
use axum::Router;
use axum::response::Html;
use axum::routing::get;

/// Pages.
pub fn router() -> Router<Gate> {
    Router::new()
        .route(
            "/",
            get(|| page("This is the HTTP API of a message broker. There is no console yet.")),
        )
        .route(
            "/api",
            get(|| page("Every path of the API begins here, such as <code>/api/overview</code>.")),
        )
        .route(
            "/cli",
            get(|| page("<code>rabbitmqadmin</code> works with this broker; from here it isn't to be had.")),
        )
}

/// A page for people who want to know what this is.
async fn page(text: &'static str) -> Html<String> {
    Html(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<title>{PRODUCT}</title>\n<h1>{PRODUCT} {VERSION}</h1>\n<p>{text}</p>\n\
         <p>It answers as RabbitMQ's management plugin does: see <code>docs/compatibility.md</code> for all paths, \
         <code>docs/operations.md</code> for how to run it. Probes: <a href=\"/livez\">/livez</a>, \
         <a href=\"/readyz\">/readyz</a>.</p>\n</html>\n"
    ))
}
