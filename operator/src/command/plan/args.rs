//! Flags of `leveret plan`, and why there is no plan.
//!
//! In: the command line. Out: `PlanArgs`. Does not know about how a plan is made.

use std::path::PathBuf;

use clap::Args;

use crate::broker;
use crate::command::live::{FileError, LiveArgs};
use crate::object::{ConnectionError, ObjectKey};
use crate::source::folder::read::Problem;

#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Folder with the manifests, a single file, or - for stdin (kubectl kustomize DIR | leveret plan -)
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Compare as the operator of this kube context would: with its Brokers, and with what its resources already own.
    /// Without it, all manifests are meant for the one broker that the other flags name
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace of manifests that name none; default: that of the context
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Also show what pruning would delete: resources in the folder's namespaces that are not in the folder
    #[arg(long, requires = "context")]
    pub prune: bool,

    #[command(flatten)]
    pub live: LiveArgs,
}

/// A plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", lines(.0))]
    Manifests(Vec<Problem>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("context {context}: {why}")]
    Cluster { context: String, why: String },
    #[error("{0}: {1}")]
    Connection(ObjectKey, ConnectionError),
    #[error(transparent)]
    Broker(#[from] broker::Error),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
