//! The watches that fill the cache: one per kind and namespace (or one per kind), and namespaces where asked for.
//!
//! In: events of the API server. Out: changes of the cache. Does not know about what the pipeline makes of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::api::resource;
use super::cache::{Change, Unreadable, key_of};
use super::events::{Told, When};
use super::pauses::{Pauses, refusal, said};
use super::shared::Shared;
use super::{theirs, write};
use crate::object::{ConditionStatus, Group, GroupKind, Kind, Object, ObjectKey, Reason, StatusReport};
use crate::resource::{BrokerSpec, KeyPair, UserSpec, Way, ZeroMqSocketSpec};
use crate::source::dereference::referenced;

/// The progress of reading a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Unread,
    /// The API server has not known the kind for some time: there are no objects of it.
    NotInstalled,
    /// It has not been allowed for some time: most often, the namespace is gone. What was known stays.
    Forbidden,
    /// Read completely at least once.
    Read,
}

/// Time for which the API server must deny a kind until that is believed: it does so too for a moment after its own
/// start.
const DENIAL: Duration = Duration::from_secs(10);

/// Seconds by which the API server's clock may be ahead: what was written before the start is no news.
const SKEW: i64 = 30;

/// Follows one kind for ever.
pub(super) async fn follow_kind(
    shared: Arc<Shared>,
    kind: GroupKind,
    namespace: Option<String>,
    progress: watch::Sender<Progress>,
) {
    let resource = resource(kind);
    let client = shared.client.clone();
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let stream = watcher::watcher(api, watcher::Config::default()).backoff(Pauses::default());
    pin_mut!(stream);
    let mut listed: HashSet<ObjectKey> = HashSet::new();
    let mut trouble = Trouble::default();
    while let Some(event) = stream.next().await {
        // `Init` only says that a list is about to be asked for.
        if !matches!(event, Err(_) | Ok(Event::Init)) {
            trouble.over(kind, namespace.as_deref());
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
                progress.send_replace(Progress::Read);
            }
            Ok(Event::Apply(object)) => observe(&shared, kind, object),
            Ok(Event::Delete(object)) => {
                let change = shared.cache.lock().remove(&key_of(kind, &object));
                after(&shared, kind, change);
            }
            Err(error) => match trouble.lasting(kind, namespace.as_deref(), &error) {
                Some(404) => {
                    let change = shared.cache.lock().retain(kind, namespace.as_deref(), &HashSet::new());
                    after(&shared, kind, change);
                    progress.send_replace(Progress::NotInstalled);
                }
                Some(403) if *progress.borrow() == Progress::Unread => {
                    progress.send_replace(Progress::Forbidden);
                }
                _ => {}
            },
        }
    }
}

/// A watch that does not work: said once, and taken for an answer when the kind does not exist or may not be read.
#[derive(Default)]
struct Trouble {
    said: bool,
    denied: Option<(u16, Instant)>,
}

impl Trouble {
    /// Notes an error; the API server's code when it has denied the kind by it for so long that it means it.
    fn lasting(&mut self, kind: GroupKind, namespace: Option<&str>, error: &watcher::Error) -> Option<u16> {
        let is_theirs = kind.group == Group::RabbitMq;
        let (kind, why) = (kind.to_string(), said(error));
        let is_unknown = refusal(error).is_some_and(|status| status.code == 404);
        if self.said {
            debug!(kind, namespace, why, "the API server cannot be watched");
        } else if is_theirs && is_unknown {
            warn!(
                kind,
                namespace, "the kind is not installed, and waited for (--rabbitmq-resources)"
            );
        } else {
            warn!(kind, namespace, why, "the API server cannot be watched");
        }
        self.said = true;
        let code = refusal(error)
            .map(|status| status.code)
            .filter(|code| matches!(code, 403 | 404));
        let Some(code) = code else {
            self.denied = None;
            return None;
        };
        let since = match self.denied {
            Some((before, since)) if before == code => since,
            _ => Instant::now(),
        };
        self.denied = Some((code, since));
        (since.elapsed() >= DENIAL).then_some(code)
    }

    fn over(&mut self, kind: GroupKind, namespace: Option<&str>) {
        if std::mem::take(self).said {
            info!(kind = kind.to_string(), namespace, "the API server answers again");
        }
    }
}

fn observe(shared: &Arc<Shared>, kind: GroupKind, object: DynamicObject) {
    if kind.group != Group::Leveret
        && let Some(rival) = theirs::rival(&object.metadata, shared.start + SKEW)
    {
        shared
            .contested
            .call_once(|| say_contested(shared, &key_of(kind, &object), rival));
    }
    let outcome = shared.cache.lock().observe(kind, object);
    match outcome {
        Ok(change) => after(shared, kind, change),
        Err(unreadable) => say_unreadable(shared, unreadable),
    }
}

/// Two operators on one object would each undo the other's deletions.
fn say_contested(shared: &Shared, key: &ObjectKey, rival: &str) {
    let message = format!(
        "{rival} writes the status of {key}, too: the operator that these resources are of must not run beside \
         --rabbitmq-resources; scale it to 0"
    );
    warn!("{message}");
    shared.events.tell(Told {
        about: shared.operator.lease(),
        warning: true,
        reason: "Contested",
        message,
        when: When::Aside,
        by_the_dozen: false,
    });
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
            let report = unreadable_report(&unreadable);
            write::write_one(&shared, report).await;
        }
    });
}

/// The status of an object that cannot even be read.
fn unreadable_report(unreadable: &Unreadable) -> StatusReport {
    let last = unreadable.written.status.last();
    StatusReport {
        key: unreadable.key.clone(),
        uid: unreadable.written.uid.clone(),
        generation: unreadable.generation,
        ready: ConditionStatus::False,
        reconciling: ConditionStatus::False,
        stalled: ConditionStatus::True,
        reason: Reason::InvalidArgument,
        message: format!(
            "spec cannot be read by this version of the operator: {}",
            unreadable.why
        ),
        next_try: None,
        name: last.name,
        vhost: last.vhost,
        applied: last.applied,
        did_something: false,
        secret: None,
        broker: None,
        queue: None,
        socket: None,
    }
}

fn after(shared: &Arc<Shared>, kind: GroupKind, change: Change) {
    if change != Change::Relevant {
        return;
    }
    if matches!(kind.kind, Kind::Broker | Kind::User | Kind::ZeroMqSocket) {
        follow_what_is_needed(shared);
    }
    shared.bump();
}

fn follow_what_is_needed(shared: &Arc<Shared>) {
    let snapshot = || shared.cache.lock().snapshot();
    shared.secrets.keep_only(|| {
        let snapshot = snapshot();
        let needs = |broker: &Arc<Object<BrokerSpec>>| referenced(&broker.meta.key, &broker.spec);
        let brought = |user: &Arc<Object<UserSpec>>| match user.spec.way() {
            Way::Secret(secret) => Some((user.meta.key.namespace.clone(), secret.name.clone())),
            Way::Hash(_) | Way::Token | Way::Generated(_) => None,
        };
        let brokers = snapshot.iter::<BrokerSpec>().flat_map(needs);
        let key = |socket: &Arc<Object<ZeroMqSocketSpec>>| match socket.spec.key_pair() {
            Some(KeyPair::Secret(secret)) => Some((socket.meta.key.namespace.clone(), secret.name.clone())),
            Some(KeyPair::Generated(_)) | None => None,
        };
        let users = snapshot.iter::<UserSpec>().filter_map(brought);
        let sockets = snapshot.iter::<ZeroMqSocketSpec>().filter_map(key);
        brokers.chain(users).chain(sockets).collect()
    });
    let needs_namespaces = snapshot()
        .iter::<BrokerSpec>()
        .any(|broker| broker.spec.allowed_namespaces.asks_for_labels());
    if needs_namespaces {
        shared.namespaces.call_once(|| {
            tokio::spawn(follow_namespaces(Arc::clone(shared)));
        });
    }
}

/// Labels of all namespaces; only followed once a Broker selects namespaces by label.
async fn follow_namespaces(shared: Arc<Shared>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(shared.client.clone());
    let stream = watcher::watcher(api, watcher::Config::default()).backoff(Pauses::default());
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
                    .snapshot()
                    .namespaces
                    .keys()
                    .filter(|name| !listed.contains(*name))
                    .cloned()
                    .collect();
                gone.iter().for_each(|name| {
                    cache.namespace(name, None);
                });
                Change::Relevant
            }
            Ok(Event::Apply(namespace)) => {
                let labels = namespace.meta().labels.clone().unwrap_or_default();
                shared.cache.lock().namespace(&namespace.name_any(), Some(labels))
            }
            Ok(Event::Delete(namespace)) => shared.cache.lock().namespace(&namespace.name_any(), None),
            Err(error) => {
                warn!(%error, "namespaces cannot be watched; a Broker whose allowedNamespaces has a selector needs that");
                Change::None
            }
        };
        if change == Change::Relevant {
            shared.bump();
        }
    }
}
