//! Tools that speak RabbitMQ's management API, and what dashboards read: each does with a broker what its users do.
//!
//! In: a broker, and programs from their registries. Out: one test for each tool, or for what is known of its requests.
//! A tool that can't be had is skipped with the reason printed (`REQUIRE_CLIENTS=1`: a failure).
//! Does not know about AMQP beyond the load that figures are shown of.

use std::path::PathBuf;
use std::time::Duration;

use harness::Broker;
use harness::http::Http;
use serde_json::Value;

/// Dashboards and alert rules, by the metrics that they ask for.
mod grafana;

/// Load for figures to be of.
mod load;

/// Programs that only read: scalers, monitors, exporters.
mod readers;

/// Go's client of the API, by its own tests.
mod rabbit_hole;

/// The command line of RabbitMQ's API.
mod rabbitmqadmin;

/// Terraform's provider.
mod terraform;

/// The time that a figure may take to appear.
const FIGURES: Duration = Duration::from_secs(15);

/// The API as guest.
fn http() -> Http {
    Http::new(Broker::shared().http())
}

/// The status of a request.
fn status(method: &str, path: &str, body: &Value) -> u16 {
    http()
        .request(method, path, Some(body).filter(|body| !body.is_null()))
        .status
}

/// A file of this folder.
fn file(name: &str) -> PathBuf {
    harness::place::repository().join("tests/tools").join(name)
}
