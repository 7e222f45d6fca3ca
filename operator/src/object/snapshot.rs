//! All resources at one time.
//!
//! In: the objects that a source has read. Out: `Snapshot`, cheap to clone and to look things up in.
//! Does not know about where they were read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::curve::ServerKey;
use super::key::{Kind, ObjectKey};
use super::meta::{Meta, Object};
use super::password::Password;
use super::reason::Reason;
use crate::resource::{self, Belongs, BrokerRef, Spec, each_kind};

/// The spec of a kind, in a typed look-up.
pub trait Kinded: Belongs + Clone + PartialEq + Sized + 'static {
    const KIND: Kind;

    fn wrap(object: Arc<Object<Self>>) -> AnyObject;

    fn unwrap(object: &AnyObject) -> Option<&Arc<Object<Self>>>;

    fn unwrap_mut(object: &mut AnyObject) -> Option<&mut Arc<Object<Self>>>;
}

macro_rules! assemble {
    ($($Kind:ident($Spec:ident) $kind:ident $plural:ident;)*) => {
        /// A resource of any kind. Cheap to clone.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyObject {
            $($Kind(Arc<Object<resource::$kind::$Spec>>),)*
        }

        $(impl Kinded for resource::$kind::$Spec {
            const KIND: Kind = Kind::$Kind;

            fn wrap(object: Arc<Object<Self>>) -> AnyObject {
                AnyObject::$Kind(object)
            }

            fn unwrap(object: &AnyObject) -> Option<&Arc<Object<Self>>> {
                match object {
                    AnyObject::$Kind(object) => Some(object),
                    _ => None,
                }
            }

            fn unwrap_mut(object: &mut AnyObject) -> Option<&mut Arc<Object<Self>>> {
                match object {
                    AnyObject::$Kind(object) => Some(object),
                    _ => None,
                }
            }
        })*

        impl AnyObject {
            pub fn new(meta: Meta, spec: Spec) -> Self {
                match spec {
                    $(Spec::$Kind(spec) => AnyObject::$Kind(Arc::new(Object { meta, spec: *spec })),)*
                }
            }

            /// Everything about it that is not its spec.
            pub fn meta(&self) -> &Meta {
                match self {
                    $(AnyObject::$Kind(object) => &object.meta,)*
                }
            }

            pub fn meta_mut(&mut self) -> &mut Meta {
                match self {
                    $(AnyObject::$Kind(object) => &mut Arc::make_mut(object).meta,)*
                }
            }

            /// The Broker that it refers to; `None` for a Broker itself.
            pub fn broker_ref(&self) -> Option<&BrokerRef> {
                match self {
                    $(AnyObject::$Kind(object) => object.spec.broker_ref(),)*
                }
            }

            /// Leads it to another Broker; nothing for a Broker itself.
            pub fn lead(&mut self, to: &BrokerRef) {
                let reference = match self {
                    $(AnyObject::$Kind(object) => Arc::make_mut(object).spec.broker_ref_mut(),)*
                };
                if let Some(reference) = reference {
                    reference.clone_from(to);
                }
            }

            /// True when the spec is the same as another object's.
            pub fn has_spec_of(&self, other: &Self) -> bool {
                match (self, other) {
                    $((AnyObject::$Kind(one), AnyObject::$Kind(other)) => one.spec == other.spec,)*
                    _ => false,
                }
            }
        }
    };
}
each_kind!(assemble);

/// The part of a cluster that an operator sees, when that is not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The operator, as it is called on Brokers.
    pub operator: String,
    pub namespaces: BTreeSet<String>,
}

/// A snapshot of all resources the source knows. Cheap to clone: the objects are shared.
///
/// A resource that is being deleted stays in the snapshot, with `deleting` set, until its finalizer is removed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    objects: BTreeMap<ObjectKey, AnyObject>,
    /// Labels by namespace, for `allowedNamespaces: { from: Selector }`. An absent namespace matches no selector.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Brokers that another operator keeps, or that this one has not claimed yet: they are left alone.
    pub others: BTreeSet<ObjectKey>,
    /// Operators that would keep a Broker of this one.
    pub contenders: BTreeMap<ObjectKey, String>,
    /// The namespaces whose resources are here; `None`: all.
    pub outlook: Option<Arc<Outlook>>,
    /// Passwords of Users whose spec only says where they are; `None`: this source does not look for them.
    pub passwords: Option<Arc<BTreeMap<ObjectKey, Password>>>,
    /// Keys of ZeroMQ sockets whose spec only says where they are; `None`: this source does not look for them.
    pub keys: Option<Arc<BTreeMap<ObjectKey, ServerKey>>>,
    /// Of the brokers that the operator runs itself: how far their pods are.
    pub engines: BTreeMap<ObjectKey, Arc<EngineState>>,
}

impl Snapshot {
    /// Nothing yet, of a part of the cluster, or of all of it.
    pub fn within(outlook: Option<Arc<Outlook>>) -> Self {
        Self {
            outlook,
            ..Self::default()
        }
    }

    pub fn get<S: Kinded>(&self, key: &ObjectKey) -> Option<&Arc<Object<S>>> {
        self.objects.get(key).and_then(S::unwrap)
    }

    pub fn get_mut<S: Kinded>(&mut self, key: &ObjectKey) -> Option<&mut Object<S>> {
        self.objects.get_mut(key).and_then(S::unwrap_mut).map(Arc::make_mut)
    }

    /// All resources of one kind, in the order of their keys.
    pub fn iter<S: Kinded>(&self) -> impl Iterator<Item = &Arc<Object<S>>> {
        self.of(S::KIND).filter_map(S::unwrap)
    }

    /// As [`Snapshot::iter`], where the kind is a value.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &AnyObject> {
        let first = ObjectKey::new(kind, "", "");
        let same = self.objects.range(first..).take_while(move |(key, _)| key.kind == kind);
        same.map(|(_, object)| object)
    }

    /// All resources of one kind in one namespace.
    pub fn within_namespace<'a>(&'a self, kind: Kind, namespace: &'a str) -> impl Iterator<Item = &'a AnyObject> {
        let first = ObjectKey::new(kind, namespace, "");
        let here = move |key: &ObjectKey| key.kind == kind && key.namespace == namespace;
        let same = self.objects.range(first..).take_while(move |(key, _)| here(key));
        same.map(|(_, object)| object)
    }

    pub fn any(&self, key: &ObjectKey) -> Option<&AnyObject> {
        self.objects.get(key)
    }

    pub fn any_mut(&mut self, key: &ObjectKey) -> Option<&mut AnyObject> {
        self.objects.get_mut(key)
    }

    /// All resources, kind by kind.
    pub fn objects(&self) -> impl Iterator<Item = &AnyObject> {
        self.objects.values()
    }

    pub fn objects_mut(&mut self) -> impl Iterator<Item = &mut AnyObject> {
        self.objects.values_mut()
    }

    /// The keys of everything that is on a broker: all resources but Brokers.
    pub fn on_brokers(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys().filter(|key| key.kind != Kind::Broker)
    }

    /// The outlook, if it leaves out the namespace of `key`.
    pub fn beyond(&self, key: &ObjectKey) -> Option<&Outlook> {
        let outlook = self.outlook.as_deref()?;
        (!outlook.namespaces.contains(&key.namespace)).then_some(outlook)
    }

    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// Everything about a resource that is not its spec.
    pub fn meta(&self, key: &ObjectKey) -> Option<&Meta> {
        self.objects.get(key).map(AnyObject::meta)
    }

    pub fn insert(&mut self, object: AnyObject) {
        self.objects.insert(object.meta().key.clone(), object);
    }

    pub fn put<S: Kinded>(&mut self, meta: Meta, spec: S) {
        self.insert(S::wrap(Arc::new(Object { meta, spec })));
    }

    /// Takes a resource away; whether it was there.
    pub fn remove(&mut self, key: &ObjectKey) -> bool {
        self.objects.remove(key).is_some()
    }

    /// Takes all resources of one kind away.
    pub fn clear(&mut self, kind: Kind) {
        self.objects.retain(|key, _| key.kind != kind);
    }
}

/// The state of a broker that the operator runs itself, besides what the broker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineState {
    /// The generation of the Broker that this is about.
    pub generation: i64,
    /// The reason why it cannot be run as declared; it counts although the broker may answer.
    pub problem: Option<(Reason, String)>,
    /// The reason why its pod is not up, or is about to be replaced.
    pub pending: Option<(Reason, String)>,
    /// True when messages outlive the pod.
    pub persistent: bool,
    /// Its pod is there and has run, so that there may be messages in it.
    pub has_run: bool,
    /// The mark of the settings file, where the broker should have it as it is written.
    pub settings: Option<String>,
    /// The Secret with everything a client needs, once it is there.
    pub credentials: Option<String>,
}
