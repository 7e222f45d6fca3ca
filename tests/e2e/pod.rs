//! The sender as a pod of its own: what an application in the cluster is.
//!
//! In: the environment: `QUEUE`, and `AMQP_URI`, as the broker's Secret has it; or `AMQP_HOST` and `TOKEN_FILE`, with
//! the token of its service account, which the kubelet keeps fresh. Out: a line `MILLISECONDS NUMBER` for each
//! confirmed message, until the pod is deleted. Does not know about what takes the broker away.

use std::env;
use std::fs;
use std::io::Write;
use std::time::Instant;

/// Numbered messages without end, whatever happens to the broker.
mod sending;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that it is installed already
    let queue = variable("QUEUE");
    let start = Instant::now();
    let mut out = std::io::stdout();
    sending::send_on(uri, &queue, |number| {
        // Nobody but the log reads this, and it reads until the pod ends.
        let _ = writeln!(out, "{} {number}", start.elapsed().as_millis());
        false
    })
    .await;
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn uri() -> String {
    let Ok(file) = env::var("TOKEN_FILE") else {
        return variable("AMQP_URI");
    };
    let token = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    format!("amqp://any:{}@{}:5672/%2F", token.trim(), variable("AMQP_HOST"))
}
