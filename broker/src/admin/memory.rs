//! `/api/nodes/NAME/memory`: what the memory of the process is used for.
//!
//! Comes in: the break-down of `metrics`. Goes out: RabbitMQ's objects.

use super::error::Result;
use super::http::{Parameters, ok};
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::nodes::is_this;
use super::page::Query;
use crate::metrics::memory::{Breakdown, Use};
use crate::metrics::usage::Usage;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;

/// The break-down of memory.
pub fn router() -> Router<Gate> {
    let at = |path: &str| format!("/api/nodes/{{name}}/memory{path}");
    Router::new()
        .route(&at(""), get(absolute))
        .route(&at("/relative"), get(relative))
        .route(&at("/ets"), get(ets))
        .route(&at("/ets/{filter}"), get(ets_filtered))
        .route(&at("/ets/{filter}/relative"), get(ets_filtered))
}

async fn absolute(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    is_this(&admin, &name)?;
    let query = Query::parse(&parameters)?;
    let memory = Breakdown::now(&admin.node, &Usage::now(&admin.data_dir));
    Ok(ok(json::object(query.columns(), |o| {
        o.object("memory", |o| {
            memory
                .uses
                .iter()
                .for_each(|Use { name, bytes, .. }| o.number(name, *bytes));
            o.text("strategy", "rss");
            o.object("total", |o| {
                ["erlang", "rss", "allocated"]
                    .into_iter()
                    .for_each(|name| o.number(name, memory.total));
            });
        });
    })))
}

/// In per cent, rounded up.
async fn relative(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    is_this(&admin, &name)?;
    let memory = Breakdown::now(&admin.node, &Usage::now(&admin.data_dir));
    let part = |bytes: u64| (bytes * 100).div_ceil(memory.total.max(1));
    Ok(ok(json::object(None, |o| {
        o.object("memory", |o| {
            o.number("total", 100);
            memory
                .uses
                .iter()
                .for_each(|Use { name, bytes, .. }| o.number(name, part(*bytes)));
        });
    })))
}

/// There are no tables of Erlang's: RabbitMQ's answer about some that don't exist.
fn no_tables(o: &mut Object<'_>) {
    o.text("ets_tables_memory", "no_tables");
}

async fn ets(Login { admin, .. }: Login, Path(name): Path<String>) -> Result<Response> {
    is_this(&admin, &name)?;
    Ok(ok(json::object(None, no_tables)))
}

async fn ets_filtered(Login { admin, .. }: Login, Path((name, _)): Path<(String, String)>) -> Result<Response> {
    is_this(&admin, &name)?;
    Ok(ok(json::object(None, no_tables)))
}
