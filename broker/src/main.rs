//! `leveret-broker`: settings, log lines, then the server; or, with `check` as the first word, a look at a data
//! directory.

use clap::Parser as _;
use leveret_broker::config::Flags;
use leveret_broker::connection::coalesce;
use leveret_broker::reload::{self, Live};
use leveret_broker::{check, server, telemetry};
use std::process::ExitCode;
use std::sync::Arc;

/// Small messages are allocated and freed by the million: see docs/performance notes in the broker's README.
#[global_allocator]
static ALLOCATOR: leveret_alloc::MiMalloc = leveret_alloc::MiMalloc;

/// Turns of connections until the runtime looks which others can go on. A turn is a batch of a hundred
/// messages: with tokio's 61 the acknowledgements of one consumer lie unread for milliseconds while 64 publishers have
/// their turns, and a backlog builds.
const EVENT_INTERVAL: u32 = 8;

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
    let given = Flags::parse();
    let filled = given.with_file()?;
    let config = filled.check()?;
    let set_filter = telemetry::start(&config.log, config.log_json)?;
    let live = Arc::new(Live::new(&config, &filled, set_filter));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(config.threads)
        .event_interval(EVENT_INTERVAL)
        .on_thread_park(|| {
            leveret_alloc::give_back();
            coalesce::nap();
        })
        .enable_all();
    #[cfg(tokio_unstable)]
    leveret_broker::polls::count(&mut builder);
    let runtime = builder.build()?;
    runtime.spawn(reload::follow(given, filled, live.clone()));
    let ended = runtime.block_on(server::run(config, live));
    #[cfg(tokio_unstable)]
    leveret_broker::polls::tell(&runtime.metrics());
    runtime.shutdown_background();
    ended
}
