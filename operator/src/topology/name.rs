//! Names of objects on a broker, and the words for them.
//!
//! In: nothing. Out: `Name`, `Target`. Does not know about definitions, or what a name is wanted for.

use std::fmt;

use crate::object::Kind;

/// An object by its name on the broker. `vhost` is empty for what stands in no virtual host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub vhost: String,
    pub name: String,
}

impl Name {
    pub fn new(vhost: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            vhost: vhost.into(),
            name: name.into(),
        }
    }

    /// The broker's own: the default exchange and everything called `amq.*` (AMQP 0-9-1, 3.1.3.1).
    pub fn is_reserved(&self) -> bool {
        self.name.is_empty() || self.name.starts_with("amq.")
    }
}

/// A named object of any kind, as others refer to it. Shown as `queue 'invoices' in vhost 'shop'`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub kind: Kind,
    pub name: Name,
}

impl Target {
    pub fn new(kind: Kind, name: Name) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { vhost, name } = &self.name;
        write!(f, "{} '{name}'{}", self.kind.word(), InVhost(vhost))
    }
}

/// The end of a phrase that says in which virtual host something stands; nothing for the usual one.
pub struct InVhost<'a>(pub &'a str);

impl fmt::Display for InVhost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" | "/" => Ok(()),
            other => write!(f, " in vhost '{other}'"),
        }
    }
}
