//! `/api/exchanges`: lists, one exchange, declare, delete, publish.
//!
//! Comes in: requests. Goes out: RabbitMQ's exchange objects; changes through `vhost`, answered when they are durable.

use super::bindings;
use super::body::{Fields, short};
use super::error::{Failure, Result};
use super::http::{Parameters, aside, is_true, ok};
use super::input::Input;
use super::json::{self, Object};
use super::login::{Gate, Login};
use super::names::{exchange as exchange_named, from_url};
use super::page::Query;
use super::policies;
use super::state::Admin;
use super::stats::counted;
use crate::access::INTERNAL_USER;
use crate::access::users::GUEST;
use crate::exchange::traffic::Traffic;
use crate::exchange::{Definition, Exchange};
use crate::metrics::history::Of;
use crate::metrics::rates::{self, PASSED};
use crate::policy::Applied;
use crate::vhost::Vhost;
use axum::Router;
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use leveret_amqp::ShortString;
use leveret_amqp::method::ExchangeDeclare;
use std::sync::Arc;

/// Exchanges.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/exchanges", get(list_all))
        .route("/api/exchanges/{vhost}", get(list_vhost))
        .route("/api/exchanges/{vhost}/{name}", get(one).put(declare).delete(remove))
        .route("/api/exchanges/{vhost}/{name}/bindings/source", get(bindings_from))
        .route("/api/exchanges/{vhost}/{name}/bindings/destination", get(bindings_to))
}

/// An exchange as a list shows it.
struct Row {
    definition: Definition,
    policies: Option<Arc<Applied>>,
    traffic: Arc<Traffic>,
}

impl Row {
    fn of(exchange: &Exchange) -> Self {
        Self {
            definition: exchange.definition.clone(),
            policies: exchange.policies.clone(),
            traffic: exchange.traffic.clone(),
        }
    }
}

async fn list_all(Login { admin, .. }: Login, extract::Query(parameters): Parameters) -> Result<Response> {
    list(admin, None, Query::parse(&parameters)?).await
}

async fn list_vhost(
    Login { admin, .. }: Login,
    Path(vhost): Path<String>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    list(admin, Some(vhost), Query::parse(&parameters)?).await
}

async fn list(admin: Arc<Admin>, vhost: Option<String>, query: Query) -> Result<Response> {
    let vhosts = admin.vhosts(vhost.as_deref())?;
    aside(admin.clone(), move |out| {
        let mut rows: Vec<(Arc<Vhost>, Row)> = Vec::new();
        for vhost in vhosts {
            let topology = vhost.topology();
            let mut exchanges: Vec<Row> = topology.exchanges.values().map(Row::of).collect();
            drop(topology);
            exchanges.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
            rows.extend(exchanges.into_iter().map(|exchange| (vhost.clone(), exchange)));
        }
        let declarer = declarer(&admin);
        query.list(
            out,
            rows,
            |(_, exchange)| exchange.definition.name.to_str_lossy(),
            |(vhost, exchange), o| {
                query.charts_of_row(&admin.rates, &Of::Exchange(exchange.traffic.id), o);
                describe(&admin, vhost, exchange, (&declarer, &query), o);
            },
        )
    })
    .await
}

async fn one(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::parse(&parameters)?;
    let vhost = admin.vhost(&vhost)?;
    let exchange = vhost.topology().exchanges.get(from_url(&name).as_bytes()).map(Row::of);
    let exchange = exchange.ok_or(Failure::NotFound)?;
    let declarer = declarer(&admin);
    Ok(ok(json::object(query.columns(), |o| {
        query.charts(&admin.rates, &Of::Exchange(exchange.traffic.id), o);
        describe(&admin, &vhost, &exchange, (&declarer, &query), o);
        if !query.disable_stats {
            // RabbitMQ fills these with the rates of each channel and queue only where it is told to.
            o.array("incoming", |_| ());
            o.array("outgoing", |_| ());
        }
    })))
}

async fn declare(
    Login { admin, actor }: Login,
    Path((vhost, name)): Path<(String, String)>,
    body: Input,
) -> Result<StatusCode> {
    let vhost = admin.vhost_of_change(&vhost)?;
    admin.check_enters(&vhost)?;
    let fields = Fields::parse(&body)?;
    let declare = ExchangeDeclare {
        exchange: short(from_url(&name))?,
        kind: fields.short("type")?.unwrap_or(ShortString::from_static("direct")),
        durable: fields.bool("durable")?,
        auto_delete: fields.bool("auto_delete")?,
        internal: fields.bool("internal")?,
        arguments: fields.table("arguments")?.into(),
        ..ExchangeDeclare::default()
    };
    let change = vhost.declare_exchange(&declare, &actor)?;
    admin.node.wait_durable(change.lsn).await;
    Ok(if change.changed {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

async fn remove(
    Login { admin, actor }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<StatusCode> {
    let vhost = admin.vhost(&vhost)?;
    let exchange = exchange_named(&vhost, from_url(&name))?;
    admin.check_enters(&vhost)?;
    let change = vhost.delete_exchange(&exchange.name, is_true(&parameters, "if-unused"), &actor)?;
    admin.node.wait_durable(change.lsn).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn bindings_from(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::without_pages(&parameters)?;
    let exchange = short(from_url(&name))?;
    bindings::list(&admin, Some(&vhost), query, bindings::Scope::from(exchange)).await
}

async fn bindings_to(
    Login { admin, .. }: Login,
    Path((vhost, name)): Path<(String, String)>,
    extract::Query(parameters): Parameters,
) -> Result<Response> {
    let query = Query::without_pages(&parameters)?;
    let exchange = short(from_url(&name))?;
    bindings::list(&admin, Some(&vhost), query, bindings::Scope::to_exchange(exchange)).await
}

/// The user that exchanges were declared by, as far as that is known: it isn't recorded, and is the settings' one.
fn declarer(admin: &Admin) -> String {
    admin.node.access.administrator().unwrap_or_else(|| GUEST.to_owned())
}

fn describe(admin: &Admin, vhost: &Vhost, row: &Row, (declarer, query): (&str, &Query), o: &mut Object<'_>) {
    let exchange = &row.definition;
    o.name("name", &exchange.name);
    o.text("vhost", &vhost.name);
    o.text("type", exchange.kind.name);
    o.bool("durable", exchange.durable);
    o.bool("auto_delete", exchange.auto_delete);
    o.bool("internal", exchange.internal);
    o.table("arguments", &exchange.arguments.to_table());
    let predeclared = exchange.name.is_empty() || exchange.name.as_bytes().starts_with(b"amq.");
    let user = if predeclared { INTERNAL_USER } else { declarer };
    o.text("user_who_performed_action", user);
    policies::of_object(row.policies.as_deref(), o);
    let counts = rates::passed(&row.traffic);
    if counts != [0; 2] && !query.disable_stats {
        let rates = admin.rates.exchange(&row.traffic);
        o.object("message_stats", |o| counted(&PASSED, counts, rates, o));
    }
}
