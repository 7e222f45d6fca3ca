//! The commands of both programs.
//!
//! In: the command line. Out: an exit code. Does not know about how resources are reconciled.

/// `leveret`: its commands.
pub mod leveret;

/// `leveret-operator`: its commands.
pub mod operator;

/// `leveret-operator run`: puts the parts together.
pub mod run;

/// `leveret-operator crd --apply`, `retire`: before an upgrade, and before it goes.
pub mod install;

/// Flags and environment.
pub mod args;

/// `leveret dev`: a broker for a folder of manifests.
pub mod dev;

/// The state of `leveret dev` in the terminal.
pub mod terminal;

/// `leveret plan`: what applying a folder would change.
pub mod plan;

/// `leveret export`: what stands on a broker as YAML.
pub mod export;

/// `leveret lint`: what is wrong with a folder, without a broker.
pub mod lint;

/// A live broker by its address, looked at once.
pub mod live;
