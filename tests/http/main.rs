//! Answers of the management API: each route once, with the fields that tools insist on.
//!
//! In: a broker. Out: statuses, bodies and effects. All of it also holds for RabbitMQ 4.3
//! (`LEVERET_TEST_AMQP=HOST:PORT`, `LEVERET_TEST_HTTP=HOST:PORT`) except where a test says that it is Leveret's own.
//! Does not know about how the broker is built.

use std::time::Duration;

use harness::http::{Answer, Http};
use harness::{Broker, Client};
use serde_json::Value;

/// Bindings over HTTP.
mod bindings;

/// Connections, channels and consumers over HTTP.
mod connections;

/// Definitions loaded, and parameters.
mod definitions;

/// Exchanges over HTTP.
mod exchanges;

/// Definitions, exported and loaded again.
mod exported;

/// Logins, health checks, probes and metrics.
mod health;

/// Pages, filters, order and columns of lists.
mod lists;

/// Counters of messages, on whatever they are shown.
mod figures;

/// Answers of a node that is alone.
mod alone;

/// Messages over HTTP.
mod messages;

/// The broker about itself: overview, nodes, vhosts, users, definitions.
mod overview;

/// Permissions over HTTP.
mod permissions;

/// Policies over HTTP.
mod policies;

/// Queues over HTTP.
mod queues;

/// Virtual hosts over HTTP.
mod vhosts;

/// Small endpoints.
mod small;

/// Tags of users.
mod tags;

/// Users over HTTP.
mod users;

/// The time that a figure may take to appear (RabbitMQ's statistics are up to five seconds old).
const FIGURES: Duration = Duration::from_secs(15);

/// The API as guest.
fn http() -> Http {
    Http::new(Broker::shared().http())
}

/// A connection with channel 1 open.
fn client() -> Client {
    Client::with_channel(Broker::shared().amqp())
}

/// True if the broker under test is RabbitMQ itself.
fn is_rabbitmq() -> bool {
    Broker::shared().is_external() && http().get("/api/overview")["product_name"] == "RabbitMQ"
}

/// Any request with a JSON body, or without for `Null`.
fn send(method: &str, path: &str, body: Value) -> Answer {
    http().request(method, path, Some(&body).filter(|body| !body.is_null()))
}

/// The status of a request without a body.
fn status(method: &str, path: &str) -> u16 {
    send(method, path, Value::Null).status
}

/// A request that must be refused with this status, `error` and `reason`.
fn refused(method: &str, path: &str, body: Value, (status, error, reason): (u16, &str, &str)) {
    let answer = send(method, path, body);
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    let body = answer.json();
    assert_eq!(body["error"], error, "{method} {path}");
    assert_eq!(body["reason"], reason, "{method} {path}");
}

/// Every answer about something that isn't there.
const NOT_FOUND: (u16, &str, &str) = (404, "Object Not Found", "Not Found");

/// Fields that must be there.
fn has(value: &Value, fields: &[&str]) {
    for field in fields {
        let found = field.split('.').try_fold(value, |value, name| value.get(name));
        assert!(found.is_some(), "no {field} in {value}");
    }
}
