//! Real clients, as their registries have them: each sends, receives, gets confirms, and is refused.
//!
//! In: a broker, and the client's tool chain. Out: one test for each client and step; the six tutorials with pika; the
//! programs of examples/clients; ZeroMQ's clients, each with every pattern.
//! A client whose tool chain is absent is skipped with the reason printed (`REQUIRE_CLIENTS=1`: a failure).
//! Does not know about the wire.

use std::path::PathBuf;
use std::process::{Command, Output};

use harness::Broker;
use harness::programs::said;

/// Go's amqp091-go.
mod amqp091;

/// Node's amqplib.
mod amqplib;

/// Python's Celery, with workers of its own.
mod celery;

/// The programs of `examples/clients`, as they stand there.
mod examples;

/// RabbitMQ's own client for Java.
mod java;

/// Rust's lapin, in this process.
mod lapin;

/// Python's pika.
mod pika;

/// The clients' tool chains: installed once from their registries into the cache outside the clone.
mod tools;

/// The programs of `examples/zeromq`, as they stand there.
mod zeromq_examples;

/// The six classic tutorials, with pika.
mod tutorials;

/// ZeroMQ's four implementations, against sockets of the broker.
mod zeromq;

/// Every step of a client's `check` program is a test.
#[macro_export]
macro_rules! steps {
    ($($test:ident: $step:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            let Some(command) = command() else { return };
            $crate::passes(command, $step);
        })*
    };
}

/// Runs a step of a client's check against the shared broker; it must print `ok`.
fn passes(mut command: Command, step: &str) {
    at_broker(&mut command);
    let output = command
        .arg(step)
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success() && last_line(&output) == "ok",
        "{command:?}: {}",
        said(&output)
    );
}

/// Tells a client where the broker is.
fn at_broker(command: &mut Command) {
    let address = Broker::shared().amqp();
    command
        .env("AMQP_HOST", address.ip().to_string())
        .env("AMQP_PORT", address.port().to_string());
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .unwrap_or_default()
        .to_string()
}

/// A file of this folder.
fn file(name: &str) -> PathBuf {
    harness::place::repository().join("tests/clients").join(name)
}
