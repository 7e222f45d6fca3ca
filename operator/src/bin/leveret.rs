//! `leveret`: the command line. `dev` runs a broker for a folder of manifests.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leveret_operator::dev::{self, DevArgs};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(
    name = "leveret",
    version,
    about = "AMQP brokers and their queues, exchanges and bindings as YAML"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a broker of one's own and keep it in step with a folder of manifests while they are edited
    Dev(DevArgs),
    /// Not in this version
    #[command(external_subcommand, hide = true)]
    Other(Vec<String>),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => develop(args),
        Command::Other(words) => {
            let word = words.first().map(String::as_str).unwrap_or_default();
            Err(anyhow::anyhow!(
                "there is no command '{word}' in this version, only dev; see leveret --help"
            ))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("leveret: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn develop(args: DevArgs) -> anyhow::Result<()> {
    // What matters is in the view; the log is for those who look for a fault.
    let filter = EnvFilter::try_from_env("LEVERET_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider is installed already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(dev::run(args));
    runtime.shutdown_background();
    Ok(result?)
}
