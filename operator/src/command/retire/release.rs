//! What an operator that goes has to give back: finalizers, Brokers, its Lease.
//!
//! In: a cluster, the operator's name. Out: requests, for what is its own alone. Does not know about processes.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::command::api_server::{Error, request};
use crate::object::{FINALIZER, ObjectKey};
use crate::resource::Kind;
use crate::source::kubernetes::Operator;

/// Requests on their way at once.
const AT_ONCE: usize = 16;
/// Objects of one page of a list.
const PAGE: u32 = 500;

/// One retirement.
pub(super) struct Release {
    client: Client,
    /// Namespaces to look at; none: all.
    namespaces: Vec<String>,
    operator: Operator,
    everyone: bool,
    /// Brokers that were looked up, and by whom they are kept; `None`: by nobody, or there is none.
    brokers: BTreeMap<ObjectKey, Option<String>>,
    /// Namespaces that may not be read: most often, they are gone.
    forbidden: BTreeSet<String>,
}

impl Release {
    pub(super) fn new(client: &Client, namespaces: Vec<String>, operator: Operator, everyone: bool) -> Self {
        Self {
            client: client.clone(),
            namespaces,
            operator,
            everyone,
            brokers: BTreeMap::new(),
            forbidden: BTreeSet::new(),
        }
    }

    /// Removes the finalizer from all objects that have it and are not another operator's; how many there were.
    pub(super) async fn finalizers(&mut self) -> Result<usize, Error> {
        self.brokers.clear();
        for broker in self.all(Kind::Broker).await? {
            self.brokers.insert(key(Kind::Broker, &broker), keeper(&broker));
        }
        let mut freed = 0;
        for kind in Kind::OWN.into_iter().rev() {
            let mut ours = Vec::new();
            for object in self.all(kind).await? {
                if object.finalizers().iter().any(|name| name == FINALIZER) && self.is_ours(kind, &object).await? {
                    ours.push(object);
                }
            }
            let resource = kind.api_resource();
            let released: Vec<()> = stream::iter(ours.iter().map(|object| release(&self.client, &resource, object)))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            freed += released.len();
        }
        Ok(freed)
    }

    /// All objects of a kind, in the namespaces that can be read.
    async fn all(&mut self, kind: Kind) -> Result<Vec<DynamicObject>, Error> {
        let resource = kind.api_resource();
        if self.namespaces.is_empty() {
            let listed = list(&Api::all_with(self.client.clone(), &resource)).await;
            return listed.map_err(request(kind.plural()));
        }
        let mut found = Vec::new();
        for namespace in &self.namespaces {
            match list(&Api::namespaced_with(self.client.clone(), namespace, &resource)).await {
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    if self.forbidden.insert(namespace.clone()) {
                        warn!(
                            namespace,
                            why = status.message,
                            "left out: it cannot be read, or is gone"
                        );
                    }
                    // None of them: that is the account's fault, not the namespaces'.
                    if self.forbidden.len() == self.namespaces.len() && self.namespaces.len() > 1 {
                        return Err(request(kind.plural())(kube::Error::Api(status)));
                    }
                }
                listed => found.extend(listed.map_err(request(kind.plural()))?),
            }
        }
        Ok(found)
    }

    /// True unless another operator keeps the Broker that the object is, or refers to.
    async fn is_ours(&mut self, kind: Kind, object: &DynamicObject) -> Result<bool, Error> {
        if self.everyone {
            return Ok(true);
        }
        let broker = match kind {
            Kind::Broker => key(kind, object),
            _ => {
                let reference = |field: &str| {
                    object
                        .data
                        .pointer(&format!("/spec/brokerRef/{field}"))
                        .and_then(Value::as_str)
                };
                let namespace = reference("namespace").map(str::to_owned).or_else(|| object.namespace());
                ObjectKey::new(
                    Kind::Broker,
                    namespace.unwrap_or_default(),
                    reference("name").unwrap_or_default(),
                )
            }
        };
        if !self.brokers.contains_key(&broker) {
            let found = self.look_up(&broker).await?;
            self.brokers.insert(broker.clone(), found);
        }
        let keeper = self.brokers.get(&broker).cloned().flatten();
        Ok(keeper.is_none_or(|keeper| keeper == self.operator.to_string()))
    }

    /// A Broker outside of the namespaces that were listed. One that may not be read is nobody's here: this operator
    /// did not see it either.
    async fn look_up(&self, broker: &ObjectKey) -> Result<Option<String>, Error> {
        let listed = self.namespaces.is_empty() || self.namespaces.contains(&broker.namespace);
        if listed || broker.name.is_empty() {
            return Ok(None);
        }
        let resource = Kind::Broker.api_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &broker.namespace, &resource);
        match api.get_opt(&broker.name).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            found => Ok(found
                .map_err(request(broker.to_string()))?
                .and_then(|broker| keeper(&broker))),
        }
    }

    /// Gives up the Brokers that this operator keeps, so that another may keep them at once.
    pub(super) async fn claims(&mut self) -> Result<(), Error> {
        let me = self.operator.to_string();
        for broker in self.all(Kind::Broker).await? {
            if keeper(&broker).as_ref() != Some(&me) {
                continue;
            }
            let key = key(Kind::Broker, &broker);
            let resource = Kind::Broker.api_resource();
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
            let patch = json!({
                "metadata": {"resourceVersion": broker.resource_version()}, "status": {"operator": null},
            });
            let parameters = PatchParams::default();
            match api.patch_status(&key.name, &parameters, &Patch::Merge(&patch)).await {
                // Gone already, or changed in between: at worst another operator finds out by itself.
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => {
                    warn!(broker = %key, why = status.message, "not given up");
                }
                answer => answer.map(drop).map_err(request(key.to_string()))?,
            }
        }
        Ok(())
    }

    /// Deletes the Lease, if nobody holds it or its holder was `stopped`.
    pub(super) async fn lease(&self, stopped: bool) {
        let Operator { namespace, lease, .. } = &self.operator;
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let delete = async {
            let Some(found) = api.get_opt(lease).await? else {
                return Ok(false);
            };
            let holder = found.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            if !(stopped || holder.is_empty()) {
                return Ok(false);
            }
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: found.metadata.uid,
                    resource_version: found.metadata.resource_version,
                }),
                ..DeleteParams::default()
            };
            api.delete(lease, &parameters).await.map(|_| true)
        };
        match delete.await {
            Ok(true) => info!(namespace, lease, "the Lease is deleted"),
            Ok(false) => {}
            Err::<_, kube::Error>(error) => warn!(namespace, lease, %error, "the Lease stays"),
        }
    }
}

fn key(kind: Kind, object: &DynamicObject) -> ObjectKey {
    ObjectKey::new(kind, object.namespace().unwrap_or_default(), object.name_any())
}

/// The operator that keeps a Broker.
fn keeper(broker: &DynamicObject) -> Option<String> {
    let name = broker.data.pointer("/status/operator/name").and_then(Value::as_str);
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

async fn list(api: &Api<DynamicObject>) -> kube::Result<Vec<DynamicObject>> {
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match api.list(&page).await {
            // A kind that is not installed has no objects.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(found),
            listed => listed?,
        };
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

async fn release(client: &Client, kind: &ApiResource, object: &DynamicObject) -> Result<(), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, kind);
    let others: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    // With the version that was read: another finalizer that comes in between is not lost.
    let patch = json!({"metadata": {"finalizers": others, "resourceVersion": object.resource_version()}});
    let name = object.name_any();
    let owned = object.data.pointer("/status/name").and_then(Value::as_str);
    match api
        .patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        // Gone already, or changed in between: the next pass sees it.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        answer => answer
            .map(drop)
            .map_err(request(format!("{} {namespace}/{name}", kind.kind)))?,
    }
    if let (Some(owned), true) = (owned, object.metadata.deletion_timestamp.is_some()) {
        warn!(
            kind = kind.kind,
            namespace, name, owned, "LeftBehind: it was being deleted, and stays on its broker"
        );
    }
    Ok(())
}
