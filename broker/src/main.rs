//! `leveret-broker`: settings, log lines, then the server; or, with `check` as the first word, a look at a data directory.

use clap::Parser;
use leveret_broker::config::{Config, Flags};
use leveret_broker::{check, server, telemetry};
use std::process::ExitCode;

/// Small messages are allocated and freed by the million: see docs/performance notes in the broker's README.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Not a subcommand of the flags: the server has none, and its settings mean nothing to the check.
    let ended = match std::env::args_os().nth(1).is_some_and(|word| word == "check") {
        true => {
            let flags = check::Flags::parse_from(std::env::args_os().skip(1));
            check::run(&flags).map(|intact| if intact { ExitCode::SUCCESS } else { ExitCode::from(2) })
        }
        false => run().map(|()| ExitCode::SUCCESS),
    };
    match ended {
        Ok(code) => code,
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
