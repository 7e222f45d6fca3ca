//! `leveret-operator run`: puts the parts together and takes them apart again on SIGTERM.
//!
//! In: flags and environment, every setting with unit, default and range. Out: nothing; it ends with the process.
//! Does not know about how any part works.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgAction, Args};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::bounds::BoundArgs;
use super::lease::LeaseArgs;
use super::task::Run;
use super::values::{deletion_timeout, lease_duration, namespace, none_or_up_to_an_hour, up_to_an_hour};
use crate::keep;
use crate::leader::{self, Candidate};
use crate::metrics::Metrics;
use crate::object::Group;
use crate::serve::{self, Ready};
use crate::source::kubernetes::Kubernetes;
use crate::telemetry::{self, LogFormat};
use crate::{runtime, sync};

/// Lease durations for which another operator may say nothing until the Brokers it keeps are taken over: long enough
/// for its pod to be replaced.
const PATIENCE: u32 = 4;
/// Time for which events are still told, and metrics and health served, while the process ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

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

    /// Also reconcile the resources of RabbitMQ's topology operator (rabbitmq.com/v1beta1), in its place; it must not
    /// run at the same time. Where their definitions are not installed, they are waited for
    #[arg(long, env = "LEVERET_RABBITMQ_RESOURCES")]
    pub rabbitmq_resources: bool,

    /// Address on which /metrics, /healthz and /readyz are served
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "LEVERET_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Elect one of several operators by a Lease: only that one reconciles
    #[arg(long, value_name = "true|false", env = "LEVERET_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set)]
    pub leader_election: bool,

    #[command(flatten)]
    pub lease: LeaseArgs,

    /// Time without renewal after which another process takes over, 3s to 5m; four times that, another operator (with
    /// another Lease) takes over a Broker that both watch
    #[arg(long, value_name = "DURATION", env = "LEVERET_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// Image of the brokers that the operator runs, where a Broker names none; the program in it is leveret-broker
    #[arg(long, value_name = "IMAGE", env = "LEVERET_BROKER_IMAGE", default_value = concat!("ghcr.io/leveret/leveret:", env!("CARGO_PKG_VERSION")))]
    pub broker_image: String,

    /// Interval between full comparisons with a broker, even when nothing seems to have changed, 1s to 1h
    #[arg(long, value_name = "DURATION", env = "LEVERET_RESYNC", default_value = "30s", value_parser = up_to_an_hour)]
    pub resync: Duration,

    /// Least time between two writes of the numbers of a queue (messages, consumers) into its status, 1s to 1h; 0s: no
    /// numbers are written, nor the messages of a Broker
    #[arg(long, value_name = "DURATION", env = "LEVERET_QUEUE_NUMBERS", default_value = "60s", value_parser = none_or_up_to_an_hour)]
    pub queue_numbers: Duration,

    /// Longest wait of a deleted resource for a broker that cannot be reached before its finalizer is removed, 0s to
    /// 24h
    #[arg(long, value_name = "DURATION", env = "LEVERET_DELETION_TIMEOUT", default_value = "60s", value_parser = deletion_timeout)]
    pub deletion_timeout: Duration,

    /// Log filter: a level (error, warn, info, debug, trace), or a list such as info,leveret_operator=debug
    #[arg(long, value_name = "FILTER", env = "LEVERET_LOG", default_value = "info")]
    pub log: String,

    /// Log format, on stderr
    #[arg(long, value_name = "FORMAT", env = "LEVERET_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub bounds: Box<BoundArgs>,
}

impl Run for RunArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::init(&self.log, self.log_format)?;
        runtime::start()?.block_on(run(self))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The reason why the operator cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("kubeconfig {path}: {why}")]
    Kubeconfig { path: String, why: String },
    #[error("no cluster is configured: {0}; give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")]
    NoCluster(String),
    #[error(transparent)]
    Listen(#[from] serve::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[from] std::io::Error),
}

/// Reconciles the resources of a cluster until SIGTERM or SIGINT.
///
/// # Errors
/// Settings that cannot work. An API server or broker that is away is no error: it is waited for.
pub async fn run(args: RunArgs) -> Result<(), Error> {
    let shutdown = until_signal()?;
    let config = configuration(args.kubeconfig.as_deref()).await?;
    let default_namespace = config.default_namespace.clone();
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| Error::NoCluster(error.to_string()))?;
    let listener = serve::bind(args.listen).await?;
    let listen = listener.local_addr().unwrap_or(args.listen);
    let metrics = Metrics::new();
    let instance = instance();
    let identity = holder(std::env::var("POD_UID").ok().as_deref(), &instance);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = url,
        %listen,
        identity,
        "leveret-operator starts"
    );

    let operator = args.lease.operator(&default_namespace, instance);
    let source = Arc::new(Kubernetes::start(
        client.clone(),
        &args.watch_namespaces,
        if args.rabbitmq_resources {
            &[Group::Leveret, Group::RabbitMq]
        } else {
            &[Group::Leveret]
        },
        args.bounds.trust(),
        operator.clone(),
        metrics.clone(),
    ));
    let ready: Ready = {
        let source = Arc::clone(&source);
        Arc::new(move || {
            if source.is_complete() {
                Ok(())
            } else {
                Err("the resources have not been read yet")
            }
        })
    };
    let served_until = CancellationToken::new();
    let served = tokio::spawn(serve::serve(listener, metrics.clone(), ready, served_until.clone()));

    let work = |stop: CancellationToken| reconcile(client.clone(), Arc::clone(&source), &args, metrics.clone(), stop);
    if args.leader_election {
        let candidate = Candidate {
            namespace: operator.namespace,
            lease: operator.lease,
            identity,
            duration: args.lease_duration,
        };
        leader::lead(client.clone(), candidate, metrics.clone(), shutdown, work).await;
    } else {
        metrics.leading(true);
        work(shutdown).await;
    }
    if tokio::time::timeout(LAST_WORDS, source.flush()).await.is_err() {
        warn!("not every event could be told");
    }
    served_until.cancel();
    if tokio::time::timeout(LAST_WORDS, served).await.is_err() {
        warn!("a connection to {} is kept open", args.listen);
    }
    info!("leveret-operator ends");
    Ok(())
}

async fn reconcile(client: Client, source: Arc<Kubernetes>, args: &RunArgs, metrics: Metrics, stop: CancellationToken) {
    if stop.run_until_cancelled(source.completed()).await.is_none() {
        return;
    }
    info!("all resources are read");
    let settings = sync::Settings {
        resync: args.resync,
        deletion_timeout: args.deletion_timeout,
        queue_numbers: Some(args.queue_numbers).filter(|every| !every.is_zero()),
        ..sync::Settings::default()
    };
    let engines = keep::run::run(
        client.clone(),
        Arc::clone(&source),
        args.watch_namespaces.clone(),
        args.bounds.engine(&args.broker_image),
        sync::desired::open_ports,
        metrics.clone(),
        stop.clone(),
    );
    let keys = keep::keys::run(
        client.clone(),
        Arc::clone(&source),
        args.watch_namespaces.clone(),
        sync::desired::is_let_in,
        metrics.clone(),
        stop.clone(),
    );
    let passwords = keep::users::run(
        client,
        Arc::clone(&source),
        args.watch_namespaces.clone(),
        sync::desired::is_let_in,
        metrics.clone(),
        stop.clone(),
    );
    let claims = source.claim(args.lease_duration * PATIENCE, stop.clone());
    tokio::join!(
        claims,
        engines,
        passwords,
        keys,
        sync::run(Arc::clone(&source), args.bounds.network(), settings, metrics, stop)
    );
}

/// Cancelled by the first SIGTERM or SIGINT.
fn until_signal() -> Result<CancellationToken, std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
        }
        cancelled.cancel();
    });
    Ok(token)
}

async fn configuration(path: Option<&Path>) -> Result<Config, Error> {
    let Some(path) = path else {
        return Config::infer()
            .await
            .map_err(|error| Error::NoCluster(error.to_string()));
    };
    let wrong = |why: String| Error::Kubeconfig {
        path: path.display().to_string(),
        why: why.lines().next().unwrap_or_default().to_owned(),
    };
    let file = Kubeconfig::read_from(path).map_err(|error| wrong(error.to_string()))?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(error.to_string()))
}

/// Name of this process among all operators: the pod's (or machine's) name and something that no restart repeats.
fn instance() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}_{}_{:x}", host(), std::process::id(), now.as_millis())
}

fn host() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    host.trim().to_owned()
}

/// The holder of the Lease: in a pod the pod, so that a container which was killed goes on at once with the Lease that
/// its successor finds, where it would have to wait until that expires.
///
/// There are never two leaders by that. A kubelet starts a container of a pod again only when the one before has ended,
/// and the pod has one container that runs this program. Another pod of the same name, also one that replaces a pod on
/// a machine which is cut off and may still run, has another uid. Outside of a pod the process is the holder, and
/// nothing follows it.
fn holder(pod_uid: Option<&str>, instance: &str) -> String {
    match pod_uid.filter(|uid| !uid.is_empty()) {
        Some(uid) => format!("{}_{uid}", host()),
        None => instance.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_the_lease_is_the_pod_or_else_the_process() {
        let in_pod = |uid: &str, instance: &str| holder(Some(uid), instance);
        assert_eq!(in_pod("u1", "a_1"), in_pod("u1", "a_2"));
        assert_ne!(in_pod("u1", "a_1"), in_pod("u2", "a_1"));
        for none in [None, Some("")] {
            assert_eq!(holder(none, "a_1"), "a_1");
        }
    }
}
