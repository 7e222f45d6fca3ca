//! `leveret plan FOLDER`: what applying a folder would change on the live broker. Nothing is changed.
//!
//! In: a folder, and a broker by its address, or the Brokers of a kube context. Out: a line for each change, and
//! whether there is any. Does not know about how changes are carried out.

/// Against the Brokers of a kube context.
mod cluster;

/// The changes, and how they are told.
pub mod changes;

/// The resources after an apply.
mod after;

/// Flags.
pub mod args;

use std::process::ExitCode;

use super::live::look;
use super::task::{Run, on_a_runtime, print};
use crate::command::lint;
use crate::object::{Kind, ObjectKey};
use crate::resource::BrokerSpec;
use crate::source::folder::read::read_once;
use after::lead_to;
pub use args::{Error, PlanArgs};
use changes::{Changes, changes};

impl Run for PlanArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        /// As `diff` and `terraform plan -detailed-exitcode` do, so that a pull-request check can tell it from a
        /// failure.
        const DIFFERS: u8 = 2;
        let changes = on_a_runtime(run(&self))??;
        print(&format!("{changes}\n"))?;
        Ok(if changes.any() {
            ExitCode::from(DIFFERS)
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Makes the plan.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: &PlanArgs) -> Result<Changes, Error> {
    if let Some(context) = &args.context {
        return cluster::run(args, context).await;
    }
    let manifests = read_once(&args.folder, args.namespace.as_deref()).map_err(Error::Manifests)?;
    let snapshot = lint::snapshot(&manifests);
    let named = snapshot
        .iter::<BrokerSpec>()
        .next()
        .map(|broker| broker.meta.key.clone());
    let broker = named.unwrap_or_else(|| ObjectKey::new(Kind::Broker, "default", "main"));
    let snapshot = lead_to(&broker, snapshot);
    let live = look(&args.live.connection()?).await?;
    let everything = manifests.objects.keys().cloned().collect();
    Ok(changes(&snapshot, &broker, &live, &everything))
}

#[cfg(test)]
mod tests;
