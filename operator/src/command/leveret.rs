//! `leveret`: its commands. `dev` runs a broker for a folder of manifests, `plan`, `lint`, `export` and
//! `import` stand between folders and brokers that run already, `perf` measures a broker.
//!
//! In: the command line. Out: an exit code. Does not know about how any command works.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use leveret_perf::args::PerfArgs;

use super::dev::DevArgs;
use super::export::ExportArgs;
use super::import::ImportArgs;
use super::lint::LintArgs;
use super::plan::PlanArgs;
use super::task::{Run, commands, exit, on_a_runtime};

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

commands! {
    /// Run a broker for a folder of manifests and keep it in step with them while you edit
    Dev(DevArgs),
    /// Show what applying a folder would change on a live broker; exit code 2 for changes, 0 for none
    Plan(PlanArgs),
    /// Check a folder without a broker: rules, dangling references, duplicates; exit code 1 with a line for each
    Lint(LintArgs),
    /// Write what is declared on a live broker (Leveret or RabbitMQ) as YAML that applies without a change
    Export(ExportArgs),
    /// Turn what other tools have written into YAML: manifests of RabbitMQ's topology operator, definitions.json,
    /// Terraform's state; exit code 2 when something is left out, which is named
    Import(ImportArgs),
    /// Put load on any AMQP 0-9-1 broker and measure rates, latencies, CPU and memory
    Perf(Box<PerfArgs>),
    /// Not in this version
    #[command(external_subcommand, hide = true)]
    Other(Vec<String>),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    exit("leveret", Cli::parse().command.run())
}

impl Run for Box<PerfArgs> {
    fn run(self) -> anyhow::Result<ExitCode> {
        on_a_runtime(leveret_perf::run(&self))??;
        Ok(ExitCode::SUCCESS)
    }
}

/// A command that does not exist.
impl Run for Vec<String> {
    fn run(self) -> anyhow::Result<ExitCode> {
        let word = self.first().map(String::as_str).unwrap_or_default();
        let cli = Cli::command();
        let known: Vec<&str> = cli
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        anyhow::bail!(
            "there is no command '{word}' in this version, only {}; see leveret --help",
            known.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
