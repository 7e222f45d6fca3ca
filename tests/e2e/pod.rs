//! The sender as a pod of its own: what an application in the cluster is.
//!
//! In: the environment: `AMQP_URI`, as the broker's Secret has it, and `QUEUE`. Out: a line `MILLISECONDS NUMBER` for
//! each confirmed message, until the pod is deleted. Does not know about what takes the broker away.

use std::env;
use std::io::Write;
use std::time::Instant;

/// Numbered messages without end, whatever happens to the broker.
mod sending;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that it is installed already
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (uri, queue) = (variable("AMQP_URI"), variable("QUEUE"));
    let start = Instant::now();
    let mut out = std::io::stdout();
    sending::send_on(&uri, &queue, |number| {
        // Nobody but the log reads this, and it reads until the pod ends.
        let _ = writeln!(out, "{} {number}", start.elapsed().as_millis());
        false
    })
    .await;
}
