//! `leveret import`: what other tools have written down, as YAML of this one.
//!
//! In: manifests of RabbitMQ's topology operator, definitions, Terraform's state. Out: manifests, and a line for
//! everything that is not in them. Does not know about brokers.

/// Manifests, put together.
mod write;

/// Users with their permissions.
mod users;

/// Files, taken apart.
mod read;

/// Objects that were found.
mod found;

/// JSON in which nothing stands twice.
mod json;

/// Manifests, and what is not in them.
mod output;

/// Flags.
mod args;

use std::process::ExitCode;

use super::task::{Run, print};
use crate::source::folder::read::Problem;
pub use args::ImportArgs;
pub use output::Import;
use read::read;
use write::write;

impl Run for ImportArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        /// Something is left out: worth a look, and no failure.
        const PART: u8 = 2;
        let import = run(&self).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", lines.join("\n"))
        })?;
        for line in &import.alone {
            eprintln!("leveret: {line}");
        }
        for line in &import.left_out {
            eprintln!("leveret: left out: {line}");
        }
        match &self.output {
            None => print(&import.yaml())?,
            Some(folder) => import.save(folder)?,
        }
        Ok(match import.left_out.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(PART),
        })
    }
}

/// Reads everything and puts the manifests together.
///
/// # Errors
/// Files cannot be read, or there is nothing in them to import.
pub fn run(args: &ImportArgs) -> Result<Import, Vec<Problem>> {
    let reading = read(&args.from, args.vhost.as_deref())?;
    Ok(write(reading, args))
}

#[cfg(test)]
mod tests;
