//! All resources at one time.
//!
//! In: the objects that a source has read. Out: [`World`], cheap to clone and to look things up in.
//! Does not know about where they were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::{Kind, ObjectKey};
use super::meta::{Meta, Object};
use super::reason::Reason;
use crate::resource::{BindingSpec, BrokerSpec, ExchangeSpec, QueueSpec};

/// All resources of one kind.
pub type Objects<S> = BTreeMap<ObjectKey, Arc<Object<S>>>;

/// A snapshot of all resources the source knows. Cheap to clone: the objects are shared.
///
/// A resource that is being deleted stays in the world, with `deleting` set, until its finalizer is removed.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub brokers: Objects<BrokerSpec>,
    pub exchanges: Objects<ExchangeSpec>,
    pub queues: Objects<QueueSpec>,
    pub bindings: Objects<BindingSpec>,
    /// Labels by namespace, for `allowedNamespaces: { from: Selector }`. An absent namespace matches no selector.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Of the brokers that the operator runs itself: how far their pods are.
    pub engines: BTreeMap<ObjectKey, Arc<EngineState>>,
}

impl World {
    /// Everything about a resource that is not its spec.
    pub fn meta(&self, key: &ObjectKey) -> Option<&Meta> {
        match key.kind {
            Kind::Broker => self.brokers.get(key).map(|object| &object.meta),
            Kind::Exchange => self.exchanges.get(key).map(|object| &object.meta),
            Kind::Queue => self.queues.get(key).map(|object| &object.meta),
            Kind::Binding => self.bindings.get(key).map(|object| &object.meta),
        }
    }
}

/// What is known of a broker that the operator runs itself, besides what the broker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineState {
    /// The generation of the Broker that this is about.
    pub generation: i64,
    /// Why it cannot be run as declared; it counts although the broker may answer.
    pub problem: Option<(Reason, String)>,
    /// Why its pod is not up, or is about to be replaced.
    pub pending: Option<(Reason, String)>,
    /// Whether messages outlive the pod.
    pub persistent: bool,
    /// The Secret with everything a client needs, once it is there.
    pub credentials: Option<String>,
}
