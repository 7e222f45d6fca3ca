//! The name of a resource: kind, namespace and name.
//!
//! In: nothing. Out: [`Kind`] and [`ObjectKey`], which everything else names resources by.
//! Does not know about specs.

use std::fmt;

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
