//! `leveret`: the command line. `dev` runs a broker for a folder of manifests, `plan`, `lint` and `export` stand between
//! folders and brokers that run already, `perf` measures a broker.
//!
//! In: the command line. Out: an exit code, and one line on stderr for what went wrong. Does not know about how any command works.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::command::dev::{self, DevArgs};
use crate::command::export::{self, ExportArgs};
use crate::command::lint::{self, LintArgs};
use crate::command::plan::{self, PlanArgs};
use crate::runtime;
use leveret_perf::args::PerfArgs;

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
    /// Tell what applying a folder would change on a live broker; exit code 2 when anything would, 0 when nothing
    Plan(PlanArgs),
    /// Check a folder without a broker: rules, references that lead nowhere, duplicates; exit code 1 with a line for each
    Lint(LintArgs),
    /// Write what stands on a live broker (Leveret or RabbitMQ) as YAML that applies without changing anything
    Export(ExportArgs),
    /// Put a load on any AMQP 0-9-1 broker and measure rates, latencies, CPU and memory
    Perf(Box<PerfArgs>),
    /// Not in this version
    #[command(external_subcommand, hide = true)]
    Other(Vec<String>),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => develop(args),
        Command::Plan(args) => make_plan(&args),
        Command::Lint(args) => check(&args),
        Command::Export(args) => write_down(&args),
        Command::Perf(args) => measure(&args),
        Command::Other(words) => {
            let word = words.first().map(String::as_str).unwrap_or_default();
            Err(anyhow::anyhow!(
                "there is no command '{word}' in this version, only dev, plan, lint, export and perf; see leveret --help"
            ))
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("leveret: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn make_plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    /// As `diff` and `terraform plan -detailed-exitcode` do, so that a pull-request check can tell it from a failure.
    const DIFFERS: u8 = 2;
    let changes = on_a_runtime(plan::run(args))??;
    print(&format!("{changes}\n"))?;
    Ok(if changes.any() {
        ExitCode::from(DIFFERS)
    } else {
        ExitCode::SUCCESS
    })
}

fn check(args: &LintArgs) -> anyhow::Result<ExitCode> {
    match lint::run(args) {
        Ok(what) => print(&format!("{what}: fine\n")).map(|()| ExitCode::SUCCESS),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::bail!("{}", lines.join("\n"))
        }
    }
}

fn write_down(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let export = on_a_runtime(export::run(args))??;
    for line in &export.left_out {
        eprintln!("leveret: left out: {line}");
    }
    print(&export.yaml()?)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &PerfArgs) -> anyhow::Result<ExitCode> {
    on_a_runtime(leveret_perf::run(args))??;
    Ok(ExitCode::SUCCESS)
}

/// Whoever reads it may have seen enough: a closed pipe is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime::start()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

fn develop(args: DevArgs) -> anyhow::Result<ExitCode> {
    // What matters is in the view; the log is for those who look for a fault.
    let filter = EnvFilter::try_from_env("LEVERET_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    on_a_runtime(dev::run(args))??;
    Ok(ExitCode::SUCCESS)
}
