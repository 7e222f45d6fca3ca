//! `/api/vhosts`: the virtual hosts.
//!
//! Comes in: requests. Goes out: RabbitMQ's vhost objects.

use super::error::Result;
use super::http::{Parameters, aside};
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::page::Query;
use super::state::Admin;
use super::stats::depth;
use crate::metrics::rates::QueueRates;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::response::Response;
use axum::routing::get;

/// Vhosts.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/vhosts", get(list))
        .route("/api/vhosts/{vhost}", get(one))
}

async fn list(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhosts = admin.vhosts(None)?;
    aside(admin.clone(), move |out| {
        query.list(
            out,
            vhosts,
            |vhost| vhost.name.as_str().into(),
            |vhost, o| describe(&admin, vhost, &query, o),
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path(name): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhost = admin.vhost(&name)?;
    aside(admin.clone(), move |out| {
        json::put_object(out, query.columns(), |o| describe(&admin, &vhost, &query, o));
        Ok(())
    })
    .await
}

fn describe(admin: &Admin, vhost: &Vhost, query: &Query, o: &mut Object<'_>) {
    let description = if vhost.name == "/" { "Default virtual host" } else { "" };
    o.text("name", &vhost.name);
    o.text("description", description);
    o.array("tags", |_| ());
    o.text("default_queue_type", "classic");
    o.object("metadata", |o| {
        o.text("description", description);
        o.array("tags", |_| ());
        o.text("default_queue_type", "classic");
    });
    o.bool("protected_from_deletion", true);
    o.bool("tracing", false);
    o.object("cluster_state", |o| o.text(&admin.node.name, "running"));
    if query.disable_stats {
        return;
    }
    let mut rates = QueueRates::default();
    for queue in vhost.queues() {
        let of_queue = admin.rates.queue(queue.id);
        rates.ready += of_queue.ready;
        rates.unacked += of_queue.unacked;
    }
    depth(&vhost.sums().all(), &rates, o);
}
