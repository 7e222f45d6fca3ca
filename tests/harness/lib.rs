//! The base of every system test: the programs under test as processes, and clients that speak to them.
//!
//! In: the built binaries, an environment. Out: handles a test can drive, with a deadline on everything.
//! Does not know about the programs' insides; it meets them on the wire, on their command line and on their exit.

/// Waiting for something with a deadline.
pub mod wait;

/// The processes of a test die with it, however it ends.
pub mod reaper;

/// The broker as a process: started, killed, drained, started again.
pub mod broker_process;

/// Small file systems of a test's own.
pub mod volume;

/// Processes with little memory.
pub mod control_group;

/// Frames over a socket, one by one, as a test wants them.
pub mod scripted_client;

/// ZeroMQ sockets, message by message.
pub mod zeromq;

/// Methods a test sends often, in one word each.
pub mod requests;

/// The management API: JSON over HTTP.
pub mod http;

/// Publishes and confirms, compared with what was found afterwards.
pub mod history;

/// A real Kubernetes control plane.
pub mod api_server;

/// Resources of RabbitMQ's topology operator.
pub mod rabbitmq_resources;

/// helm and kubectl, as a user types them.
pub mod kubectl;

/// Keys and certificates.
pub mod certificates;

/// Programs from registries.
pub mod programs;

/// An identity provider.
pub mod issuer;

/// Any other program as a process.
pub mod process;

/// The operator as a process.
pub mod operator_process;

/// Paths of the built programs and the repository's files.
pub mod place;

pub use broker_process::Broker;
pub use scripted_client::Client;

/// Ends a test early because something it needs is absent; prints why. `REQUIRE_...=1` turns that into a failure, so
/// that a gate cannot pass by skipping.
pub fn skip(requirement: &str, reason: &str) {
    if std::env::var(requirement).is_ok_and(|value| value == "1") {
        panic!("{reason} ({requirement}=1)");
    }
    eprintln!("skipped: {reason}");
}
