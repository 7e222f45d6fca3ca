//! `leveret-broker`: settings, log lines, then the server.

use clap::Parser;
use leveret_broker::config::{Config, Flags};
use leveret_broker::{server, telemetry};
use std::process::ExitCode;

/// Small messages are allocated and freed by the million: see docs/performance notes in the broker's README.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveret-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let config = Config::load(Flags::parse())?;
    telemetry::start(&config.log, config.log_json)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(server::run(config));
    runtime.shutdown_background();
    ended
}
