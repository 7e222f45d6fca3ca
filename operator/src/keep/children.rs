//! (client) What stands in the cluster of what the operator makes: its objects by their metadata, StatefulSets and pods
//! whole. Only labelled objects are asked for, however many others there are.
//!
//! In: watches. Out: lookups, and a word when something changes. Does not know about what should stand there.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, reflector};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::turn::Bell;
use crate::engine::names::{BROKER_LABEL, SELECTOR};
use crate::engine::{ChildKind, names, pods};
use crate::object::ObjectKey;
use crate::source::kubernetes::said;

type Meta = PartialObjectMeta<DynamicObject>;

/// One namespace, or all: what is there.
struct Scope {
    namespace: Option<String>,
    metas: BTreeMap<ChildKind, Store<Meta>>,
    sets: Store<StatefulSet>,
    pods: Store<Pod>,
}

/// Everything the operator has made. The watches end when it is dropped.
pub struct Children {
    scopes: Vec<Scope>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Children {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// One object as far as it matters for whether it must be applied again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub uid: String,
    /// Version of the whole object, 0 where it is no number.
    pub version: u64,
    /// Version of its spec, for kinds that have one: writes of its status do not count.
    pub generation: Option<i64>,
}

impl Children {
    /// Starts watching `namespaces`, or all when there are none, for `kinds`. The bell is rung when something changes.
    pub(super) fn start(client: &Client, namespaces: &[String], kinds: &[ChildKind], bell: &Arc<Bell>) -> Self {
        let mut tasks = Vec::new();
        let scopes: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let config = || watcher::Config::default().labels(SELECTOR);
        let scopes = scopes.into_iter().map(|namespace| {
            let mut metas = BTreeMap::new();
            for kind in kinds {
                let resource = kind.api_resource();
                let api: Api<Meta> = match &namespace {
                    Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                    None => Api::all_with(client.clone(), &resource),
                };
                let writer = Writer::<Meta>::new(resource);
                metas.insert(*kind, writer.as_reader());
                let stream = watcher(api, config());
                tasks.push(tokio::spawn(follow(kind.names().2, writer, stream, Arc::clone(bell))));
            }
            let sets = Writer::<StatefulSet>::new(());
            let pods = Writer::<Pod>::new(());
            let scope = Scope {
                metas,
                sets: sets.as_reader(),
                pods: pods.as_reader(),
                namespace: namespace.clone(),
            };
            let (all_sets, all_pods) = match &namespace {
                Some(namespace) => (
                    Api::namespaced(client.clone(), namespace),
                    Api::namespaced(client.clone(), namespace),
                ),
                None => (Api::all(client.clone()), Api::all(client.clone())),
            };
            let stream = watcher(all_sets, config());
            tasks.push(tokio::spawn(follow("StatefulSet", sets, stream, Arc::clone(bell))));
            let stream = watcher(all_pods, config());
            tasks.push(tokio::spawn(follow("Pod", pods, stream, Arc::clone(bell))));
            scope
        });
        let scopes = scopes.collect();
        Self { scopes, tasks }
    }

    /// Waits until StatefulSets and pods have been read once. What depends on those that are there must not be made
    /// before.
    pub async fn read(&self) {
        for scope in &self.scopes {
            // The writers live as long as their tasks, which only end with this.
            let _ = tokio::join!(scope.sets.wait_until_ready(), scope.pods.wait_until_ready());
        }
    }

    fn scope(&self, namespace: &str) -> Option<&Scope> {
        let here = |scope: &&Scope| scope.namespace.as_deref().is_none_or(|name| name == namespace);
        self.scopes.iter().find(here)
    }

    /// The objects made for a broker, by kind and name.
    pub fn of(&self, broker: &ObjectKey) -> BTreeMap<(ChildKind, String), Seen> {
        let mut found = BTreeMap::new();
        let Some(scope) = self.scope(&broker.namespace) else {
            return found;
        };
        for (kind, store) in &scope.metas {
            for meta in store.state() {
                let metadata = &meta.metadata;
                let label = metadata.labels.as_ref().and_then(|labels| labels.get(BROKER_LABEL));
                let ours = label == Some(&broker.name) && metadata.namespace.as_ref() == Some(&broker.namespace);
                if let (true, Some(name)) = (ours, &metadata.name) {
                    found.insert((*kind, name.clone()), seen(metadata));
                }
            }
        }
        found
    }

    /// The StatefulSet of a broker.
    pub fn set(&self, broker: &ObjectKey) -> Option<Arc<StatefulSet>> {
        let reference = ObjectRef::new(&names::main(broker)).within(&broker.namespace);
        self.scope(&broker.namespace)?.sets.get(&reference)
    }

    /// True unless it is known that no pod of the broker is there, or that it has never run.
    pub fn has_run(&self, broker: &ObjectKey) -> bool {
        let read = |scope: &Scope| scope.pods.wait_until_ready().now_or_never().is_some();
        let known = self.scope(&broker.namespace).is_some_and(read);
        !known || self.pod(broker).as_deref().is_some_and(pods::has_run)
    }

    /// The pod of a broker.
    pub fn pod(&self, broker: &ObjectKey) -> Option<Arc<Pod>> {
        let reference = ObjectRef::new(&names::pod(broker)).within(&broker.namespace);
        self.scope(&broker.namespace)?.pods.get(&reference)
    }
}

/// The part of an object's metadata that matters.
pub fn seen(metadata: &kube::core::ObjectMeta) -> Seen {
    let version = metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
    Seen {
        uid: metadata.uid.clone().unwrap_or_default(),
        version: version.unwrap_or_default(),
        generation: metadata.generation,
    }
}

/// Keeps a store up to date for ever. A watch that does not work is said once.
pub(super) async fn follow<K>(
    kind: &'static str,
    writer: Writer<K>,
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    bell: Arc<Bell>,
) where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    let stream = reflector(writer, stream.default_backoff());
    pin_mut!(stream);
    let mut in_trouble = false;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => {}
            Ok(_) => {
                if std::mem::take(&mut in_trouble) {
                    info!(kind, "can be watched again");
                }
                bell.ring();
            }
            Err(error) => {
                bell.ring_broken_off();
                if !std::mem::replace(&mut in_trouble, true) {
                    warn!(kind, why = said(&error), "what the operator has made cannot be watched");
                }
            }
        }
    }
}
