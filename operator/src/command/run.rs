//! `leveret-operator run`: puts the parts together and takes them apart again on SIGTERM.
//!
//! In: settings. Out: nothing; it ends when the process shall. Does not know about how any part works.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::connect::Network;
use crate::command::args::RunArgs;
use crate::keep;
use crate::leader::{self, Candidate};
use crate::metrics::Metrics;
use crate::serve::{self, Ready};
use crate::source::kubernetes::Kubernetes;
use crate::sync;

/// How long metrics and health are still served while the process ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the operator cannot start.
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
    let metrics = Metrics::new();
    let identity = identity();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = url,
        listen = %args.listen,
        identity,
        "leveret-operator starts"
    );

    let source = Arc::new(Kubernetes::start(
        client.clone(),
        &args.watch_namespaces,
        identity.clone(),
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
            namespace: args.lease_namespace.clone().unwrap_or(default_namespace),
            lease: args.lease_name.clone(),
            identity,
            duration: args.lease_duration,
        };
        leader::lead(client.clone(), candidate, metrics.clone(), shutdown, work).await;
    } else {
        metrics.leading(true);
        work(shutdown).await;
    }
    served_until.cancel();
    if tokio::time::timeout(LAST_WORDS, served).await.is_err() {
        warn!("somebody keeps a connection to {} open", args.listen);
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
        ..sync::Settings::default()
    };
    let engines = keep::run::run(
        client,
        Arc::clone(&source),
        args.watch_namespaces.clone(),
        args.broker_image.clone(),
        metrics.clone(),
        stop.clone(),
    );
    tokio::join!(engines, sync::run(source, Network, settings, metrics, stop));
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
fn identity() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}_{}_{:x}", host.trim(), std::process::id(), now.as_millis())
}
