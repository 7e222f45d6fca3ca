//! ZeroMQ's sockets on the broker: declared, bound, served.
//!
//! In: a broker, peers that speak ZMTP. Out: answers of the HTTP API, messages on either side. Does not know about how
//! the broker is built.

use harness::http::{Answer, Http};
use serde_json::{Value, json};
use std::time::Duration;

/// The course of a connection.
mod course;

/// Logins of peers.
mod logins;

/// PULL.
mod pull;

/// PUSH.
mod push;

/// XSUB and XPUB.
mod topics;

/// ROUTER and DEALER.
mod requests;

/// Crashes and restarts.
mod durable;

/// Rights.
mod rights;

/// Sockets over HTTP: declared, bound, changed, deleted.
mod sockets;

/// The time that figures and reactions may take.
const SOON: Duration = Duration::from_secs(10);

/// A socket on any free port of this machine for peers of PUSH sockets, with more or other fields.
fn pull(more: Value) -> Value {
    let mut value = json!({"listen": "tcp://127.0.0.1:0", "type": "pull", "queue": "jobs", "user": "guest"});
    for (field, other) in more.as_object().expect("fields") {
        value[field] = other.clone();
    }
    value
}

/// The path of a socket of the first vhost.
fn path(name: &str) -> String {
    format!("/api/zeromq/sockets/%2F/{name}")
}

/// Declares a socket and gives the port that it listens on.
fn declare(api: &Http, name: &str, value: &Value) -> u16 {
    let put = api.request("PUT", &path(name), Some(value));
    assert!([201, 204].contains(&put.status), "{put:?}");
    port(&api.get(&path(name)))
}

/// The port of a socket that listens.
fn port(socket: &Value) -> u16 {
    let port = socket["address"]
        .as_str()
        .and_then(|address| address.rsplit(':').next());
    port.and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("{socket}"))
}

/// The reason of a refusal with this status.
fn reason(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.json()["reason"].as_str().expect("a reason").to_owned()
}

/// A socket over HTTP.
fn figures(api: &Http, name: &str) -> Value {
    api.get(&path(name))
}
