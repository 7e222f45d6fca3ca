//! The name of a resource: group, kind, namespace and name.
//!
//! In: nothing. Out: `Kind` and `ObjectKey`, which everything else names resources by.
//! Does not know about specs.

use std::fmt;

use crate::rabbitmq;
use crate::resource::BrokerRef;
pub use crate::resource::Kind;

/// The API group of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// `leveret.dev`.
    #[default]
    Leveret,
    /// `rabbitmq.com`: resources of RabbitMQ's topology operator, which ask for the same objects.
    RabbitMq,
}

/// A kind of resources in one group. Shown as `Queue`, or `Queue.rabbitmq.com`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    pub group: Group,
    pub kind: Kind,
}

impl From<Kind> for GroupKind {
    fn from(kind: Kind) -> Self {
        Self {
            group: Group::Leveret,
            kind,
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Group::Leveret => write!(f, "{}", self.kind),
            Group::RabbitMq => write!(f, "{}.{}", self.kind, rabbitmq::manifest::GROUP),
        }
    }
}

/// Names one resource. Shown as `Queue shop/invoices`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub group: Group,
}

impl ObjectKey {
    /// A resource of the group `leveret.dev`.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(kind.into(), namespace, name)
    }

    pub fn of(kind: GroupKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let GroupKind { group, kind } = kind;
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            group,
        }
    }

    pub fn group_kind(&self) -> GroupKind {
        GroupKind {
            group: self.group,
            kind: self.kind,
        }
    }

    /// The Broker that a resource in `namespace` refers to.
    pub fn broker(reference: &BrokerRef, namespace: &str) -> Self {
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        Self::new(Kind::Broker, namespace, &reference.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.group_kind(), self.namespace, self.name)
    }
}
