//! Probes and health checks: is it alive, does it take clients, is memory or disk space short.
//!
//! Comes in: nothing. Goes out: 200, or 503 with the reason. Costs next to nothing: for a probe every second.

use super::error::{Failure, Result};
use super::http::{ok, with_status};
use super::json;
use super::login::{Gate, Login, Open};
use super::nodes::is_this;
use super::state::Admin;
use super::time::{millis, second};
use crate::limits::alarms::Resource;
use crate::protocol::{Listener, Service};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use std::time::SystemTime;

/// The resource of an alarm by which no publisher is stopped: connections are refused.
const DESCRIPTORS: &str = "file_descriptor_limit";

/// Probes without login.
pub fn probes() -> Router<Gate> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// RabbitMQ's health checks.
pub fn router() -> Router<Gate> {
    Router::new()
        .route("/api/health/checks/alarms", get(alarms))
        .route("/api/health/checks/local-alarms", get(alarms))
        .route("/api/health/checks/log-damage", get(damage))
        .route("/api/health/checks/virtual-hosts", get(serving))
        .route("/api/health/checks/ready-to-serve-clients", get(serving_anyone))
        .route("/api/health/checks/is-in-service", get(serving_anyone))
        .route("/api/health/checks/below-node-connection-limit", get(serving_anyone))
        .route("/api/health/checks/reached-target-cluster-size", get(serving_anyone))
        .route("/api/health/checks/metadata-store/initialized", get(serving))
        .route("/api/health/checks/metadata-store/initialized/with-data", get(serving))
        .route(
            "/api/health/checks/certificate-expiration/{within}/{unit}",
            get(certificates),
        )
        .route("/api/health/checks/node-is-quorum-critical", get(quorum))
        .route("/api/health/checks/port-listener/{port}", get(port))
        .route("/api/health/checks/protocol-listener/{protocol}", get(protocol))
        .route(
            "/api/health/checks/quorum-queues-without-elected-leaders/all-vhosts",
            get(led),
        )
        .route(
            "/api/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}",
            get(led),
        )
        .route(
            "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}",
            get(led),
        )
        .route(
            "/api/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{pattern}",
            get(led),
        )
        .route("/api/healthchecks/node", get(serving))
        .route("/api/healthchecks/node/{node}", get(node))
        .route("/api/aliveness-test/{vhost}", get(alive))
}

/// 503 once the threads that serve clients will take no work any more: then only a new process helps.
async fn livez(State(gate): State<Gate>) -> Result<&'static str> {
    if gate.watch().is_alive() {
        return Ok("ok\n");
    }
    let text = format!("no thread has served a client for {} s", gate.watch().idle().as_secs());
    Err(Failure::Unavailable(text))
}

async fn readyz(Open(admin): Open) -> Result<&'static str> {
    in_service(&admin).map(|()| "ok\n")
}

/// 503 from the moment the broker is told to stop.
fn in_service(admin: &Admin) -> Result<()> {
    if admin.node.connections.is_draining() {
        return Err(Failure::Unavailable("the broker is stopping".into()));
    }
    Ok(())
}

fn fine() -> Response {
    ok(json::object(None, |o| o.text("status", "ok")))
}

/// Not one of RabbitMQ's: damaged places in the log, met at start, when a message was read, or by the look at older
/// files that follows a start.
async fn damage(Login { admin, .. }: Login) -> Response {
    let places = admin.node.log.damage();
    if places.is_empty() {
        return fine();
    }
    let body = json::object(None, |o| {
        o.text("status", "failed");
        o.text(
            "reason",
            "Damaged places in the log; what they held is lost, the rest is served",
        );
        o.array("damage", |list| {
            for place in &places {
                list.object(|o| {
                    o.text("file", &place.file.display().to_string());
                    o.number("offset", place.offset);
                    o.number("bytes", place.len);
                });
            }
        });
    });
    with_status(StatusCode::SERVICE_UNAVAILABLE, body)
}

async fn alarms(Login { admin, .. }: Login) -> Response {
    let mut raised: Vec<_> = admin.node.alarms.raised().map(Resource::name).collect();
    if admin.node.descriptors.alarm() {
        raised.push(DESCRIPTORS);
    }
    if raised.is_empty() {
        return fine();
    }
    let body = json::object(None, |o| {
        o.text("status", "failed");
        o.text("reason", "There are alarms in effect in the cluster");
        o.array("alarms", |alarms| {
            for resource in &raised {
                alarms.object(|alarm| {
                    alarm.text("node", &admin.node.name);
                    alarm.text("resource", resource);
                });
            }
        });
    });
    with_status(StatusCode::SERVICE_UNAVAILABLE, body)
}

async fn serving(Login { admin, .. }: Login) -> Response {
    answer(&admin)
}

/// The same without a login, as RabbitMQ has some of them.
async fn serving_anyone(Open(admin): Open) -> Response {
    answer(&admin)
}

fn answer(admin: &Admin) -> Response {
    match in_service(admin) {
        Ok(()) => fine(),
        Err(reason) => {
            let body = json::object(None, |o| {
                o.text("status", "failed");
                o.text("reason", &reason.to_string());
            });
            with_status(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

async fn node(login: Login, Path(node): Path<String>) -> Result<Response> {
    is_this(&login.admin, &node)?;
    Ok(serving(login).await)
}

/// Every quorum queue is led by the node that there is, whichever are asked about.
async fn led(_: Login) -> Response {
    fine()
}

async fn quorum(_: Login) -> Response {
    ok(json::object(None, |o| {
        o.text("status", "ok");
        o.text("reason", "single node cluster");
    }))
}

async fn alive(Login { admin, .. }: Login, Path(vhost): Path<String>) -> Result<Response> {
    admin.check_enters(&*admin.vhost(&vhost)?)?;
    Ok(fine())
}

async fn port(Login { admin, .. }: Login, Path(port): Path<String>) -> Result<Response> {
    let port: u64 = port.parse().map_err(|_| Failure::BadRequest("Invalid port".into()))?;
    let mut ports: Vec<u64> = admin
        .listeners()
        .iter()
        .map(|listener| listener.address.port().into())
        .collect();
    ports.dedup();
    if ports.contains(&port) {
        return Ok(ok(json::object(None, |o| {
            o.number("port", port);
            o.text("status", "ok");
        })));
    }
    let body = json::object(None, |o| {
        o.text("status", "failed");
        o.text("reason", "No active listener");
        o.number("missing", port);
        o.array("ports", |list| ports.iter().for_each(|port| list.number(*port)));
    });
    Ok(with_status(StatusCode::SERVICE_UNAVAILABLE, body))
}

/// Certificates that end within some time.
async fn certificates(Login { admin, .. }: Login, Path((within, unit)): Path<(String, String)>) -> Result<Response> {
    let wrong = |text: &str| Failure::BadRequest(text.into());
    let days = match unit.trim_end_matches('s') {
        "day" => 1,
        "week" => 7,
        "month" => 30,
        "year" => 365,
        _ => {
            return Err(wrong(
                "Time unit not recognised. Supported units: days, weeks, months, years.",
            ));
        }
    };
    let within: u32 = within.parse().map_err(|_| wrong("Invalid expiration value."))?;
    let until = (millis(SystemTime::now()) / 1000) as i64 + i64::from(within) * days * 86_400;
    let ends = admin
        .certificates
        .as_ref()
        .and_then(|certificates| certificates.expires());
    let Some(ends) = ends.filter(|ends| *ends < until) else {
        return Ok(fine());
    };
    let body = json::object(None, |o| {
        o.text("status", "failed");
        o.text("reason", "Certificates expiring");
        o.array("expired", |list| {
            for Listener { service, address } in admin.listeners().iter().filter(|listener| listener.service.tls) {
                list.object(|o| {
                    o.text("node", &admin.node.name);
                    o.text("protocol", service.shown_as());
                    o.text("interface", &address.ip().to_string());
                    o.number("port", address.port().into());
                    o.text("certfile_expires_on", &second(ends));
                });
            }
        });
    });
    Ok(with_status(StatusCode::SERVICE_UNAVAILABLE, body))
}

/// One protocol, or several with commas between them.
async fn protocol(Login { admin, .. }: Login, Path(wanted): Path<String>) -> Response {
    let listeners = admin.listeners();
    let services = listeners.iter().map(|listener| listener.service);
    let listens = |name: &str| services.clone().any(|service| service.known_as.contains(&name));
    let missing: Vec<&str> = wanted.split(',').filter(|name| !listens(name)).collect();
    let mut protocols: Vec<&str> = services.clone().map(Service::shown_as).collect();
    protocols.dedup();
    let body = json::object(None, |o| {
        o.text("status", if missing.is_empty() { "ok" } else { "failed" });
        if !missing.is_empty() {
            o.text("reason", "No active listener");
            o.array("missing", |list| missing.iter().for_each(|name| list.text(name)));
        }
        o.array("protocols", |list| {
            protocols.iter().for_each(|protocol| list.text(protocol))
        });
    });
    let status = match missing.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    with_status(status, body)
}
