//! `leveret-operator`: `run` reconciles, `crd` prints the custom resource definitions.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "leveret-operator",
    version,
    about = "Keeps AMQP brokers in step with Queue, Exchange and Binding resources"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the custom resource definitions as YAML, for `kubectl apply -f -`
    Crd {
        /// Write them into this folder instead, one file per kind
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd { output } => crd(output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveret-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn crd(output: Option<PathBuf>) -> anyhow::Result<()> {
    use anyhow::Context;
    use leveret_operator::resource::schema;
    let Some(folder) = output else {
        print!("{}", schema::crd_yaml()?);
        return Ok(());
    };
    for crd in schema::crds() {
        let path = folder.join(format!("{}.yaml", crd.spec.names.plural));
        std::fs::write(&path, schema::one_yaml(&crd)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
