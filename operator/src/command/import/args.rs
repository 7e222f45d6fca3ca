//! Flags of `leveret import`.
//!
//! In: the command line. Out: `ImportArgs`. Does not know about how anything is imported.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A file, a folder with files (*.yaml, *.yml, *.json, *.tfstate), or - for stdin
    #[arg(value_name = "FILE|FOLDER")]
    pub from: PathBuf,

    /// Folder that gets a file for each kind; no file is overwritten. Default: all goes to stdout
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,

    /// Name of the Broker that all manifests refer to; default: that of their rabbitmqClusterReference, or main
    #[arg(long, value_name = "NAME")]
    pub broker: Option<String>,

    /// Namespace of all manifests; default: their own, or none
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Virtual host of definitions that name none
    #[arg(long, value_name = "NAME")]
    pub vhost: Option<String>,

    /// Write down the hashes of users' passwords, too; whoever has them can try passwords against them
    #[arg(long)]
    pub password_hashes: bool,
}
