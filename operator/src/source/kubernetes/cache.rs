//! What the API server has, as far as it matters here: specs for the pipeline, and what a write needs.
//!
//! In: objects as watches and writes give them. Out: the `Snapshot`, and whether it changed.
//! Does not know about a Kubernetes client.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kube::core::{DynamicObject, ObjectMeta};
use serde_json::Value;

use crate::object::{
    AnyObject, EngineState, Group, GroupKind, Kind, Meta, ObjectKey, Outlook, Password, ServerKey, Snapshot,
};
use crate::resource::Spec;
use crate::source::kubernetes::api::finalizer;
use crate::source::kubernetes::claim::Claim;
use crate::source::kubernetes::names;
use crate::source::kubernetes::status::Status;
use crate::source::kubernetes::theirs;

/// The part of an object that a write needs besides what the pipeline sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Written {
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) finalizers: Vec<String>,
    pub(super) status: Status,
    /// Of a Broker: the operator that keeps it.
    pub(super) claim: Option<Claim>,
    /// Of a resource of another operator's: everything in it that has no counterpart.
    pub(super) remarks: Vec<String>,
}

/// The change that an object has made by arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that the pipeline reads.
    None,
    /// Only what the operator itself writes: status and finalizer. The pipeline need not run for that.
    Own,
    /// Something that the pipeline must look at.
    Relevant,
}

/// An object whose spec does not have the expected form: another version of the CRDs is installed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unreadable {
    pub(super) key: ObjectKey,
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) written: Written,
    pub(super) why: String,
}

#[derive(Default)]
pub(super) struct Cache {
    snapshot: Arc<Snapshot>,
    written: HashMap<ObjectKey, Written>,
    /// The operator whose Brokers are told from those of others; `None`: all are taken for one's own.
    me: Option<String>,
    /// Brokers whose status has no place for a claim.
    unclaimable: HashSet<ObjectKey>,
}

impl Cache {
    /// For an operator among others that sees `namespaces`, or all.
    pub(super) fn of(me: String, namespaces: &[String]) -> Self {
        let outlook = (!namespaces.is_empty()).then(|| {
            Arc::new(Outlook {
                operator: me.clone(),
                namespaces: namespaces.iter().cloned().collect(),
            })
        });
        let mut snapshot = Snapshot::within(outlook);
        snapshot.passwords = Some(Arc::default());
        snapshot.keys = Some(Arc::default());
        Self {
            me: Some(me),
            snapshot: Arc::new(snapshot),
            ..Self::default()
        }
    }

    /// All Brokers as they stand.
    pub(super) fn brokers(&self) -> Vec<(ObjectKey, Written)> {
        let keys = self.snapshot.of(Kind::Broker).map(|object| &object.meta().key);
        let found = keys.filter(|key| !self.unclaimable.contains(*key));
        found
            .filter_map(|key| Some((key.clone(), self.written.get(key)?.clone())))
            .collect()
    }

    /// Takes a Broker for one's own since nobody can claim it; whether that is new.
    pub(super) fn cannot_be_claimed(&mut self, key: &ObjectKey) -> bool {
        let is_new = self.unclaimable.insert(key.clone());
        if is_new {
            Arc::make_mut(&mut self.snapshot).others.remove(key);
        }
        is_new
    }

    /// Takes in who keeps a Broker; whether that has changed.
    fn claimed(&mut self, key: &ObjectKey, claim: Option<&Claim>) -> bool {
        let Some(me) = self.me.as_ref().filter(|_| key.kind == Kind::Broker) else {
            return false;
        };
        let is_ours = claim.is_some_and(|claim| claim.name == *me) || self.unclaimable.contains(key);
        let contender = claim.and_then(|claim| claim.contender.clone()).filter(|_| is_ours);
        let is_same =
            self.snapshot.others.contains(key) != is_ours && self.snapshot.contenders.get(key) == contender.as_ref();
        if is_same {
            return false;
        }
        let snapshot = Arc::make_mut(&mut self.snapshot);
        match is_ours {
            true => snapshot.others.remove(key),
            false => snapshot.others.insert(key.clone()),
        };
        match contender {
            Some(contender) => snapshot.contenders.insert(key.clone(), contender),
            None => snapshot.contenders.remove(key),
        };
        true
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    pub(super) fn written(&self, key: &ObjectKey) -> Option<&Written> {
        self.written.get(key)
    }

    /// Takes in an object from a watch.
    ///
    /// # Errors
    /// The spec cannot be read. The last readable spec stays.
    pub(super) fn observe(
        &mut self,
        kind: impl Into<GroupKind>,
        mut object: DynamicObject,
    ) -> Result<Change, Box<Unreadable>> {
        let key = key_of(kind.into(), &object);
        if self.has(&key, &object.metadata) {
            return Ok(Change::None);
        }
        let status = object.data.get_mut("status").map(Value::take).unwrap_or_default();
        let claim = status.get("operator").cloned();
        let spec = object.data.get_mut("spec").map(Value::take).unwrap_or_default();
        let mut remarks = Vec::new();
        let spec = match key.group {
            Group::Leveret => Spec::parse(key.kind, spec).map_err(|error| error.to_string()),
            Group::RabbitMq => theirs::spec(&key, &object.metadata, spec, &status).map(|read| {
                remarks = read.remarks;
                read.spec
            }),
        };
        let written = Written {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
            finalizers: object.metadata.finalizers.clone().unwrap_or_default(),
            status: serde_json::from_value(status).unwrap_or_default(),
            claim: claim.and_then(|claim| serde_json::from_value(claim).ok()),
            remarks,
        };
        if self.written.get(&key).is_some_and(|known| is_older(&written, known)) {
            return Ok(Change::None);
        }
        let meta = meta_of(key.clone(), &object, &written);
        let before = self.written.insert(key.clone(), written.clone());
        let mut is_moved = self.claimed(&key, written.claim.as_ref());
        is_moved |= before.is_some_and(|before| before.claim != written.claim);
        let is_ready = written.status.is_ready();
        let spec = spec.map_err(|why| {
            Box::new(Unreadable {
                key: key.clone(),
                generation: meta.generation,
                deleting: meta.deleting.is_some(),
                written: written.clone(),
                why,
            })
        })?;
        let mut object = AnyObject::new(meta, spec);
        if key.group == Group::RabbitMq {
            names::fill(&mut object, &self.snapshot);
            theirs::remember(&mut object, &written.status);
        }
        let change = change(self.snapshot.any(&key), &object, is_ready);
        if change != Change::None {
            Arc::make_mut(&mut self.snapshot).insert(object);
            self.tell_dependents(&key);
        }
        Ok(if is_moved { Change::Relevant } else { change })
    }

    /// True when just this state of the object is known, with its spec: a write comes twice, as its answer and by the
    /// watch.
    fn has(&self, key: &ObjectKey, metadata: &ObjectMeta) -> bool {
        let is_same = self.written.get(key).is_some_and(|known| {
            let version = metadata.resource_version.as_deref().unwrap_or_default();
            metadata.uid.as_ref() == Some(&known.uid) && !version.is_empty() && version == known.resource_version
        });
        let read = self.snapshot.any(key).map(|object| object.meta().generation);
        is_same && read == Some(metadata.generation.unwrap_or_default())
    }

    /// Takes in an object that a write answered with, unless a watch has already said that it is gone.
    pub(super) fn answered(&mut self, kind: impl Into<GroupKind>, object: DynamicObject) -> Change {
        let kind = kind.into();
        let key = key_of(kind, &object);
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if self.written.get(&key).is_none_or(|written| written.uid != uid) {
            return Change::None;
        }
        self.observe(kind, object).unwrap_or(Change::None)
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Change {
        self.written.remove(key);
        self.unclaimable.remove(key);
        let snapshot = Arc::make_mut(&mut self.snapshot);
        snapshot.others.remove(key);
        snapshot.contenders.remove(key);
        let was_there = snapshot.remove(key);
        self.tell_dependents(key);
        if was_there { Change::Relevant } else { Change::None }
    }

    /// Forgets the objects of a kind that a complete list (of one namespace, or all) did not have.
    pub(super) fn retain(
        &mut self,
        kind: impl Into<GroupKind>,
        namespace: Option<&str>,
        seen: &HashSet<ObjectKey>,
    ) -> Change {
        let kind = kind.into();
        let gone: Vec<ObjectKey> = self
            .written
            .keys()
            .filter(|key| key.group_kind() == kind && namespace.is_none_or(|namespace| namespace == key.namespace))
            .filter(|key| !seen.contains(key))
            .cloned()
            .collect();
        gone.iter().fold(Change::None, |change, key| match self.remove(key) {
            Change::None => change,
            other => other,
        })
    }

    /// Labels of a namespace; `None` when it is gone.
    pub(super) fn namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) -> Change {
        if self.snapshot.namespaces.get(name) == labels.as_ref() {
            return Change::None;
        }
        let namespaces = &mut Arc::make_mut(&mut self.snapshot).namespaces;
        match labels {
            Some(labels) => namespaces.insert(name.to_owned(), labels),
            None => namespaces.remove(name),
        };
        Change::Relevant
    }

    /// All passwords that are known, and why others are not.
    pub(super) fn passwords(&mut self, all: &BTreeMap<ObjectKey, Password>) -> Change {
        if self.snapshot.passwords.as_deref() == Some(all) {
            return Change::None;
        }
        Arc::make_mut(&mut self.snapshot).passwords = Some(Arc::new(all.clone()));
        for key in names::nameless(&self.snapshot) {
            self.name_anew(&key);
            self.tell_dependents(&key);
        }
        Change::Relevant
    }

    /// A user may have another name, or none any more.
    fn tell_dependents(&mut self, user: &ObjectKey) {
        if user.kind != Kind::User || user.group == Group::Leveret {
            return;
        }
        for key in names::dependents(user, &self.snapshot) {
            self.name_anew(&key);
        }
    }

    /// Looks again for the name that an object has elsewhere.
    fn name_anew(&mut self, key: &ObjectKey) {
        let Some(known) = self.snapshot.any(key) else { return };
        let mut object = known.clone();
        names::fill(&mut object, &self.snapshot);
        if let Some(written) = self.written.get(key) {
            theirs::remember(&mut object, &written.status);
        }
        if object != *known {
            Arc::make_mut(&mut self.snapshot).insert(object);
        }
    }

    /// All keys of sockets that are known, and why others are not.
    pub(super) fn keys(&mut self, all: &BTreeMap<ObjectKey, ServerKey>) -> Change {
        if self.snapshot.keys.as_deref() == Some(all) {
            return Change::None;
        }
        Arc::make_mut(&mut self.snapshot).keys = Some(Arc::new(all.clone()));
        Change::Relevant
    }

    /// The progress of a broker that the operator runs itself; `None` when it does not.
    pub(super) fn engine(&mut self, key: &ObjectKey, state: Option<EngineState>) -> Change {
        if self.snapshot.engines.get(key).map(Arc::as_ref) == state.as_ref() {
            return Change::None;
        }
        let engines = &mut Arc::make_mut(&mut self.snapshot).engines;
        match state {
            Some(state) => engines.insert(key.clone(), Arc::new(state)),
            None => engines.remove(key),
        };
        Change::Relevant
    }
}

/// The change from what was known to what came. Labels and annotations matter only while something is wrong: whoever
/// touches such an object wants it to be tried again.
fn change(old: Option<&AnyObject>, new: &AnyObject, is_ready: bool) -> Change {
    let Some(old) = old else { return Change::Relevant };
    if old == new {
        return Change::None;
    }
    let own_aside = Meta {
        finalized: new.meta().finalized,
        status: new.meta().status.clone(),
        touched: if is_ready {
            new.meta().touched
        } else {
            old.meta().touched
        },
        ..old.meta().clone()
    };
    // Another client took the finalizer away, from one that stays.
    let bared = old.meta().finalized && !new.meta().finalized && new.meta().deleting.is_none();
    if old.has_spec_of(new) && own_aside == *new.meta() && !bared {
        Change::Own
    } else {
        Change::Relevant
    }
}

/// True when `new` is an earlier state of the same object than `known`. Versions of one object can be compared as
/// numbers (Kubernetes API concepts, "resource versions"); those that are no numbers are taken as they come.
fn is_older(new: &Written, known: &Written) -> bool {
    let number = |written: &Written| written.resource_version.parse::<u64>().ok();
    match (number(new), number(known)) {
        (Some(new_version), Some(known_version)) => new.uid == known.uid && new_version < known_version,
        _ => false,
    }
}

pub(super) fn key_of(kind: GroupKind, object: &DynamicObject) -> ObjectKey {
    let metadata = &object.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectKey::of(kind, text(&metadata.namespace), text(&metadata.name))
}

fn meta_of(key: ObjectKey, object: &DynamicObject, written: &Written) -> Meta {
    let metadata = &object.metadata;
    let annotations = metadata.annotations.iter().flatten();
    let finalizer = finalizer(key.group_kind());
    Meta {
        key,
        uid: written.uid.clone(),
        generation: metadata.generation.unwrap_or_default(),
        created: metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
        deleting: metadata.deletion_timestamp.as_ref().map(|time| time.0.as_second()),
        // The others may be large (kubectl keeps the whole manifest in one) and change without meaning.
        annotations: annotations
            .filter(|(name, _)| name.starts_with("leveret.dev/"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        touched: fingerprint(metadata),
        finalized: written.finalizers.iter().any(|name| *name == finalizer),
        status: written.status.last(),
    }
}

/// A number that changes with labels and annotations.
fn fingerprint(metadata: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&metadata.labels, &metadata.annotations).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::FINALIZER;
    use crate::resource::QueueSpec;

    fn queue(version: u64, spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "leveret.dev/v1alpha1",
            "kind": "Queue",
            "metadata": {
                "name": "invoices", "namespace": "shop", "uid": "u1", "generation": 1,
                "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"leveret.dev/paused": "true", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            },
            "spec": spec,
        }))
        .expect("object")
    }

    fn ready(status: &str) -> Value {
        json!({"conditions": [{"type": "Ready", "status": status, "reason": "Synced", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    }

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::Queue, "shop", "invoices")
    }

    fn good() -> Value {
        json!({"brokerRef": {"name": "main"}})
    }

    #[test]
    fn only_what_matters_is_a_change() {
        let mut cache = Cache::default();
        assert_eq!(cache.observe(Kind::Queue, queue(5, good())), Ok(Change::Relevant));
        assert_eq!(cache.observe(Kind::Queue, queue(6, good())), Ok(Change::None));
        let mut labelled = queue(7, good());
        labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        labelled.data["status"] = ready("True");
        assert_eq!(cache.observe(Kind::Queue, labelled.clone()), Ok(Change::Own));
        labelled.metadata.resource_version = Some("8".to_owned());
        labelled.metadata.annotations = None;
        labelled.data["status"] = ready("False");
        assert_eq!(
            cache.observe(Kind::Queue, labelled),
            Ok(Change::Relevant),
            "who touches an object that is not Ready wants another attempt"
        );
        assert_eq!(cache.observe(Kind::Queue, queue(9, good())), Ok(Change::Relevant));
        let mut finalized = queue(10, good());
        finalized.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        finalized.data["status"] = json!({"name": "invoices", "vhost": "/"});
        assert_eq!(cache.observe(Kind::Queue, finalized), Ok(Change::Own));
        let snapshot = cache.snapshot();
        let object = snapshot.iter::<QueueSpec>().next().expect("queue");
        assert!(object.meta.finalized);
        assert_eq!(object.meta.status.name.as_deref(), Some("invoices"));
        assert_eq!(object.meta.annotations.len(), 1);
        let longer = json!({"brokerRef": {"name": "main"}, "maxLength": 3});
        assert_eq!(cache.observe(Kind::Queue, queue(11, longer)), Ok(Change::Relevant));
        assert_eq!(
            cache.observe(Kind::Queue, queue(10, good())),
            Ok(Change::None),
            "late news"
        );
        assert!(
            cache
                .snapshot()
                .iter::<QueueSpec>()
                .all(|queue| queue.spec.max_length == Some(3))
        );
    }

    #[test]
    fn a_finalizer_that_vanishes_is_a_change() {
        let mut cache = Cache::default();
        let mut finalized = queue(5, good());
        finalized.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        assert_eq!(cache.observe(Kind::Queue, finalized), Ok(Change::Relevant));
        assert_eq!(cache.observe(Kind::Queue, queue(6, good())), Ok(Change::Relevant));
    }

    #[test]
    fn an_answer_does_not_bring_back_what_is_gone() {
        let mut cache = Cache::default();
        assert_eq!(cache.answered(Kind::Queue, queue(5, good())), Change::None);
        assert!(!cache.snapshot().contains(&key()));
        assert_eq!(cache.observe(Kind::Queue, queue(5, good())), Ok(Change::Relevant));
        assert_eq!(cache.remove(&key()), Change::Relevant);
        assert_eq!(cache.remove(&key()), Change::None);
        assert_eq!(cache.written(&key()), None);
    }

    #[test]
    fn a_new_list_replaces_its_namespace_only() {
        let mut cache = Cache::default();
        assert!(cache.observe(Kind::Queue, queue(5, good())).is_ok());
        let nothing = HashSet::new();
        assert_eq!(cache.retain(Kind::Queue, Some("other"), &nothing), Change::None);
        assert_eq!(cache.retain(Kind::Exchange, None, &nothing), Change::None);
        assert_eq!(cache.retain(Kind::Queue, None, &nothing), Change::Relevant);
        assert!(!cache.snapshot().contains(&key()));
    }

    #[test]
    fn an_unreadable_spec_keeps_the_last_good_one() {
        let mut cache = Cache::default();
        assert!(cache.observe(Kind::Queue, queue(5, good())).is_ok());
        let error = cache
            .observe(Kind::Queue, queue(6, json!({"brokerRef": 7})))
            .expect_err("unreadable");
        assert_eq!(error.key.to_string(), "Queue shop/invoices");
        assert!(cache.snapshot().contains(&key()));
    }

    #[test]
    fn an_answer_hides_no_unreadable_spec_from_the_watch() {
        let mut cache = Cache::default();
        assert!(cache.observe(Kind::Queue, queue(5, good())).is_ok());
        let mut edited = queue(6, json!({"brokerRef": 7}));
        edited.metadata.generation = Some(2);
        assert_eq!(cache.answered(Kind::Queue, edited.clone()), Change::None);
        assert!(cache.observe(Kind::Queue, edited).is_err(), "it is told");
        let mut mended = queue(7, good());
        mended.metadata.generation = Some(3);
        assert_eq!(cache.answered(Kind::Queue, mended.clone()), Change::Relevant);
        assert_eq!(cache.observe(Kind::Queue, mended), Ok(Change::None), "the same again");
    }

    #[test]
    fn snapshots_do_not_change() {
        let mut cache = Cache::default();
        let before = cache.snapshot();
        assert!(cache.observe(Kind::Queue, queue(5, good())).is_ok());
        assert!(!before.contains(&key()));
        assert_eq!(cache.namespace("shop", Some(BTreeMap::new())), Change::Relevant);
        assert_eq!(cache.namespace("shop", Some(BTreeMap::new())), Change::None);
        assert_eq!(cache.namespace("shop", None), Change::Relevant);
    }
}
