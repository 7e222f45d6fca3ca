//! The commands of both programs, a file for each.
//!
//! In: the command line. Out: an exit code. Does not know about how resources are reconciled.

/// `leveret`: the list of its commands.
pub mod leveret;

/// `leveret-operator`: the list of its commands.
pub mod operator;

/// `leveret-operator run`: puts the parts together.
pub mod run;

/// `leveret-operator crd`: the definitions, printed or applied.
pub mod crd;

/// `leveret-operator check`: a page that must answer.
pub mod check;

/// `leveret-operator retire`: before it is uninstalled.
pub mod retire;

/// `leveret-operator wait`: after it is upgraded.
pub mod wait;

/// `leveret dev`: a broker for a folder of manifests.
pub mod dev;

/// The state of `leveret dev` in the terminal.
pub mod terminal;

/// `leveret plan`: what applying a folder would change.
pub mod plan;

/// `leveret export`: what stands on a broker as YAML.
pub mod export;

/// `leveret import`: what other tools have written down, as YAML.
pub mod import;

/// `leveret lint`: what is wrong with a folder, without a broker.
pub mod lint;

/// A live broker by its address, looked at once.
pub mod live;

/// Manifests for objects on a broker.
mod manifest;

/// An operator that is installed, for commands beside it.
mod installed;

/// The Lease of an operator.
mod lease;

/// The cluster, asked once.
mod api_server;

/// The bounds of brokers and their authors, as flags of `run`.
mod bounds;

/// Values of flags.
mod values;

/// The part that all commands share.
mod task;
