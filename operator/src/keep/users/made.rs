//! (client) The Secrets that were made for Users: watched by their label, all with one watch, and applied where they
//! differ.
//!
//! In: a `User` with its `Broker`. Out: its password as a hash, with the Secret in the cluster as declared; or why not.
//! Does not know about when to look.

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
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::super::children::{follow, seen};
use super::super::turn::Bell;
use crate::engine::user_secret::{self, Login, Way};
use crate::metrics::{ApiWrite, Metrics};
use crate::object::{Group, Hash, Object, ObjectKey, Password, Reason};
use crate::resource::{BrokerSpec, UserSpec};
use crate::source::brought;
use crate::source::kubernetes::MANAGER;

/// Longest time for one request.
const REQUEST: Duration = Duration::from_secs(10);
/// Time in which a watch shows what was written.
const SHOWN: Duration = Duration::from_secs(2);

/// The Secrets. The watches end when it is dropped.
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
    /// Starts watching `namespaces`, or all when there are none.
    pub(super) fn start(client: Client, namespaces: &[String], metrics: Metrics) -> Self {
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
            let stream = watcher(api, watcher::Config::default().labels(user_secret::SELECTOR));
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

    /// The password of a User, in a Secret that is as it should be.
    ///
    /// # Errors
    /// The Secret cannot be made as it should be now; another attempt may help.
    pub(super) async fn password(
        &self,
        user: &Object<UserSpec>,
        broker: &Object<BrokerSpec>,
    ) -> Result<Password, (Reason, String)> {
        let kept = self.keep(user, broker, self.known(user)).await?;
        let place = brought::place(&brought::named(user, kept.username.clone()));
        Ok(Password::Known {
            hash: match kept.way {
                Way::Password(password) => Hash::salted(password.as_bytes(), &place.each_ref().map(String::as_str)),
                Way::Hash(hash) => Hash::new(brought::algorithm(&hash).as_str(), &hash),
            },
            slow: None,
            secret: Some(user_secret::name(user)),
            user: (user.meta.key.group == Group::RabbitMq).then_some(kept.username),
        })
    }

    /// The Secret as it stands, as far as that is known.
    fn known(&self, user: &Object<UserSpec>) -> Option<Arc<Secret>> {
        let (key, name) = (&user.meta.key, user_secret::name(user));
        let here =
            |scope: &&(Option<String>, Store<Secret>)| scope.0.as_ref().is_none_or(|name| *name == key.namespace);
        let store = self.stores.iter().find(here);
        let shown = store.and_then(|(_, store)| store.get(&ObjectRef::new(&name).within(&key.namespace)));
        let mut written = self.written.lock();
        let Some((last, at)) = written.get(key).cloned() else {
            return shown;
        };
        let is_ahead = match &shown {
            Some(shown) => seen(&shown.metadata).version < seen(&last.metadata).version,
            // Not shown yet, or gone again.
            None => at.elapsed() < SHOWN,
        };
        let is_same = last.metadata.name.as_ref() == Some(&name);
        if is_ahead && is_same {
            return Some(last);
        }
        written.remove(key);
        shown
    }

    /// Makes the Secret as declared; the login in it.
    async fn keep(
        &self,
        user: &Object<UserSpec>,
        broker: &Object<BrokerSpec>,
        existing: Option<Arc<Secret>>,
    ) -> Result<Login, (Reason, String)> {
        let Some(address) = user_secret::address(broker) else {
            let text = format!("{} says no address of its broker", broker.meta.key);
            return Err((Reason::WaitingForBroker, text));
        };
        let existing = match existing {
            Some(existing) => existing,
            None => {
                let login = user_secret::login(user, None);
                let data = user_secret::data(user, &address, &login);
                match self.create(user, data).await? {
                    None => return Ok(login),
                    Some(existing) => existing,
                }
            }
        };
        owned(user, &existing)?;
        let login = user_secret::login(user, Some(&existing));
        let data = user_secret::data(user, &address, &login);
        if !is_as_declared(user, &existing, &data) {
            self.change(user, &existing, data).await?;
        }
        Ok(login)
    }

    /// Makes a new Secret; the answer is one that is there already.
    async fn create(
        &self,
        user: &Object<UserSpec>,
        data: BTreeMap<&'static str, String>,
    ) -> Result<Option<Arc<Secret>>, (Reason, String)> {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": user_secret::metadata(user),
            "type": user_secret::type_of(user),
            "data": encoded(data),
        });
        let made: Secret = serde_json::from_value(manifest).map_err(|error| broken(user, &error))?;
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(user);
        let answer = self.write(user, api.create(&parameters, &made)).await;
        match answer {
            Err(Refused { code: 409, .. }) => {}
            answer => return answer.map(|()| None).map_err(|refused| refused.told),
        }
        let found = timeout(REQUEST, api.get(&user_secret::name(user))).await;
        let found = found.map_err(|error| broken(user, &error))?;
        let found = Arc::new(found.map_err(|error| broken(user, &error))?);
        Ok(Some(found))
    }

    /// Changes what is not as declared, in the Secret that was looked at and no other.
    async fn change(
        &self,
        user: &Object<UserSpec>,
        existing: &Secret,
        data: BTreeMap<&'static str, String>,
    ) -> Result<(), (Reason, String)> {
        let mut data = encoded(data);
        if user.meta.key.group == Group::Leveret {
            data.entry(VHOST).or_insert(serde_json::Value::Null);
        }
        let mut metadata = user_secret::metadata(user);
        metadata["uid"] = json!(existing.metadata.uid);
        metadata["resourceVersion"] = json!(existing.metadata.resource_version);
        let body = json!({ "metadata": metadata, "data": data });
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, name) = (self.api(user), user_secret::name(user));
        let patch = Patch::Merge(&body);
        let answer = self.write(user, api.patch(&name, &parameters, &patch)).await;
        answer.map_err(|refused| refused.told)
    }

    fn api(&self, user: &Object<UserSpec>) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &user.meta.key.namespace)
    }

    async fn write(
        &self,
        user: &Object<UserSpec>,
        request: impl Future<Output = kube::Result<Secret>>,
    ) -> Result<(), Refused> {
        let answer = timeout(REQUEST, request).await;
        self.metrics.api_write(ApiWrite::Object, matches!(answer, Ok(Ok(_))));
        let code = match &answer {
            Ok(Err(kube::Error::Api(status))) => status.code,
            _ => 0,
        };
        let refused = |told| Refused { code, told };
        let made = answer.map_err(|error| refused(broken(user, &error)))?;
        let made = made.map_err(|error| match error {
            kube::Error::Api(status) if matches!(code, 400..=403 | 422) => {
                let text = format!("Secret {}: {}", user_secret::name(user), status.message);
                let reason = if matches!(code, 401 | 403) {
                    Reason::NotAllowed
                } else {
                    Reason::InvalidArgument
                };
                refused((reason, text))
            }
            error => refused(broken(user, &error)),
        })?;
        let written = (Arc::new(made), Instant::now());
        self.written.lock().insert(user.meta.key.clone(), written);
        Ok(())
    }
}

/// The key that is not always there.
const VHOST: &str = "vhost";

/// A request that came to nothing.
struct Refused {
    /// Of the API server; 0 without an answer.
    code: u16,
    told: (Reason, String),
}

/// Another attempt may help.
fn broken(user: &Object<UserSpec>, error: &impl std::fmt::Display) -> (Reason, String) {
    let text = format!("Secret {}: {error}", user_secret::name(user));
    (Reason::WaitingForSecret, text)
}

fn encoded(data: BTreeMap<&'static str, String>) -> serde_json::Map<String, serde_json::Value> {
    let encode = |(key, value): (&str, String)| (key.to_owned(), json!(ByteString(value.into_bytes())));
    data.into_iter().map(encode).collect()
}

fn is_as_declared(user: &Object<UserSpec>, secret: &Secret, data: &BTreeMap<&'static str, String>) -> bool {
    let there = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let same = |(key, value): (&&str, &String)| there(key).is_some_and(|there| there.0 == value.as_bytes());
    // One that the other operator has made is taken over by its labels, so that a watch shows it.
    let is_theirs = user.meta.key.group == Group::RabbitMq;
    if is_theirs && !user_secret::is_watched(secret) {
        return false;
    }
    data.iter().all(same) && (is_theirs || data.contains_key(VHOST) || there(VHOST).is_none())
}

/// Nothing is taken over that others have made.
fn owned(user: &Object<UserSpec>, secret: &Secret) -> Result<(), (Reason, String)> {
    let name = user_secret::name(user);
    let mut owners = secret.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    match owner {
        Some(owner) if owner.uid == user.meta.uid => Ok(()),
        Some(owner) if owner.kind == "User" && owner.name == user.meta.key.name => Err((
            Reason::WaitingForSecret,
            format!("Secret {name} of the User that had this name before is being removed"),
        )),
        // As that operator does it.
        None if user.meta.key.group == Group::RabbitMq => Ok(()),
        _ if user.meta.key.group == Group::RabbitMq => Err((
            Reason::Conflict,
            format!("Secret {name} exists and belongs to another object"),
        )),
        _ => Err((
            Reason::Conflict,
            format!("Secret {name} exists and does not belong to this User: give another name in generatedSecret"),
        )),
    }
}
