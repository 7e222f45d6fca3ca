//! `leveret-operator retire`: what must be done before an operator is uninstalled.
//!
//! In: a cluster. Out: a stopped operator, and resources of its own that no finalizer holds and no claim keeps from
//! others. Does not know about brokers.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;
use tracing::info;

use super::api_server::{self, client, request};
use super::installed::InstalledArgs;
use super::task::{Run, once};
use super::values::{namespace, up_to_an_hour};
use release::Release;

/// Finalizers, claims and the Lease.
mod release;

/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks in a row that must find no finalizer: an operator that is just ending may still add one.
const QUIET: u32 = 3;

#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    /// Deployment of the operator, scaled to 0 first; default: none, when no operator runs any more
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,

    #[command(flatten)]
    pub installed: InstalledArgs,

    /// Release also what another operator keeps, for one that is gone
    #[arg(long)]
    pub everyone: bool,

    /// Namespace whose resources are released, repeatable; default: all namespaces
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub watch_namespaces: Vec<String>,

    /// Longest time for each of the two steps, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = up_to_an_hour)]
    pub timeout: Duration,
}

/// Not everything could be released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] api_server::Error),
    #[error("{what} after {} s", limit.as_secs())]
    TooLate { what: String, limit: Duration },
}

impl Run for RetireArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        once(retire(&self))??;
        Ok(ExitCode::SUCCESS)
    }
}

/// Scales the operator to 0, removes its finalizer from every resource that it keeps, so that nothing waits for an
/// operator that is gone, and gives its Brokers and its Lease back. What the resources stand for stays on the brokers.
///
/// # Errors
/// No cluster, a refusal of the API server, or `args.timeout`.
async fn retire(args: &RetireArgs) -> Result<(), Error> {
    let client = client().await?;
    let late = |what: &str| Error::TooLate {
        what: what.to_owned(),
        limit: args.timeout,
    };
    tokio::time::timeout(args.timeout, stop(&client, args))
        .await
        .map_err(|_| late("the operator has not ended"))??;
    let mut release = Release::new(
        &client,
        args.watch_namespaces.clone(),
        args.installed.operator(&client),
        args.everyone,
    );
    let mut quiet = 0;
    let released = async {
        while quiet < QUIET {
            let freed = release.finalizers().await?;
            quiet = if freed == 0 { quiet + 1 } else { 0 };
            if freed > 0 {
                info!(
                    freed,
                    "finalizers removed; what these resources stand for stays on their brokers"
                );
            }
            sleep(PAUSE).await;
        }
        release.claims().await?;
        release.lease(args.deployment.is_some()).await;
        Ok(())
    };
    tokio::time::timeout(args.timeout, released)
        .await
        .map_err(|_| late("there are still resources with a finalizer"))?
}

/// Scales the Deployment to 0 and waits until it has no pod any more. One that does not exist has none.
async fn stop(client: &Client, args: &RetireArgs) -> Result<(), Error> {
    let Some(name) = &args.deployment else {
        return Ok(());
    };
    let api = args.installed.deployments(client);
    let what = format!("deployment {name}");
    let none = json!({"spec": {"replicas": 0}});
    match api
        .patch_scale(name, &PatchParams::default(), &Patch::Merge(&none))
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        answer => answer.map(drop).map_err(request(&what))?,
    }
    loop {
        let Some(deployment) = api.get_opt(name).await.map_err(request(&what))? else {
            return Ok(());
        };
        let status = deployment.status.unwrap_or_default();
        let seen = status.observed_generation >= deployment.metadata.generation;
        if seen && status.replicas.unwrap_or(0) == 0 && status.terminating_replicas.unwrap_or(0) == 0 {
            info!(deployment = name, "scaled to 0");
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}
