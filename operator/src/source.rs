//! The seam between where resources come from (Kubernetes, a folder) and the pipeline that reconciles them.
//!
//! In: whatever a source reads. Out: [`World`], a cheap snapshot of all resources, and [`StatusReport`]s that go back.
//! Does not know about brokers, the wire, or the pipeline's steps.
//!
//! What comes from the API server has passed the schema and CEL rules of the CRDs; what comes from files must pass
//! [`crate::resource::admission::admit`], which says the same.

pub mod folder;

pub mod kubernetes;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::resource::{BindingSpec, BrokerSpec, ExchangeSpec, QueueSpec};

/// The kinds of the group `leveret.dev`, in the order in which they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Broker,
    Exchange,
    Queue,
    Binding,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Broker, Kind::Exchange, Kind::Queue, Kind::Binding];

    /// The name as it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Broker => "Broker",
            Kind::Exchange => "Exchange",
            Kind::Queue => "Queue",
            Kind::Binding => "Binding",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one resource. Shown as `Queue shop/invoices`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What the last written status says the resource owns on the broker. A source gives back exactly what it was last
/// asked to write ([`StatusReport::name`], [`StatusReport::vhost`], [`StatusReport::applied`]); all `None` when nothing
/// was ever written. Deletion goes by this alone, so that it works although the spec has gone wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastStatus {
    pub name: Option<String>,
    pub vhost: Option<String>,
    /// A binding as last put on the broker; opaque to sources (in the CRD: `x-kubernetes-preserve-unknown-fields`).
    pub applied: Option<Value>,
    /// What was last said of a queue. It has nothing to do with deletion.
    pub queue: Option<QueueNumbers>,
}

/// Everything about a resource that is not its spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    /// Unix seconds. The oldest resource owns a broker object; equal times are decided by the key.
    pub created: i64,
    /// Unix seconds since which the resource is being deleted.
    pub deleting: Option<i64>,
    pub annotations: BTreeMap<String, String>,
    /// Carries the operator's finalizer.
    pub finalized: bool,
    pub status: LastStatus,
}

/// A resource: metadata and spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S> {
    pub meta: Meta,
    pub spec: S,
}

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

/// How to reach a broker: the outcome of dereferencing a `Broker` and its Secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// `amqp://host:port` or `amqps://...`, without credentials and vhost.
    pub amqp_uri: String,
    /// `http://host:port` or `https://...`, without credentials; a path prefix is kept.
    pub management_uri: String,
    pub user: String,
    pub password: String,
    /// PEM certificates to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
}

impl fmt::Debug for Connection {
    /// Leaves the password out: connections end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("amqp_uri", &self.amqp_uri)
            .field("management_uri", &self.management_uri)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why a `Broker` could not be turned into a [`Connection`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// A Secret, or a key in it, does not exist; the text names it. Retried when the source changes, and slowly.
    #[error("{0}")]
    Missing(String),
    /// The spec cannot work as it stands (an engine not supported here, a URI that does not parse). Not retried.
    #[error("{0}")]
    Invalid(String),
    /// The source could not be asked (API server away). Retried with back-off.
    #[error("{0}")]
    Unavailable(String),
}

/// A write to the source failed; it is tried again with back-off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// `metav1.ConditionStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tri {
    True,
    False,
    Unknown,
}

impl Tri {
    pub fn as_str(self) -> &'static str {
        match self {
            Tri::True => "True",
            Tri::False => "False",
            Tri::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Tri {
    fn from(value: bool) -> Self {
        if value { Tri::True } else { Tri::False }
    }
}

/// The closed list of reasons in conditions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Synced,
    WaitingForBroker,
    WaitingForSource,
    WaitingForDestination,
    WaitingForVhost,
    Conflict,
    Mismatch,
    Immutable,
    InvalidArgument,
    NotAllowed,
    DeletionBlocked,
    Paused,
    BrokerError,
    Starting,
    Unschedulable,
    ImagePull,
    Crashed,
}

impl Reason {
    pub const ALL: [Reason; 17] = [
        Reason::Synced,
        Reason::WaitingForBroker,
        Reason::WaitingForSource,
        Reason::WaitingForDestination,
        Reason::WaitingForVhost,
        Reason::Conflict,
        Reason::Mismatch,
        Reason::Immutable,
        Reason::InvalidArgument,
        Reason::NotAllowed,
        Reason::DeletionBlocked,
        Reason::Paused,
        Reason::BrokerError,
        Reason::Starting,
        Reason::Unschedulable,
        Reason::ImagePull,
        Reason::Crashed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Synced => "Synced",
            Reason::WaitingForBroker => "WaitingForBroker",
            Reason::WaitingForSource => "WaitingForSource",
            Reason::WaitingForDestination => "WaitingForDestination",
            Reason::WaitingForVhost => "WaitingForVhost",
            Reason::Conflict => "Conflict",
            Reason::Mismatch => "Mismatch",
            Reason::Immutable => "Immutable",
            Reason::InvalidArgument => "InvalidArgument",
            Reason::NotAllowed => "NotAllowed",
            Reason::DeletionBlocked => "DeletionBlocked",
            Reason::Paused => "Paused",
            Reason::BrokerError => "BrokerError",
            Reason::Starting => "Starting",
            Reason::Unschedulable => "Unschedulable",
            Reason::ImagePull => "ImagePull",
            Reason::Crashed => "Crashed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The fields that only a `Broker`'s status has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Product and version as the broker says, for example `RabbitMQ 4.3.6`.
    pub version: Option<String>,
    /// The AMQP URI and the address of the management API that are used, without credentials.
    pub endpoint: Option<String>,
    pub management: Option<String>,
    /// Whether there is a connection; `None`: nothing is said about it.
    pub reachable: Option<Tri>,
    /// Only of a broker that the operator runs: whether messages outlive the pod, and the Secret for clients.
    pub persistent: Option<bool>,
    pub credentials: Option<String>,
    pub usage: Usage,
    /// Resources that refer to this broker, and how many of them are not Ready.
    pub objects: u32,
    pub not_ready: u32,
}

/// How full a broker is, as it last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages in all queues.
    pub messages: Option<u64>,
    /// Free bytes on its disk.
    pub disk_free: Option<u64>,
}

impl Usage {
    /// This, after `before`: free space that has changed by less than an eighth counts as the same, so that a status is
    /// not written all the time.
    pub fn after(mut self, before: &Usage) -> Usage {
        if let (Some(new), Some(old)) = (self.disk_free, before.disk_free)
            && new.abs_diff(old) <= old / 8
        {
            self.disk_free = before.disk_free;
        }
        self
    }
}

/// What waits in a queue, as the broker last said; for people, who look at it in `kubectl get -o wide`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueNumbers {
    /// Ready, and with consumers.
    pub messages: u64,
    pub ready: u64,
    pub consumers: u64,
    /// When it will be empty at the rates of now: `4s`, `grows`, or `-` for neither.
    pub drain: String,
}

/// The whole status of one resource; it replaces what was written before.
///
/// A report arrives only when it differs from the one before, but a source must still compare it with what stands in
/// the resource (after a restart everything is reported once) and write only a change.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusReport {
    pub key: ObjectKey,
    pub uid: String,
    /// The generation that was looked at: `observedGeneration` of the status and of every condition.
    pub generation: i64,
    pub ready: Tri,
    pub reconciling: Tri,
    pub stalled: Tri,
    pub reason: Reason,
    pub message: String,
    /// What the resource owns on the broker; see [`LastStatus`]. `None` while it owns nothing.
    pub name: Option<String>,
    pub vhost: Option<String>,
    pub applied: Option<Value>,
    /// Something was done on the broker for this resource: `lastSyncTime` moves.
    pub did_something: bool,
    /// Only for a `Broker`.
    pub broker: Option<BrokerFacts>,
    /// Only for a `Queue`; `None`: nothing new, what was written stands.
    pub queue: Option<QueueNumbers>,
}

impl StatusReport {
    /// Takes the place of an older report, which may never have been written: what only that one said is not lost.
    pub fn supersede(&mut self, old: StatusReport) {
        if old.uid == self.uid {
            self.did_something |= old.did_something;
            self.queue = self.queue.take().or(old.queue);
        }
    }
}

/// Where resources come from and where their status goes.
pub trait Source: Send + Sync + 'static {
    /// The resources as they stand now. Before the first complete read the source is not given to the pipeline.
    fn world(&self) -> Arc<World>;

    /// A number that grows, coalesced, whenever [`Source::world`] or anything a connection depends on has changed.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Dereferences a broker: its address, credentials and CA. Called before each connection attempt and whenever the
    /// source has changed while the broker is not connected.
    fn connection(
        &self,
        broker: &Object<BrokerSpec>,
    ) -> impl Future<Output = Result<Connection, ConnectionError>> + Send;

    /// Writes statuses, concurrently inside, trying again by itself as long as the resource still exists. Returns when
    /// all are written or superseded. A resource that is gone or was recreated (other `uid`) is skipped.
    fn write_status(&self, reports: Vec<StatusReport>) -> impl Future<Output = ()> + Send;

    /// Adds the finalizer; a no-op when it is there. Called before the first declare of a resource.
    fn ensure_finalizer(&self, key: &ObjectKey) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Removes the finalizer; a no-op when the resource is gone.
    fn remove_finalizer(&self, key: &ObjectKey) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Tells the user something that no condition can hold, because the resource is about to go: a warning event in
    /// Kubernetes, a line in the terminal.
    fn warn(&self, key: &ObjectKey, reason: &'static str, message: String) -> impl Future<Output = ()> + Send;
}

/// The finalizer that every resource carries before anything is declared for it.
pub const FINALIZER: &str = "leveret.dev/finalizer";
/// Annotation: `"true"` stops reconciling this resource (or, on a Broker, everything that refers to it).
pub const PAUSED: &str = "leveret.dev/paused";
/// Annotation: `"true"` lets a resource that is being deleted go although its broker cannot be reached or refuses.
pub const FORCE_DELETE: &str = "leveret.dev/force-delete";
/// Annotations: the addresses under which the operator reaches a broker it runs, when it is not in the same cluster
/// network (`kubectl port-forward`): `amqp://127.0.0.1:5672` and `http://127.0.0.1:15672`.
pub const AMQP_URI: &str = "leveret.dev/amqp-uri";
/// See [`AMQP_URI`].
pub const MANAGEMENT_URI: &str = "leveret.dev/management-uri";
