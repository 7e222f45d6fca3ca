//! The watches that fill the cache: one per kind and namespace (or one per kind), and namespaces where asked for.
//!
//! In: events of the API server. Out: changes of the cache. Does not know about what the pipeline makes of them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ApiResource;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::cache::{Change, Unreadable, key_of};
use super::{Shared, write};
use crate::dereference::referenced;
use crate::resource::{Binding, Broker, Exchange, NamespacesFrom, Queue};
use crate::source::{Kind, ObjectKey};

pub(super) fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Broker => ApiResource::erase::<Broker>(&()),
        Kind::Exchange => ApiResource::erase::<Exchange>(&()),
        Kind::Queue => ApiResource::erase::<Queue>(&()),
        Kind::Binding => ApiResource::erase::<Binding>(&()),
    }
}

/// Follows one kind for ever; `complete` becomes true after the first whole list.
pub(super) async fn follow_kind(
    shared: Arc<Shared>,
    kind: Kind,
    namespace: Option<String>,
    complete: watch::Sender<bool>,
) {
    let resource = api_resource(kind);
    let client = shared.client.clone();
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(stream);
    let mut listed: HashSet<ObjectKey> = HashSet::new();
    let mut failing = false;
    while let Some(event) = stream.next().await {
        if failing && event.is_ok() {
            warn!(kind = kind.as_str(), "the API server answers again");
            failing = false;
        }
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(key_of(kind, &object));
                observe(&shared, kind, object);
            }
            Ok(Event::InitDone) => {
                let change = shared.cache.lock().retain(kind, namespace.as_deref(), &listed);
                listed = HashSet::new();
                after(&shared, kind, change);
                complete.send_replace(true);
            }
            Ok(Event::Apply(object)) => observe(&shared, kind, object),
            Ok(Event::Delete(object)) => {
                let change = shared.cache.lock().remove(&key_of(kind, &object));
                after(&shared, kind, change);
            }
            Err(error) => {
                let hint = if is_not_found(&error) {
                    "; are the CRDs installed (leveret-operator crd)?"
                } else {
                    ""
                };
                if failing {
                    debug!(kind = kind.as_str(), %error, "the API server cannot be watched{hint}");
                } else {
                    warn!(kind = kind.as_str(), %error, "the API server cannot be watched{hint}");
                }
                failing = true;
            }
        }
    }
}

fn observe(shared: &Arc<Shared>, kind: Kind, object: DynamicObject) {
    let outcome = shared.cache.lock().observe(kind, object);
    match outcome {
        Ok(change) => after(shared, kind, change),
        Err(unreadable) => say_unreadable(shared, unreadable),
    }
}

/// An object that cannot be read cannot be reconciled; the user sees it in its status, and may always delete it.
fn say_unreadable(shared: &Arc<Shared>, unreadable: Box<Unreadable>) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if unreadable.deleting {
            let why = format!("left on the broker: spec cannot be read ({})", unreadable.why);
            warn!(object = %unreadable.key, "{why}");
            write::warn(&shared, &unreadable.key, "LeftBehind", why);
            if let Err(error) = write::remove_finalizer(&shared, &unreadable.key).await {
                warn!(object = %unreadable.key, %error, "cannot remove the finalizer");
            }
        } else {
            let report = super::unreadable_report(&unreadable);
            write::write_one(&shared, report).await;
        }
    });
}

fn after(shared: &Arc<Shared>, kind: Kind, change: Change) {
    if change != Change::World {
        return;
    }
    if kind == Kind::Broker {
        follow_what_brokers_need(shared);
    }
    shared.bump();
}

fn follow_what_brokers_need(shared: &Arc<Shared>) {
    let world = shared.cache.lock().world();
    let wanted: BTreeSet<(String, String)> = world
        .brokers
        .values()
        .flat_map(|broker| referenced(&broker.meta.key.namespace, &broker.spec))
        .collect();
    shared.secrets.keep_only(&wanted);
    let selects = |broker: &NamespacesFrom| *broker == NamespacesFrom::Selector;
    let needs_namespaces = world
        .brokers
        .values()
        .any(|broker| selects(&broker.spec.allowed_namespaces.from));
    if needs_namespaces {
        shared.namespaces.call_once(|| {
            tokio::spawn(follow_namespaces(Arc::clone(shared)));
        });
    }
}

/// Labels of all namespaces; only followed once a Broker selects namespaces by label.
async fn follow_namespaces(shared: Arc<Shared>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(shared.client.clone());
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(stream);
    let mut listed: HashSet<String> = HashSet::new();
    while let Some(event) = stream.next().await {
        let change = match event {
            Ok(Event::Init) => {
                listed.clear();
                Change::None
            }
            Ok(Event::InitApply(namespace)) => {
                listed.insert(namespace.name_any());
                let labels = namespace.meta().labels.clone().unwrap_or_default();
                shared.cache.lock().namespace(&namespace.name_any(), Some(labels))
            }
            Ok(Event::InitDone) => {
                let mut cache = shared.cache.lock();
                let gone: Vec<String> = cache
                    .world()
                    .namespaces
                    .keys()
                    .filter(|name| !listed.contains(*name))
                    .cloned()
                    .collect();
                gone.iter().for_each(|name| {
                    cache.namespace(name, None);
                });
                Change::World
            }
            Ok(Event::Apply(namespace)) => {
                let labels = namespace.meta().labels.clone().unwrap_or_default();
                shared.cache.lock().namespace(&namespace.name_any(), Some(labels))
            }
            Ok(Event::Delete(namespace)) => shared.cache.lock().namespace(&namespace.name_any(), None),
            Err(error) => {
                warn!(%error, "namespaces cannot be watched; a Broker with allowedNamespaces Selector needs that");
                Change::None
            }
        };
        if change == Change::World {
            shared.bump();
        }
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
