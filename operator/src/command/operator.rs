//! `leveret-operator`: its commands.
//!
//! In: the command line. Out: an exit code. Does not know about how any command works.

use std::process::ExitCode;

use clap::Parser;

use super::check::CheckArgs;
use super::crd::CrdArgs;
use super::retire::RetireArgs;
use super::run::RunArgs;
use super::task::{Run, commands, exit};
use super::wait::WaitArgs;

#[derive(Parser)]
#[command(
    name = "leveret-operator",
    version,
    about = "Keeps AMQP brokers in step with Broker, Vhost, User, Policy, OperatorPolicy, Exchange, Queue and Binding resources"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

commands! {
    /// Reconcile the resources of a cluster until SIGTERM, from inside the cluster or by kubeconfig
    Run(RunArgs),
    /// Print the custom resource definitions as YAML, for `kubectl apply -f -`
    Crd(CrdArgs),
    /// Request a URL until it answers 200, as `helm test` does
    Check(CheckArgs),
    /// Stop the operator and remove its finalizers, before it is uninstalled; brokers keep what they have
    Retire(RetireArgs),
    /// Wait until an upgraded operator has brought its Brokers up to date and they are ready
    Wait(WaitArgs),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    exit("leveret-operator", Cli::parse().command.run())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
