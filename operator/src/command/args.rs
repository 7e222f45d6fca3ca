//! Flags and environment of `leveret-operator`: every setting with unit, default and range.
//!
//! In: the command line. Out: [`Cli`]. Does not know about what the settings do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::resource::Period;
use crate::telemetry::LogFormat;

#[derive(Debug, Parser)]
#[command(
    name = "leveret-operator",
    version,
    about = "Keeps AMQP brokers in step with Broker, Queue, Exchange and Binding resources"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile the resources of a cluster, inside it or by kubeconfig, until SIGTERM
    Run(RunArgs),
    /// Print the custom resource definitions as YAML, for `kubectl apply -f -`
    Crd {
        /// Write them into this folder instead, one file per kind
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Apply them to the cluster ($KUBECONFIG, or the pod's service account) instead: what an upgrade needs
        #[arg(long, conflicts_with = "output")]
        apply: bool,
    },
    /// Ask for a page until it answers 200: what `helm test` does
    Check {
        /// Like http://leveret-metrics.leveret.svc:8080/readyz
        #[arg(long, value_name = "URL")]
        url: String,
        /// How long it is tried, 1s to 1h
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = resync)]
        timeout: Duration,
    },
    /// Stop the operator and take its finalizers from all resources, before it is uninstalled; brokers keep what they have
    Retire(RetireArgs),
}

#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    /// Deployment of the operator, scaled to 0 first; default: no operator runs any more
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,

    /// Namespace of that Deployment; default: the namespace of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// Namespace whose resources are let go, repeatable; default: all namespaces
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub watch_namespaces: Vec<String>,

    /// How long each of the two steps may take, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = resync)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Kubeconfig file; default: $KUBECONFIG, ~/.kube/config, or the service account of the pod
    #[arg(long, value_name = "FILE", env = "LEVERET_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace to watch, repeatable (environment: separated by commas); default: all namespaces
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "LEVERET_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_parser = namespace
    )]
    pub watch_namespaces: Vec<String>,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "LEVERET_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Whether only one of several operators reconciles, agreed upon by a Lease
    #[arg(long, value_name = "true|false", env = "LEVERET_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set)]
    pub leader_election: bool,

    /// Name of that Lease
    #[arg(
        long,
        value_name = "NAME",
        env = "LEVERET_LEASE_NAME",
        default_value = "leveret-operator"
    )]
    pub lease_name: String,

    /// Namespace of that Lease; default: the namespace of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE", env = "LEVERET_LEASE_NAMESPACE", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// After how long without renewal another operator takes over, 3s to 5m
    #[arg(long, value_name = "DURATION", env = "LEVERET_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// Image of the brokers that the operator runs, where a Broker names none; the program in it is leveret-broker
    #[arg(long, value_name = "IMAGE", env = "LEVERET_BROKER_IMAGE", default_value = concat!("ghcr.io/leveret/leveret:", env!("CARGO_PKG_VERSION")))]
    pub broker_image: String,

    /// How often the lists of a broker are compared although nothing seems to have changed, 1s to 1h
    #[arg(long, value_name = "DURATION", env = "LEVERET_RESYNC", default_value = "30s", value_parser = resync)]
    pub resync: Duration,

    /// How long a deleted resource waits for a broker that cannot be reached before it is let go, 0s to 24h
    #[arg(long, value_name = "DURATION", env = "LEVERET_DELETION_TIMEOUT", default_value = "60s", value_parser = deletion_timeout)]
    pub deletion_timeout: Duration,

    /// What is logged: a level (error, warn, info, debug, trace), or a list like info,leveret_operator=debug
    #[arg(long, value_name = "FILTER", env = "LEVERET_LOG", default_value = "info")]
    pub log: String,

    /// Form of the log, on stderr
    #[arg(long, value_name = "FORMAT", env = "LEVERET_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// A label of DNS names, which is what names of namespaces are (RFC 1123).
fn namespace(text: &str) -> Result<String, String> {
    let valid = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if valid {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 small letters, digits and inner dashes".to_owned())
    }
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    duration(text, "3s", "5m")
}

fn resync(text: &str) -> Result<Duration, String> {
    duration(text, "1s", "1h")
}

fn deletion_timeout(text: &str) -> Result<Duration, String> {
    duration(text, "0s", "24h")
}

fn duration(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let millis = |text: &str| Period(text.to_owned()).millis().map_err(|error| error.to_string());
    let value = millis(text)?;
    if !(millis(least)?..=millis(most)?).contains(&value) {
        return Err(format!("allowed is {least} to {most}"));
    }
    u64::try_from(value)
        .map(Duration::from_millis)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ranges() {
        assert_eq!(resync("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(resync("0s"), Err("allowed is 1s to 1h".to_owned()));
        assert!(lease_duration("10").is_err());
        assert!(namespace("shop-1").is_ok());
        for wrong in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(namespace(wrong).is_err(), "{wrong}");
        }
    }
}
