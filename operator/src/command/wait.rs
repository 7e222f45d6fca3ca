//! `leveret-operator wait`: until an upgraded operator has brought its Brokers up to date, and they are ready.
//!
//! In: a cluster, the operator's name, the image of its brokers. Out: success, or what is not ready after some time, by
//! name. Does not know about brokers, or how they are brought up to date.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::api_server::{self, client, request};
use super::installed::InstalledArgs;
use super::task::{Run, once};
use super::values::{namespace, up_to_an_hour};
use crate::engine::names::VERSION_ANNOTATION;
use crate::object::{PAUSED, is_set};
use crate::resource::Kind;

/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_secs(1);
/// Reasons of a Broker that an upgrade does not end: its author has to.
const NOT_OURS: [&str; 7] = [
    "Paused",
    "InvalidArgument",
    "NotAllowed",
    "Conflict",
    "Immutable",
    "Mismatch",
    "Unschedulable",
];

#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Deployment of the operator, waited for first; default: none
    #[arg(long, value_name = "NAME")]
    pub deployment: Option<String>,

    #[command(flatten)]
    pub installed: InstalledArgs,

    /// Image of the brokers that name none
    #[arg(long, value_name = "IMAGE", env = "LEVERET_BROKER_IMAGE")]
    pub broker_image: String,

    /// Namespace whose Brokers are waited for, repeatable; default: all namespaces
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub watch_namespaces: Vec<String>,

    /// Longest time, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "4m", value_parser = up_to_an_hour)]
    pub timeout: Duration,
}

/// Not everything is ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] api_server::Error),
    #[error("not ready after {} s: {}", limit.as_secs(), what.join("; "))]
    TooLate { what: Vec<String>, limit: Duration },
}

impl Run for WaitArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        once(wait(&self))??;
        Ok(ExitCode::SUCCESS)
    }
}

/// Waits until all is ready.
///
/// # Errors
/// No cluster, a refusal of the API server, or `args.timeout`.
async fn wait(args: &WaitArgs) -> Result<(), Error> {
    let client = client().await?;
    let deadline = Instant::now() + args.timeout;
    let mut said = Vec::new();
    loop {
        let found = match look(&client, args).await {
            // An API server that is away for a moment, or has not heard of the rights yet, ends no upgrade.
            Err(error) if Instant::now() < deadline => {
                warn!(%error, "asked again");
                sleep(PAUSE).await;
                continue;
            }
            found => found?,
        };
        let Found { waiting, left_out } = found;
        for what in left_out {
            if !said.contains(&what) {
                warn!("not waited for: {what}");
                said.push(what);
            }
        }
        if waiting.is_empty() {
            info!("the operator and its Brokers are up to date and ready");
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::TooLate {
                what: waiting,
                limit: args.timeout,
            });
        }
        sleep(PAUSE).await;
    }
}

/// The things that are waited for, and those that are not although they aren't ready.
#[derive(Default)]
struct Found {
    waiting: Vec<String>,
    left_out: Vec<String>,
}

async fn look(client: &Client, args: &WaitArgs) -> Result<Found, Error> {
    let mut found = Found::default();
    if let Some(name) = &args.deployment {
        match operator(client, args, name).await? {
            State::Ready => {}
            State::Off => return Ok(found),
            State::Not(why) => {
                found.waiting.push(why);
                return Ok(found);
            }
        }
    }
    for broker in brokers(client, args).await? {
        let name = format!(
            "Broker {}/{}",
            broker.namespace().unwrap_or_default(),
            broker.name_any()
        );
        let Some(missing) = missing(client, args, &broker).await? else {
            continue;
        };
        let (reason, message) = ready(&broker);
        let own_image =
            broker.data.pointer("/spec/image").is_some() && matches!(reason.as_str(), "ImagePull" | "Crashed");
        let to = if NOT_OURS.contains(&reason.as_str()) || own_image {
            &mut found.left_out
        } else {
            &mut found.waiting
        };
        to.push(format!("{name}: {missing} ({reason}: {message})"));
    }
    Ok(found)
}

enum State {
    Ready,
    /// It is to have no pod.
    Off,
    Not(String),
}

async fn operator(client: &Client, args: &WaitArgs, name: &str) -> Result<State, Error> {
    let what = format!("deployment {name}");
    let api = args.installed.deployments(client);
    let deployment = api.get(name).await.map_err(request(&what))?;
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let status = deployment.status.unwrap_or_default();
    let all = |count: Option<i32>| count.unwrap_or_default() == wanted;
    let seen = status.observed_generation >= deployment.metadata.generation;
    Ok(match wanted {
        0 => State::Off,
        _ if seen && all(status.updated_replicas) && all(status.available_replicas) && all(status.replicas) => {
            State::Ready
        }
        _ => State::Not(format!("{what}: its pods are being replaced")),
    })
}

/// The Brokers that the operator runs, and that are to stay.
async fn brokers(client: &Client, args: &WaitArgs) -> Result<Vec<DynamicObject>, Error> {
    let resource = Kind::Broker.api_resource();
    let apis: Vec<Api<DynamicObject>> = match args.watch_namespaces.as_slice() {
        [] => vec![Api::all_with(client.clone(), &resource)],
        some => some
            .iter()
            .map(|namespace| Api::namespaced_with(client.clone(), namespace, &resource))
            .collect(),
    };
    let me = args.installed.operator(client).to_string();
    let mut found = Vec::new();
    for api in apis {
        match api.list(&ListParams::default()).await {
            // A namespace that is gone, as for the operator itself.
            Err(kube::Error::Api(status)) if status.code == 403 && args.watch_namespaces.len() > 1 => {}
            listed => found.extend(listed.map_err(request("brokers"))?.items),
        }
    }
    let text = |broker: &DynamicObject, pointer: &str| {
        let value = broker.data.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    found.retain(|broker| {
        let kept = text(broker, "/status/operator/name");
        let ours = kept.is_empty() || kept == me;
        let paused = is_set(broker.annotations(), PAUSED);
        ours && !paused && text(broker, "/spec/engine") != "External" && broker.metadata.deletion_timestamp.is_none()
    });
    Ok(found)
}

/// The thing that a Broker still lacks.
async fn missing(client: &Client, args: &WaitArgs, broker: &DynamicObject) -> Result<Option<&'static str>, Error> {
    let (name, place) = (broker.name_any(), broker.namespace().unwrap_or_default());
    let api: Api<StatefulSet> = Api::namespaced(client.clone(), &place);
    let set = api.get_opt(&name).await;
    let Some(set) = set.map_err(request(format!("statefulset {place}/{name}")))? else {
        return Ok(Some("has no StatefulSet yet"));
    };
    let version = set.annotations().get(VERSION_ANNOTATION).map(String::as_str);
    let spec = set.spec.clone();
    let containers = spec.template.spec.map(|spec| spec.containers).unwrap_or_default();
    let image = containers.iter().find(|container| container.name == "broker");
    let image = image.and_then(|container| container.image.as_deref());
    let wanted = broker.data.pointer("/spec/image").and_then(Value::as_str);
    let template = broker.data.pointer("/spec/podTemplate/spec/containers");
    let mut patches = template.and_then(Value::as_array).into_iter().flatten();
    let patched = patches.any(|container| container.get("image").is_some());
    if version != Some(env!("CARGO_PKG_VERSION")) || (!patched && image != Some(wanted.unwrap_or(&args.broker_image))) {
        return Ok(Some("is not brought up to date yet"));
    }
    let status = set.status.unwrap_or_default();
    let seen = status.observed_generation >= set.metadata.generation;
    let rolled = seen && status.current_revision == status.update_revision && status.ready_replicas == spec.replicas;
    Ok(match ready(broker) {
        _ if !rolled => Some("its pod is being replaced"),
        (reason, _) if reason != "Synced" => Some("is not ready"),
        _ => None,
    })
}

/// Reason and message of a Broker's `Ready`, where that is of its newest generation.
fn ready(broker: &DynamicObject) -> (String, String) {
    let conditions = broker.data.pointer("/status/conditions").and_then(Value::as_array);
    let mut all = conditions.into_iter().flatten();
    let found = all.find(|condition| {
        condition["type"] == "Ready" && condition["observedGeneration"].as_i64() == broker.metadata.generation
    });
    let text = |name: &str| {
        let value = found.and_then(|condition| condition[name].as_str());
        value.unwrap_or_default().to_owned()
    };
    match found {
        Some(_) => (text("reason"), text("message")),
        None => ("Unseen".to_owned(), "no operator has looked at it".to_owned()),
    }
}
