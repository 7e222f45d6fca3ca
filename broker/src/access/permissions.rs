//! Permissions: which names a user may configure, write to and read from.
//!
//! Comes in: a right and an exchange or queue. Goes out: yes or no.
//! Pure. Does not know about users, or where it is asked.

use crate::pattern::Pattern;
use std::fmt::{self, Display, Formatter};

/// A right to an exchange or a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Declare and delete.
    Configure,
    /// Publish, bind to.
    Write,
    /// Consume, get, purge, bind from.
    Read,
}

impl Right {
    /// All of them, in RabbitMQ's order.
    pub const ALL: [Self; 3] = [Self::Configure, Self::Write, Self::Read];

    /// The name in RabbitMQ's permissions and refusals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// The kind of an object that rights are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An exchange.
    Exchange,
    /// A queue.
    Queue,
}

/// An object that a right is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// Its vhost.
    pub vhost: &'a str,
    /// Exchange or queue.
    pub kind: Kind,
    /// Its name.
    pub name: &'a [u8],
}

impl Resource<'_> {
    /// The name that patterns are matched with: RabbitMQ's for the default exchange, which has an empty one.
    pub fn pattern_name(&self) -> &[u8] {
        match self.kind {
            Kind::Exchange if self.name.is_empty() => b"amq.default",
            _ => self.name,
        }
    }
}

impl Display for Resource<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Exchange => "exchange",
            Kind::Queue => "queue",
        };
        let name = String::from_utf8_lossy(self.pattern_name());
        write!(f, "{kind} '{name}' in vhost '{}'", self.vhost)
    }
}

/// The names that a right extends to.
#[derive(Clone, Debug, PartialEq)]
pub enum Names {
    /// All.
    All,
    /// None, but for an empty one: RabbitMQ's `^$`.
    None,
    /// Those in which a pattern is found.
    Matching(Box<Pattern>),
}

impl Names {
    /// By the regular expression of RabbitMQ's permissions.
    ///
    /// # Errors
    /// The fault in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            ".*" => Ok(Self::All),
            "" | "^$" => Ok(Self::None),
            other => Pattern::parse(other).map(|pattern| Self::Matching(Box::new(pattern))),
        }
    }

    /// True if a name is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::None => name.is_empty(),
            Self::Matching(pattern) => pattern.matches(name),
        }
    }
}

/// The rights of a user in a vhost.
#[derive(Clone, Debug, PartialEq)]
pub struct Permissions {
    /// Names that may be declared and deleted.
    pub configure: Names,
    /// Names that may be published and bound to.
    pub write: Names,
    /// Names that may be consumed and bound from.
    pub read: Names,
}

impl Permissions {
    /// Everything.
    pub const ALL: Self = Self {
        configure: Names::All,
        write: Names::All,
        read: Names::All,
    };
    /// Nothing.
    pub const NONE: Self = Self {
        configure: Names::None,
        write: Names::None,
        read: Names::None,
    };

    /// The names that a right extends to.
    pub fn names(&self, right: Right) -> &Names {
        match right {
            Right::Configure => &self.configure,
            Right::Write => &self.write,
            Right::Read => &self.read,
        }
    }

    /// True if a right extends to an object.
    pub fn allow(&self, right: Right, resource: &Resource<'_>) -> bool {
        self.names(right).contains(resource.pattern_name())
    }

    /// True if there is any right at all: without one, no vhost may be entered.
    pub fn any(&self) -> bool {
        *self != Self::NONE
    }
}
