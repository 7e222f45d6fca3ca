//! `leveret-operator crd --apply`, `check` and `retire`: what an installation does before an upgrade, to see whether it
//! works, and before it goes.
//!
//! In: a cluster. Out: newer custom resource definitions; or a stopped operator and resources that no finalizer holds.
//! Does not know about brokers or how resources are reconciled.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::command::args::RetireArgs;
use crate::object::FINALIZER;
use crate::resource::{Binding, Broker, Exchange, Queue, crds};

/// Helm installs the definitions under this name; under another one a later `helm install` would meet a conflict.
const MANAGER: &str = "helm";
/// How long the API server has to serve a new definition.
const ESTABLISHED: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);
/// How long one answer to a check may take.
const PROBE: Duration = Duration::from_secs(5);
/// So many times in a row no finalizer is found: an operator that is just ending has had its last word.
const QUIET: u32 = 3;
/// Requests on their way at once.
const AT_ONCE: usize = 16;

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no cluster is configured: {0}")]
    NoCluster(String),
    #[error("{what}: {why}")]
    Request { what: String, why: kube::Error },
    #[error("{what} is not established after {} s", ESTABLISHED.as_secs())]
    NotEstablished { what: String },
    #[error("{url}: {why}")]
    Check { url: String, why: String },
    #[error("{what} after {} s", limit.as_secs())]
    TooLate { what: String, limit: Duration },
}

fn request(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    move |why| Error::Request { what, why }
}

async fn client() -> Result<Client, Error> {
    Client::try_default()
        .await
        .map_err(|error| Error::NoCluster(error.to_string()))
}

/// Applies the definitions of this version (server-side apply) and waits until the API server serves them.
///
/// # Errors
/// No cluster, a refusal of the API server, or a definition that is not established in time.
pub async fn apply_crds() -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client().await?);
    for crd in crds() {
        let name = crd.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(&crd))
            .await
            .map_err(request(&name))?;
        let deadline = Instant::now() + ESTABLISHED;
        while !established(&api.get(&name).await.map_err(request(&name))?) {
            if Instant::now() >= deadline {
                return Err(Error::NotEstablished { what: name });
            }
            sleep(Duration::from_millis(200)).await;
        }
        info!(crd = name, "applied");
    }
    Ok(())
}

fn established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Asks for a page until it answers 200, as a probe from inside the cluster does; there is no shell in the image.
///
/// # Errors
/// `url` is not like `http://host:port/path`, or there is no such answer within `timeout`: the last one is told.
pub async fn check(url: &str, timeout: Duration) -> Result<(), Error> {
    let wrong = |why: String| Error::Check {
        url: url.to_owned(),
        why,
    };
    let rest = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
    let Some((host, path)) = rest.filter(|(host, _)| host.contains(':')) else {
        return Err(wrong("must be like http://host:port/path".to_owned()));
    };
    let deadline = Instant::now() + timeout;
    loop {
        let answer = tokio::time::timeout(PROBE, status_line(host, path)).await;
        let why = match answer {
            Ok(Ok(line)) if line.split(' ').nth(1) == Some("200") => return Ok(()),
            Ok(Ok(line)) => line,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} s", PROBE.as_secs()),
        };
        if Instant::now() >= deadline {
            return Err(wrong(why));
        }
        sleep(PAUSE).await;
    }
}

async fn status_line(host: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(256).read_to_end(&mut head).await?;
    let text = String::from_utf8_lossy(&head);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Scales the operator to nothing and takes its finalizer from every resource, so that nothing waits for an operator
/// that is gone. What the resources stand for stays on the brokers.
///
/// # Errors
/// No cluster, a refusal of the API server, or `args.timeout`.
pub async fn retire(args: &RetireArgs) -> Result<(), Error> {
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

/// Takes the finalizer from all objects that have it; how many did.
async fn release_all(client: &Client, namespaces: &[String]) -> Result<usize, Error> {
    let kinds = [
        ApiResource::erase::<Binding>(&()),
        ApiResource::erase::<Queue>(&()),
        ApiResource::erase::<Exchange>(&()),
        ApiResource::erase::<Broker>(&()),
    ];
    let mut freed = 0;
    for kind in &kinds {
        let mut scopes: Vec<Api<DynamicObject>> = namespaces
            .iter()
            .map(|namespace| Api::namespaced_with(client.clone(), namespace, kind))
            .collect();
        if scopes.is_empty() {
            scopes.push(Api::all_with(client.clone(), kind));
        }
        for api in scopes {
            freed += release_kind(client, kind, &api).await?;
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

async fn release(client: &Client, kind: &ApiResource, object: PartialObjectMeta<DynamicObject>) -> Result<(), Error> {
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
