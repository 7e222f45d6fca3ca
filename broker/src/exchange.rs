//! Exchanges: which destinations a routing key or headers lead to.
//!
//! Comes in: bindings, and a message's routing key and headers. Goes out: the bound destinations. Pure.
//! Does not know about vhosts, messages or permissions.

pub mod binding;

pub mod direct;

pub mod fanout;

pub mod topic;

pub mod headers;

use crate::queue::Queue;
use binding::Binding;
use leveret_amqp::{FieldTable, ShortString};
use std::collections::HashSet;
use std::sync::Arc;

/// The argument that names where messages go that lead nowhere.
pub const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// How an exchange routes (AMQP 0-9-1, 3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By equal routing key.
    Direct,
    /// To everything that is bound.
    Fanout,
    /// By words of the routing key, with `*` and `#`.
    Topic,
    /// By headers.
    Headers,
}

impl Kind {
    /// The kind of a declared type. `None`: not a type of this broker.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"direct" => Self::Direct,
            b"fanout" => Self::Fanout,
            b"topic" => Self::Topic,
            b"headers" => Self::Headers,
            _ => return None,
        })
    }

    /// The name in a declaration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

/// What a declare says about an exchange.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name.
    pub name: ShortString,
    /// How it routes.
    pub kind: Kind,
    /// Survives a restart.
    pub durable: bool,
    /// Goes when its last binding goes.
    pub auto_delete: bool,
    /// Clients can't publish to it.
    pub internal: bool,
    /// Arguments as declared.
    pub arguments: FieldTable,
}

impl Definition {
    /// Where messages go that lead nowhere: the `alternate-exchange` argument.
    pub fn alternate(&self) -> Option<ShortString> {
        self.arguments
            .get(ALTERNATE_EXCHANGE)?
            .as_str()
            .and_then(|name| ShortString::try_from(name).ok())
    }
}

/// Where a binding leads.
#[derive(Clone)]
pub enum Target {
    /// A queue.
    Queue(Arc<Queue>),
    /// Another exchange of the vhost.
    Exchange(ShortString),
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Queue(a), Self::Queue(b)) => Arc::ptr_eq(a, b),
            (Self::Exchange(a), Self::Exchange(b)) => a == b,
            _ => false,
        }
    }
}

/// An exchange with its bindings.
pub struct Exchange {
    /// What it was declared as.
    pub definition: Definition,
    /// Where messages go that lead nowhere.
    pub alternate: Option<ShortString>,
    router: Router,
    bindings: HashSet<Binding>,
}

enum Router {
    Direct(direct::Direct),
    Fanout(fanout::Fanout),
    Topic(topic::Topic),
    Headers(headers::Headers),
}

impl Exchange {
    /// An exchange without bindings.
    pub fn new(definition: Definition) -> Self {
        let router = match definition.kind {
            Kind::Direct => Router::Direct(direct::Direct::default()),
            Kind::Fanout => Router::Fanout(fanout::Fanout::default()),
            Kind::Topic => Router::Topic(topic::Topic::default()),
            Kind::Headers => Router::Headers(headers::Headers::default()),
        };
        let alternate = definition.alternate();
        Self {
            definition,
            alternate,
            router,
            bindings: HashSet::new(),
        }
    }

    /// Its bindings, in no order.
    pub fn bindings(&self) -> &HashSet<Binding> {
        &self.bindings
    }

    /// Whether the same message always goes the same way by its routing key alone.
    pub fn routes_by_key(&self) -> bool {
        !matches!(self.router, Router::Headers(_))
    }

    /// Adds a binding. False if there is the same one already.
    pub fn bind(&mut self, binding: Binding, target: Target) -> bool {
        if self.bindings.contains(&binding) {
            return false;
        }
        let key = binding.routing_key.as_bytes();
        match &mut self.router {
            Router::Direct(router) => router.bind(key, target),
            Router::Fanout(router) => router.bind(target),
            Router::Topic(router) => router.bind(key, target),
            Router::Headers(router) => router.bind(&binding.arguments, target),
        }
        self.bindings.insert(binding)
    }

    /// Removes a binding. False if there is none like it.
    pub fn unbind(&mut self, binding: &Binding, target: &Target) -> bool {
        if !self.bindings.remove(binding) {
            return false;
        }
        let key = binding.routing_key.as_bytes();
        match &mut self.router {
            Router::Direct(router) => router.unbind(key, target),
            Router::Fanout(router) => router.unbind(target),
            Router::Topic(router) => router.unbind(key, target),
            Router::Headers(router) => router.unbind(&binding.arguments, target),
        }
        true
    }

    /// Calls `found` for each destination of a message; the same one may come more than once. `headers` is asked only by a headers
    /// exchange.
    pub fn route<'a>(&'a self, key: &[u8], headers: &dyn Fn() -> FieldTable, found: &mut dyn FnMut(&'a Target)) {
        match &self.router {
            Router::Direct(router) => router.route(key, found),
            Router::Fanout(router) => router.route(found),
            Router::Topic(router) => router.route(key, found),
            Router::Headers(router) => router.route(&headers(), found),
        }
    }
}

/// A destination with the number of bindings that lead to it by the same key.
struct Counted {
    target: Target,
    bindings: usize,
}

/// The destinations of one key.
#[derive(Default)]
struct Targets(Vec<Counted>);

impl Targets {
    fn add(&mut self, target: Target) {
        match self.0.iter_mut().find(|counted| counted.target == target) {
            Some(counted) => counted.bindings += 1,
            None => self.0.push(Counted { target, bindings: 1 }),
        }
    }

    fn remove(&mut self, target: &Target) {
        let Some(at) = self.0.iter().position(|counted| counted.target == *target) else {
            return;
        };
        let last = self.0.get_mut(at).is_some_and(|counted| {
            counted.bindings -= 1;
            counted.bindings == 0
        });
        if last {
            self.0.remove(at);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().map(|counted| &counted.target)
    }
}
