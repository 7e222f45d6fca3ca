//! `leveret-operator retire`: what must be done before an operator is uninstalled.
//!
//! In: a cluster. Out: a stopped operator, and resources that no finalizer holds. Does not know about brokers.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::sleep;
use tracing::info;

use super::api_server::{self, client, request};
use super::task::{Run, once};
use super::values::{namespace, up_to_an_hour};
use crate::object::FINALIZER;
use crate::resource::Kind;

/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks in a row that must find no finalizer: an operator that is just ending may still add one.
const QUIET: u32 = 3;
/// Requests on their way at once.
const AT_ONCE: usize = 16;

#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    /// Deployment of the operator, scaled to 0 first; default: none, when no operator runs any more
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,

    /// Namespace of that Deployment; default: the namespace of the pod or of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

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

/// Scales the operator to 0 and removes its finalizer from every resource, so that nothing waits for an operator
/// that is gone. What the resources stand for stays on the brokers.
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
    let mut quiet = 0;
    let released = async {
        while quiet < QUIET {
            let freed = release_all(&client, &args.watch_namespaces).await?;
            quiet = if freed == 0 { quiet + 1 } else { 0 };
            if freed > 0 {
                info!(freed, "finalizers removed");
            }
            sleep(PAUSE).await;
        }
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
    let api: Api<Deployment> = match &args.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::default_namespaced(client.clone()),
    };
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

/// Removes the finalizer from all objects that have it; how many did.
async fn release_all(client: &Client, namespaces: &[String]) -> Result<usize, Error> {
    let mut freed = 0;
    for kind in Kind::ALL.into_iter().rev().map(Kind::api_resource) {
        let mut scopes: Vec<Api<DynamicObject>> = namespaces
            .iter()
            .map(|namespace| Api::namespaced_with(client.clone(), namespace, &kind))
            .collect();
        if scopes.is_empty() {
            scopes.push(Api::all_with(client.clone(), &kind));
        }
        for api in scopes {
            freed += release_kind(client, &kind, &api).await?;
        }
    }
    Ok(freed)
}

async fn release_kind(client: &Client, kind: &ApiResource, api: &Api<DynamicObject>) -> Result<usize, Error> {
    let listed = match api.list_metadata(&ListParams::default()).await {
        // A kind that is not installed has no objects.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(0),
        answer => answer.map_err(request(&kind.plural))?,
    };
    let held = listed.items.into_iter().filter(held);
    let freed: Vec<()> = stream::iter(held.map(|object| release(client, kind, object)))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(freed.len())
}

fn held(object: &PartialObjectMeta<DynamicObject>) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

async fn release(
    client: &Client,
    kind: &ApiResource,
    object: PartialObjectMeta<DynamicObject>,
) -> Result<(), api_server::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, kind);
    let others: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    // With the version that was read: another finalizer that comes in between is not lost.
    let patch = json!({"metadata": {"finalizers": others, "resourceVersion": object.resource_version()}});
    let name = object.name_any();
    match api
        .patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        // Gone already, or changed in between: the next pass sees it.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        answer => answer
            .map(drop)
            .map_err(request(format!("{} {namespace}/{name}", kind.kind))),
    }
}
