//! `leveret dev FOLDER`: a broker for a folder of manifests, kept in step with them while they are edited.
//!
//! In: a folder. Out: a running companion broker, the state in the terminal, an exit code for CI.
//! Does not know about how resources are reconciled, or how the state looks.

/// The companion broker, a child process.
pub mod companion;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::task::{Run, on_a_runtime};
use super::terminal::{self, Watched};
use crate::broker::connect::Network;
use crate::metrics::Metrics;
use crate::object::{ConditionStatus, Connection, Via};
use crate::resource::Period;
use crate::source::folder::read::Problem;
use crate::source::folder::{Folder, Shown};
use crate::sync;
use companion::Companion;

/// Longest time for the pipeline to end.
const GOODBYE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Folder with the manifests: all *.yaml and *.yml files in it and below, or a single file
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The broker's program; default: leveret-broker beside this program, or in the PATH
    #[arg(long, value_name = "FILE", env = "LEVERET_DEV_BROKER_BIN")]
    pub broker_bin: Option<PathBuf>,

    /// Data directory of the broker; default: a temporary folder, removed at the end
    #[arg(long, value_name = "DIR", env = "LEVERET_DEV_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address on which the broker listens for AMQP clients
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "LEVERET_DEV_AMQP_LISTEN",
        default_value = "127.0.0.1:5672"
    )]
    pub amqp_listen: SocketAddr,

    /// Address on which the broker's management API listens
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "LEVERET_DEV_HTTP_LISTEN",
        default_value = "127.0.0.1:15672"
    )]
    pub http_listen: SocketAddr,

    /// End when everything is Ready (exit code 0), or cannot become so (exit code 1, with the reasons): for CI
    #[arg(long)]
    pub once: bool,

    /// With --once: the longest time until everything is Ready, 1s to 1h
    #[arg(long, value_name = "DURATION", env = "LEVERET_DEV_TIMEOUT", default_value = "30s", value_parser = once_timeout)]
    pub timeout: Duration,

    /// Plain lines instead of the live view, also in a terminal
    #[arg(long)]
    pub plain: bool,
}

fn once_timeout(text: &str) -> Result<Duration, String> {
    let millis = Period(text.to_owned()).millis().map_err(|error| error.to_string())?;
    match u64::try_from(millis).map(Duration::from_millis) {
        Ok(duration) if (1..=3600).contains(&duration.as_secs()) => Ok(duration),
        _ => Err(format!("'{text}' is not between 1s and 1h")),
    }
}

impl Run for DevArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        // What matters is in the view; the log is for those who look for a fault.
        let filter = EnvFilter::try_from_env("LEVERET_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
        on_a_runtime(run(self))??;
        Ok(ExitCode::SUCCESS)
    }
}

/// The reason for an early end. Each is one clear line, or one for each problem.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{}", lines(.0))]
    Manifests(Vec<Problem>),
    #[error(transparent)]
    Companion(#[from] companion::Error),
    #[error("{0}")]
    NotReady(String),
    #[error("cannot wait for signals: {0}")]
    Signals(#[from] std::io::Error),
    #[error("{0}")]
    Broker(#[from] crate::broker::Error),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Runs until Ctrl-C or SIGTERM, or with `--once` until it is decided.
///
/// # Errors
/// Manifests that cannot be read, a broker that does not start or ends by itself, resources that do not become Ready.
pub async fn run(args: DevArgs) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let connection = connection(&args);
    let folder = Arc::new(Folder::open(&args.folder, connection.clone()).map_err(Error::Manifests)?);
    let network = Network::default();
    let management = network.management(&connection)?;
    let starting = Companion::start(companion::Options {
        program: args.broker_bin.clone(),
        data_dir: args.data_dir.clone(),
        amqp_listen: args.amqp_listen,
        http_listen: args.http_listen,
    });
    let mut companion = tokio::select! {
        companion = starting => companion?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };

    let stop = CancellationToken::new();
    let settings = sync::Settings {
        connection_name: "leveret dev".to_owned(),
        // Who edits a folder looks at it; and a status in it costs nothing.
        patience: Duration::ZERO,
        deletion_timeout: Duration::from_secs(5),
        ..sync::Settings::default()
    };
    let pipeline = tokio::spawn(sync::run(
        Arc::clone(&folder),
        network,
        settings,
        Metrics::new(),
        stop.clone(),
    ));
    let follower = tokio::spawn(Arc::clone(&folder).follow(stop.clone()));
    let watched = Watched {
        folder: Arc::clone(&folder),
        management,
        amqp: args.amqp_listen,
        http: args.http_listen,
        path: args.folder.clone(),
    };
    let view = tokio::spawn(terminal::show(watched, args.plain || args.once, stop.clone()));

    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        error = companion.ended() => Err(Error::Companion(error)),
        outcome = decide(&folder, args.timeout), if args.once => outcome.map_err(Error::NotReady),
    };
    stop.cancel();
    // Each ends by the token; one that does not is left to the end of the process.
    let _ = timeout(GOODBYE, async { tokio::join!(pipeline, follower, view) }).await;
    companion.stop().await?;
    outcome
}

/// Over the loopback the broker's own first user may come in (RabbitMQ's `guest`).
fn connection(args: &DevArgs) -> Connection {
    let reach = |address: SocketAddr| match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        ip if ip.is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => address,
    };
    Connection {
        amqp_uri: format!("amqp://{}", reach(args.amqp_listen)),
        management_uri: format!("http://{}", reach(args.http_listen)),
        user: "guest".to_owned(),
        password: "guest".to_owned(),
        ca: None,
        identity: None,
        via: Via::Address,
    }
}

/// Waits until all is Ready, or until it is clear that it will not become so: then with the reasons, a line for each.
async fn decide(folder: &Folder, longest: Duration) -> Result<(), String> {
    let mut told = folder.told();
    let waiting = async {
        loop {
            told.mark_unchanged();
            let shown = folder.shown();
            match judge(&shown) {
                Judgement::Ready => return Ok(()),
                Judgement::Never(reasons) => return Err(reasons),
                Judgement::NotYet(_) => {}
            }
            if told.changed().await.is_err() {
                return Ok(());
            }
        }
    };
    match timeout(longest, waiting).await {
        Ok(outcome) => outcome,
        Err(_) => match judge(&folder.shown()) {
            Judgement::NotYet(reasons) | Judgement::Never(reasons) => {
                Err(format!("not Ready within {} s:\n{reasons}", longest.as_secs()))
            }
            Judgement::Ready => Ok(()),
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Ready,
    NotYet(String),
    Never(String),
}

/// It is decided when every resource has an answer for the generation that stands in its file.
fn judge(shown: &Shown) -> Judgement {
    let snapshot = &shown.snapshot;
    let metas = snapshot.on_brokers().filter_map(|key| snapshot.meta(key));
    let (mut open, mut stalled) = (Vec::new(), Vec::new());
    for meta in metas {
        match shown
            .statuses
            .get(&meta.key)
            .filter(|status| status.generation == meta.generation)
        {
            None => open.push(format!("{}: not reconciled yet", meta.key)),
            Some(status) if status.ready == ConditionStatus::True => {}
            Some(status) => {
                let line = format!("{}: {}: {}", meta.key, status.reason, status.message);
                if status.stalled == ConditionStatus::True {
                    stalled.push(line);
                } else {
                    open.push(line);
                }
            }
        }
    }
    match (open.is_empty(), stalled.is_empty()) {
        (true, true) => Judgement::Ready,
        // What is stalled stays so, whatever becomes of the others; but their answers belong to the picture.
        (true, false) => Judgement::Never(stalled.join("\n")),
        (false, _) => {
            stalled.extend(open);
            Judgement::NotYet(stalled.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests;
