//! (client) The Secrets that are made for resources: watched by their label, all of a component with one watch, and
//! applied where they differ.
//!
//! In: an `Order` with the data that is wanted. Out: the Secret in the cluster as ordered; or why not. Does not know
//! about when to look, nor what the data means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::children::{follow, seen};
use super::turn::Bell;
use crate::engine::names;
use crate::metrics::{ApiWrite, Metrics};
use crate::object::{Meta, ObjectKey, Reason};
use crate::source::kubernetes::MANAGER;

/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(10);
/// Time in which a watch shows what was written.
const SHOWN: Duration = Duration::from_secs(2);

/// A Secret that is made for a resource.
pub(super) struct Order<'a> {
    /// The resource.
    pub(super) owner: &'a Meta,
    pub(super) name: String,
    pub(super) component: &'static str,
    /// One more label.
    pub(super) label: Option<(&'static str, &'static str)>,
    pub(super) type_: &'static str,
    /// Keys that are not always there.
    pub(super) passing: &'static [&'static str],
    pub(super) taken: Taken,
}

/// The thing to do about a Secret of that name which is not the resource's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// This field of the resource can give another name.
    Rename(&'static str),
    /// One that is nobody's is taken over.
    Adopt,
}

/// The content of a Secret.
pub(super) type Data = BTreeMap<&'static str, String>;

/// The reason why a Secret is not as ordered.
pub(super) type Refusal = (Reason, String);

/// The Secrets of a component. The watches end when it is dropped.
pub(super) struct Made {
    client: Client,
    metrics: Metrics,
    /// By namespace, or all of them.
    stores: Vec<(Option<String>, Store<Secret>)>,
    /// Written a moment ago: the watch may not show it yet.
    written: Mutex<BTreeMap<ObjectKey, (Arc<Secret>, Instant)>>,
    bell: Arc<Bell>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Made {
    /// Starts watching the Secrets of `component` in `namespaces`, or in all when there are none.
    pub(super) fn start(client: Client, namespaces: &[String], component: &str, metrics: Metrics) -> Self {
        let selector = names::made_selector(component);
        let bell = Arc::new(Bell::new());
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let (mut stores, mut tasks) = (Vec::new(), Vec::new());
        for scope in scopes {
            let api: Api<Secret> = match &scope {
                Some(namespace) => Api::namespaced(client.clone(), namespace),
                None => Api::all(client.clone()),
            };
            let writer = Writer::<Secret>::new(());
            stores.push((scope, writer.as_reader()));
            let stream = watcher(api, watcher::Config::default().labels(&selector));
            tasks.push(tokio::spawn(follow("Secret", writer, stream, Arc::clone(&bell))));
        }
        Self {
            client,
            metrics,
            stores,
            written: Mutex::default(),
            bell,
            tasks,
        }
    }

    /// A number that grows whenever something has changed.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.bell.changed()
    }

    /// Waits until all have been read once.
    pub(super) async fn read(&self) {
        for (_, store) in &self.stores {
            // The writers live as long as their tasks, which only end with this.
            let _ = store.wait_until_ready().await;
        }
    }

    /// Makes the Secret as ordered, with the data that follows from the one that is there; that data.
    ///
    /// # Errors
    /// The Secret cannot be made as it should be now; another attempt may help.
    pub(super) async fn keep(
        &self,
        order: &Order<'_>,
        data: impl Fn(Option<&Secret>) -> Data,
    ) -> Result<Data, Refusal> {
        let existing = match self.known(order) {
            Some(existing) => existing,
            None => {
                let new = data(None);
                match self.create(order, &new).await? {
                    None => return Ok(new),
                    Some(existing) => existing,
                }
            }
        };
        owned(order, &existing)?;
        let wanted = data(Some(&existing));
        if !is_as_ordered(order, &existing, &wanted) {
            self.change(order, &existing, &wanted).await?;
        }
        Ok(wanted)
    }

    /// The Secret as it stands, as far as that is known.
    fn known(&self, order: &Order<'_>) -> Option<Arc<Secret>> {
        let (key, name) = (&order.owner.key, &order.name);
        let here =
            |scope: &&(Option<String>, Store<Secret>)| scope.0.as_ref().is_none_or(|name| *name == key.namespace);
        let store = self.stores.iter().find(here);
        let shown = store.and_then(|(_, store)| store.get(&ObjectRef::new(name).within(&key.namespace)));
        let mut written = self.written.lock();
        let Some((last, at)) = written.get(key).cloned() else {
            return shown;
        };
        let is_ahead = match &shown {
            Some(shown) => seen(&shown.metadata).version < seen(&last.metadata).version,
            // Not shown yet, or gone again.
            None => at.elapsed() < SHOWN,
        };
        let is_same = last.metadata.name.as_ref() == Some(name);
        if is_ahead && is_same {
            return Some(last);
        }
        written.remove(key);
        shown
    }

    /// Makes a new Secret; the answer is one that is there already.
    async fn create(&self, order: &Order<'_>, data: &Data) -> Result<Option<Arc<Secret>>, Refusal> {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": names::made_for(order.owner, &order.name, order.component, order.label),
            "type": order.type_,
            "data": encoded(data),
        });
        let made: Secret = serde_json::from_value(manifest).map_err(|error| broken(order, &error))?;
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(order);
        let answer = self.write(order, api.create(&parameters, &made)).await;
        match answer {
            Err(Refused { code: 409, .. }) => {}
            answer => return answer.map(|()| None).map_err(|refused| refused.told),
        }
        let found = timeout(REQUEST, api.get(&order.name)).await;
        let found = found.map_err(|error| broken(order, &error))?;
        let found = Arc::new(found.map_err(|error| broken(order, &error))?);
        Ok(Some(found))
    }

    /// Changes what is not as ordered, in the Secret that was looked at and no other.
    async fn change(&self, order: &Order<'_>, existing: &Secret, data: &Data) -> Result<(), Refusal> {
        let mut data = encoded(data);
        for key in order.passing {
            data.entry(*key).or_insert(Value::Null);
        }
        let mut metadata = names::made_for(order.owner, &order.name, order.component, order.label);
        metadata["uid"] = json!(existing.metadata.uid);
        metadata["resourceVersion"] = json!(existing.metadata.resource_version);
        let body = json!({ "metadata": metadata, "data": data });
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&body);
        let answer = self
            .write(order, self.api(order).patch(&order.name, &parameters, &patch))
            .await;
        answer.map_err(|refused| refused.told)
    }

    fn api(&self, order: &Order<'_>) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &order.owner.key.namespace)
    }

    async fn write(
        &self,
        order: &Order<'_>,
        request: impl Future<Output = kube::Result<Secret>>,
    ) -> Result<(), Refused> {
        let answer = timeout(REQUEST, request).await;
        self.metrics.api_write(ApiWrite::Object, matches!(answer, Ok(Ok(_))));
        let code = match &answer {
            Ok(Err(kube::Error::Api(status))) => status.code,
            _ => 0,
        };
        let refused = |told| Refused { code, told };
        let made = answer.map_err(|error| refused(broken(order, &error)))?;
        let made = made.map_err(|error| match error {
            kube::Error::Api(status) if matches!(code, 400..=403 | 422) => {
                let text = format!("Secret {}: {}", order.name, status.message);
                let reason = if matches!(code, 401 | 403) {
                    Reason::NotAllowed
                } else {
                    Reason::InvalidArgument
                };
                refused((reason, text))
            }
            error => refused(broken(order, &error)),
        })?;
        let written = (Arc::new(made), Instant::now());
        self.written.lock().insert(order.owner.key.clone(), written);
        Ok(())
    }
}

/// A request that came to nothing.
struct Refused {
    /// Of the API server; 0 without an answer.
    code: u16,
    told: (Reason, String),
}

/// Another attempt may help.
fn broken(order: &Order<'_>, error: &impl std::fmt::Display) -> (Reason, String) {
    let text = format!("Secret {}: {error}", order.name);
    (Reason::WaitingForSecret, text)
}

fn encoded(data: &Data) -> serde_json::Map<String, Value> {
    let encode = |(key, value): (&&str, &String)| ((*key).to_owned(), json!(ByteString(value.clone().into_bytes())));
    data.iter().map(encode).collect()
}

fn is_as_ordered(order: &Order<'_>, secret: &Secret, data: &Data) -> bool {
    let there = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let same = |(key, value): (&&str, &String)| there(key).is_some_and(|there| there.0 == value.as_bytes());
    let passed = |key: &&str| data.contains_key(key) || there(key).is_none();
    data.iter().all(same) && order.passing.iter().all(passed) && is_watched(order, secret)
}

/// One that was taken over gets the labels by which a watch shows it.
fn is_watched(order: &Order<'_>, secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    let has = |(name, value): (&str, &str)| labels.and_then(|labels| labels.get(name)).is_some_and(|it| it == value);
    names::made_labels(order.component).into_iter().all(has)
}

/// Nothing is taken over that others have made.
fn owned(order: &Order<'_>, secret: &Secret) -> Result<(), Refusal> {
    let (name, key) = (&order.name, &order.owner.key);
    let mut owners = secret.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    let text = match (owner, order.taken) {
        (Some(owner), _) if owner.uid == order.owner.uid => return Ok(()),
        (Some(owner), _) if owner.kind == key.kind.as_str() && owner.name == key.name => {
            let text = format!(
                "Secret {name} of the {} that had this name before is being removed",
                key.kind
            );
            return Err((Reason::WaitingForSecret, text));
        }
        (None, Taken::Adopt) => return Ok(()),
        (Some(_), Taken::Adopt) => format!("Secret {name} exists and belongs to another object"),
        (_, Taken::Rename(field)) => format!(
            "Secret {name} exists and does not belong to this {}: give another name in {field}",
            key.kind
        ),
    };
    Err((Reason::Conflict, text))
}
