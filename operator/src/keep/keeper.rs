//! (client) Keeps the objects of one broker as declared: applies what differs, removes what is no longer wanted, lets
//! the volume grow.
//!
//! In: the `Broker` and what stands in the cluster. Out: requests to the API server, only where something differs, and
//! what is wrong. Does not know about the broker in the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{DynamicObject, ObjectMeta};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::{debug, info};

use super::children::{Seen, seen};
use super::cluster_keys::Known;
use crate::engine::account_tokens::{self, Issuer};
use crate::engine::network::OperatorPods;
use crate::engine::template::{self, PodTemplates};
use crate::engine::{Child, ChildKind, config, fingerprint, names, network, secret, statefulset};
use crate::metrics::{ApiWrite, Metrics};
use crate::object::{Object, Reason};
use crate::resource::BrokerSpec;
use crate::resource::workload::quantity_value;
use crate::source::kubernetes::MANAGER;

/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(10);

/// The reason why the objects are not as declared: for the Broker's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: Reason,
    pub message: String,
}

impl Problem {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// A pause and another attempt may help.
    fn away(message: impl Into<String>) -> Self {
        Self::new(Reason::WaitingForBroker, message)
    }
}

/// The outcome of a pass without a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as declared.
    Whole,
    /// The volume is to grow, and can't before its claim is bound, of which nothing tells.
    GrowsLater,
}

/// The settings of all keepers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of brokers that name none.
    pub image: String,
    /// The fields that a `podTemplate` may change.
    pub pod_templates: PodTemplates,
    /// The operator's own pods; `None` when it runs in none.
    pub operator: Option<OperatorPods>,
}

/// The parts that all keepers share.
#[derive(Clone)]
pub struct Tools {
    pub client: Client,
    pub metrics: Metrics,
    pub settings: Settings,
    /// The cluster has the Prometheus operator's CRDs.
    pub monitors: bool,
}

/// The objects of one broker, as they were last applied.
#[derive(Default)]
pub struct Keeper {
    applied: BTreeMap<(ChildKind, String), (String, Seen)>,
    /// The issuer of tokens, where the broker takes some.
    issuer: Option<Arc<Issuer>>,
}

impl Keeper {
    /// Makes all objects as declared. `there` is what the watches show, `size` the volume's size in the StatefulSet,
    /// `keys` what is known of the cluster as an issuer of tokens, `sockets` the ports of ZeroMQ sockets.
    ///
    /// # Errors
    /// The first problem; what does not depend on it has been applied.
    pub async fn keep(
        &mut self,
        tools: &Tools,
        broker: &Object<BrokerSpec>,
        there: &BTreeMap<(ChildKind, String), Seen>,
        size: Option<&Value>,
        keys: &Known,
        sockets: &BTreeSet<u16>,
    ) -> Result<Outcome, Problem> {
        if let Some(template) = &broker.spec.pod_template {
            let permitted = template::permit(tools.settings.pod_templates, template);
            permitted.map_err(|text| Problem::new(Reason::NotAllowed, text))?;
        }
        self.issuer = self.issuer(tools, broker, keys).await?;
        let settings = config::settings(broker, self.issuer.as_deref());
        let settings = settings.map_err(|text| Problem::new(Reason::InvalidArgument, text))?;
        let credentials = self.credentials(tools, broker).await?;
        let spec = &broker.spec;
        let mut wanted = vec![
            credentials,
            config::config_map(broker, &settings),
            network::headless_service(broker, sockets),
            network::client_service(broker, sockets),
            network::disruption_budget(broker),
            statefulset::stateful_set(broker, &tools.settings.image, &settings, size),
        ];
        wanted.extend(network::network_policy(
            broker,
            tools.settings.operator.as_ref(),
            sockets,
        ));
        if tools.monitors {
            wanted.push(network::service_monitor(broker));
        }
        let mut problem = None;
        for child in &wanted {
            if let Err(found) = self.apply(tools, broker, child, there).await {
                problem.get_or_insert(found);
            }
        }
        self.prune(tools, broker, &wanted, there).await?;
        let outcome = match &spec.storage {
            Some(storage) => grow(tools, broker, &storage.size).await?,
            None => Outcome::Whole,
        };
        let stale = || keys.problem.clone().map(|(reason, text)| Problem::new(reason, text));
        problem.or_else(stale).map_or(Ok(outcome), Err)
    }

    /// Removes everything, as when a Broker is no longer run by the operator. The volume stays, or goes, as the
    /// StatefulSet says.
    ///
    /// # Errors
    /// The objects that could not be removed.
    pub async fn remove(
        &mut self,
        tools: &Tools,
        broker: &Object<BrokerSpec>,
        there: &BTreeMap<(ChildKind, String), Seen>,
    ) -> Result<(), Problem> {
        self.prune(tools, broker, &[], there).await
    }

    /// Takes a pod away for which the StatefulSet then makes another one.
    ///
    /// # Errors
    /// The API server's, but for a pod that is gone already.
    pub async fn replace_pod(tools: &Tools, broker: &Object<BrokerSpec>, uid: &str) -> Result<(), Problem> {
        let key = &broker.meta.key;
        let name = names::pod(key);
        let api: Api<Pod> = Api::namespaced(tools.client.clone(), &key.namespace);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        let deletion = async {
            match api.delete(&name, &parameters).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                answer => answer.map(drop),
            }
        };
        let result = request(&format!("Pod {name}"), deletion).await;
        tools.metrics.api_write(ApiWrite::Object, result.is_ok());
        result.map(|()| info!(broker = %key, pod = name, "the broker was killed; its pod is replaced, which is sooner than its restart"))
    }

    /// The generation of the StatefulSet as it was last applied here.
    pub fn applied_generation(&self, broker: &Object<BrokerSpec>) -> Option<i64> {
        let place = (ChildKind::StatefulSet, names::main(&broker.meta.key));
        self.applied.get(&place)?.1.generation
    }

    /// The mark of the file that is in the ConfigMap.
    pub fn settings_mark(&self, broker: &Object<BrokerSpec>) -> Option<String> {
        let settings = config::settings(broker, self.issuer.as_deref()).ok()?;
        Some(fingerprint(&settings.file))
    }

    /// The issuer, where the broker takes tokens: as it was read now, or else as it was when the ConfigMap was written.
    async fn issuer(
        &self,
        tools: &Tools,
        broker: &Object<BrokerSpec>,
        keys: &Known,
    ) -> Result<Option<Arc<Issuer>>, Problem> {
        if broker.spec.service_account_tokens.is_none() {
            return Ok(None);
        }
        if let Some(issuer) = keys.issuer.as_ref().or(self.issuer.as_ref()) {
            return Ok(Some(Arc::clone(issuer)));
        }
        let name = names::config(&broker.meta.key);
        let api: Api<ConfigMap> = Api::namespaced(tools.client.clone(), &broker.meta.key.namespace);
        let there = answer(&name, ChildKind::ConfigMap, api.get_opt(&name)).await?;
        let there = there.filter(|map| owned(broker, ChildKind::ConfigMap, &map.metadata).is_ok());
        let file = there.and_then(|map| map.data?.remove(account_tokens::FILE));
        match file.as_deref().and_then(Issuer::read) {
            Some(issuer) => Ok(Some(Arc::new(issuer))),
            None => {
                let unknown = || Problem::away("the cluster's keys for serviceAccountTokens have not been read yet");
                let why = keys.problem.clone().map(|(reason, text)| Problem::new(reason, text));
                Err(why.unwrap_or_else(unknown))
            }
        }
    }

    /// The Secret as it should be. It is read again each time: a password that is there must never be replaced.
    async fn credentials(&self, tools: &Tools, broker: &Object<BrokerSpec>) -> Result<Child, Problem> {
        let key = &broker.meta.key;
        let name = names::admin(key);
        let api: Api<Secret> = Api::namespaced(tools.client.clone(), &key.namespace);
        let existing = answer(&name, ChildKind::Secret, api.get_opt(&name)).await?;
        if let Some(existing) = &existing {
            owned(broker, ChildKind::Secret, &existing.metadata)?;
        }
        let credentials = secret::credentials(existing.as_ref());
        Ok(secret::secret(broker, &credentials, existing.as_ref()))
    }

    async fn apply(
        &mut self,
        tools: &Tools,
        broker: &Object<BrokerSpec>,
        child: &Child,
        there: &BTreeMap<(ChildKind, String), Seen>,
    ) -> Result<(), Problem> {
        let place = (child.kind, child.name.clone());
        let hash = fingerprint(&child.manifest.to_string());
        let known = self.applied.get(&place);
        if known.is_some_and(|(old, applied)| *old == hash && is_same(applied, there.get(&place))) {
            return Ok(());
        }
        let resource = child.kind.api_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(tools.client.clone(), &broker.meta.key.namespace, &resource);
        if known.is_none()
            && let Some(found) = answer(&child.name, child.kind, api.get_metadata_opt(&child.name)).await?
        {
            owned(broker, child.kind, &found.metadata)?;
        }
        let parameters = PatchParams::apply(MANAGER).force();
        let manifest = Patch::Apply(&child.manifest);
        let result = answer(&child.name, child.kind, api.patch(&child.name, &parameters, &manifest)).await;
        tools.metrics.api_write(ApiWrite::Object, result.is_ok());
        let object = result.inspect_err(|_| {
            self.applied.remove(&place);
        })?;
        debug!(broker = %broker.meta.key, kind = child.kind.names().2, name = child.name, "applied");
        self.applied.insert(place, (hash, seen(&object.metadata)));
        Ok(())
    }

    /// Removes objects of this Broker that are no longer wanted.
    async fn prune(
        &mut self,
        tools: &Tools,
        broker: &Object<BrokerSpec>,
        wanted: &[Child],
        there: &BTreeMap<(ChildKind, String), Seen>,
    ) -> Result<(), Problem> {
        for (place, found) in there {
            let (kind, name) = place;
            // Credentials are never deleted but with their Broker: clients may still need to be told the old ones.
            if *kind == ChildKind::Secret {
                continue;
            }
            if wanted.iter().any(|child| child.kind == *kind && child.name == *name) {
                continue;
            }
            let resource = kind.api_resource();
            let api: Api<DynamicObject> =
                Api::namespaced_with(tools.client.clone(), &broker.meta.key.namespace, &resource);
            let Some(object) = answer(name, *kind, api.get_metadata_opt(name)).await? else {
                continue;
            };
            if owned(broker, *kind, &object.metadata).is_err() || object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(found.uid.clone()),
                    resource_version: None,
                }),
                ..DeleteParams::background()
            };
            let result = answer(name, *kind, api.delete(name, &parameters)).await;
            tools.metrics.api_write(ApiWrite::Object, result.is_ok());
            result?;
            info!(broker = %broker.meta.key, kind = kind.names().2, name, "removed");
            self.applied.remove(place);
        }
        Ok(())
    }
}

/// True when the object stands as it was left. What the watch shows may be older than what was applied.
fn is_same(applied: &Seen, there: Option<&Seen>) -> bool {
    let Some(there) = there else {
        // Not seen yet, or gone: the watch tells the difference, since an object that is gone has been seen before.
        return false;
    };
    there.uid == applied.uid
        && (there.version <= applied.version || (there.generation.is_some() && there.generation == applied.generation))
}

/// Nothing is taken over that others have made.
fn owned(broker: &Object<BrokerSpec>, kind: ChildKind, metadata: &ObjectMeta) -> Result<(), Problem> {
    let what = kind.names().2;
    let name = metadata.name.as_deref().unwrap_or_default();
    let owner = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    match owner {
        Some(owner) if owner.uid == broker.meta.uid => Ok(()),
        Some(owner) if owner.kind == "Broker" && owner.name == broker.meta.key.name => Err(Problem::away(format!(
            "{what} {name} of the Broker that had this name before is being removed"
        ))),
        _ => Err(Problem::new(
            Reason::Conflict,
            format!("{what} {name} exists and does not belong to this Broker: rename one of them"),
        )),
    }
}

/// Lets the volume grow. The StatefulSet's template stays as it is, since it cannot be changed.
async fn grow(tools: &Tools, broker: &Object<BrokerSpec>, size: &Value) -> Result<Outcome, Problem> {
    let key = &broker.meta.key;
    let name = names::claim(key);
    let api: Api<PersistentVolumeClaim> = Api::namespaced(tools.client.clone(), &key.namespace);
    let what = format!("PersistentVolumeClaim {name}");
    let Some(claim) = request(&what, api.get_opt(&name)).await? else {
        return Ok(Outcome::Whole);
    };
    let bound = claim.status.and_then(|status| status.phase).as_deref() == Some("Bound");
    let spec = claim.spec.unwrap_or_default();
    let class = spec.storage_class_name.unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests);
    let now = requests.and_then(|requests| requests.get("storage").cloned());
    let (Some(now), Some(wanted)) = (now, quantity_value(size)) else {
        return Ok(Outcome::Whole);
    };
    let asked = quantity_value(&Value::String(now.0.clone())).unwrap_or(wanted);
    if wanted == asked {
        return Ok(Outcome::Whole);
    }
    if wanted < asked {
        let text = format!("storage.size: {what} has {} and a volume cannot shrink", now.0);
        return Err(Problem::new(Reason::Immutable, text));
    }
    if !bound {
        return Ok(Outcome::GrowsLater);
    }
    let body = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let result = request(&what, api.patch(&name, &parameters, &Patch::Merge(&body))).await;
    tools.metrics.api_write(ApiWrite::Object, result.is_ok());
    result.map_err(|problem| match problem.reason {
        // The API server's admission of volume sizes: the class says no. It is the same status as that of a missing
        // right.
        Reason::NotAllowed if problem.message.contains("must support resize") => Problem::new(
            Reason::Immutable,
            format!("storage.size: {what} has {} and its storage class '{class}' lets no volume grow (allowVolumeExpansion)", now.0),
        ),
        _ => problem,
    })?;
    info!(broker = %key, claim = name, from = now.0, to = %size, "the volume grows");
    Ok(Outcome::Whole)
}

async fn answer<T>(name: &str, kind: ChildKind, call: impl Future<Output = kube::Result<T>>) -> Result<T, Problem> {
    request(&format!("{} {name}", kind.names().2), call).await
}

/// One request, bounded in time; what the API server says against it becomes a reason.
async fn request<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Problem> {
    match timeout(REQUEST, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => {
            let text = format!("{what}: {}", status.message);
            Err(match status.code {
                422 if status.message.contains("Forbidden: updates to statefulset spec") => Problem::new(
                    Reason::Immutable,
                    format!(
                        "{what}: whether there is storage, and its class, cannot be changed: {}",
                        status.message
                    ),
                ),
                400 | 422 => Problem::new(Reason::InvalidArgument, text),
                401 | 403 => Problem::new(Reason::NotAllowed, text),
                404 => Problem::away(format!("{what}: {}", status.message)),
                _ => Problem::away(text),
            })
        }
        Ok(Err(error)) => Err(Problem::away(format!("{what}: {error}"))),
        Err(_) => Err(Problem::away(format!("{what}: no answer of the API server"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_the_spec_counts() {
        let state = |version, generation| Seen {
            uid: "u".to_owned(),
            version,
            generation,
        };
        let applied = state(5, Some(2));
        assert!(is_same(&applied, Some(&state(4, Some(1)))), "the watch is behind");
        assert!(
            is_same(&applied, Some(&state(9, Some(2)))),
            "only the status has changed"
        );
        assert!(!is_same(&applied, Some(&state(9, Some(3)))));
        assert!(!is_same(&state(5, None), Some(&state(6, None))));
        assert!(!is_same(&applied, None));
        let other = Seen {
            uid: "v".to_owned(),
            ..state(1, Some(1))
        };
        assert!(!is_same(&applied, Some(&other)), "made again by another");
    }
}
