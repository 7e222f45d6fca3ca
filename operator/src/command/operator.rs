//! `leveret-operator`: `run` reconciles, `crd` prints or applies the custom resource definitions, `retire` ends it all.
//!
//! In: the command line. Out: an exit code, and one line on stderr for what went wrong. Does not know about how any command works.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use super::args::{Cli, Command, RunArgs};
use super::{install, run};
use crate::resource::schema;
use crate::telemetry::LogFormat;
use crate::{runtime, telemetry};

/// Does what the command line says.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => operate(args),
        Command::Crd { apply: true, .. } => once(install::apply_crds()),
        Command::Crd { output, .. } => print_crds(output.as_deref()),
        Command::Check { url, timeout } => once(install::check(&url, timeout)),
        Command::Retire(args) => once(install::retire(&args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveret-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn operate(args: RunArgs) -> anyhow::Result<()> {
    telemetry::init(&args.log, args.log_format)?;
    let runtime = runtime::start()?;
    runtime.block_on(run::run(args))?;
    Ok(())
}

/// A task that ends by itself.
fn once(task: impl Future<Output = Result<(), install::Error>>) -> anyhow::Result<()> {
    telemetry::init("info", LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(task)?)
}

fn print_crds(folder: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = folder else {
        print!("{}", schema::crd_yaml()?);
        return Ok(());
    };
    for crd in schema::crds() {
        let path = folder.join(format!("{}.yaml", crd.spec.names.plural));
        std::fs::write(&path, schema::one_yaml(&crd)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
