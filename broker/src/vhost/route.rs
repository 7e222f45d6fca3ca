//! From a message to the queues that get it: through exchanges bound to exchanges, and alternate exchanges where
//! nothing matches.
//!
//! Comes in: a message. Goes out: each queue once. The walk is a loop, whatever users chain, and may take so many steps
//! and no more. Routes that depend on the key alone are kept by `RouteCache`, so that a message of a known key costs a
//! look-up, not a walk.

use super::state::{Topology, Vhost};
use crate::access::Actor;
use crate::access::permissions::{Kind as ResourceKind, Right};
use crate::error::Error;
use crate::exchange::{Exchange, OutOfSteps, Properties, Routing, Steps, Target};
use crate::message::Message;
use crate::queue::Queue;
use leveret_amqp::properties::raw;
use std::collections::HashSet;
use std::sync::Arc;

/// The queues that a message goes to.
#[derive(Clone)]
pub struct Route {
    /// Each queue once.
    pub queues: Arc<[Arc<Queue>]>,
    /// True if every message with this key goes the same way.
    pub by_key: bool,
    /// The messages that must go to the log.
    pub logged: Logged,
    /// True if the log keeps a number with each message of one of the queues: its deadline or its level.
    pub stamped: bool,
}

/// The messages of a route that must go to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// None: no queue is durable.
    None,
    /// Persistent ones.
    Persistent,
    /// All: one of the queues keeps all of its messages there.
    All,
}

impl Route {
    /// True if a message must go to the log.
    #[inline]
    pub fn is_logged(&self, message: &Message) -> bool {
        match self.logged {
            Logged::Persistent => message.persistent(),
            Logged::None => false,
            Logged::All => true,
        }
    }
}

/// The reason why a message can't be routed at all.
#[derive(Debug)]
pub enum NoRoute {
    /// There is no such exchange (404).
    Missing,
    /// It is internal (403).
    Internal,
    /// The actor may not publish to it (403), or it would take more than [`MOST_STEPS`] (406).
    Refused(Box<Error>),
}

/// Steps that one message may take: destinations, and nodes, headers and exchanges that are looked at on the way to
/// them. Ten times what the largest fan-outs need; the topology can't be changed meanwhile, so it is a bound of time.
pub const MOST_STEPS: usize = 1_000_000;

impl Vhost {
    /// The queues that a message of `actor` goes to; without an actor, of the broker itself, which may publish to any
    /// exchange.
    ///
    /// # Errors
    /// [`NoRoute`].
    pub fn route(&self, message: &Message, actor: Option<&Actor>) -> Result<Route, NoRoute> {
        self.find_route(message, actor, &mut Steps::new(MOST_STEPS))
    }

    /// The same, with the steps that it may take.
    pub(super) fn find_route(
        &self,
        message: &Message,
        actor: Option<&Actor>,
        steps: &mut Steps,
    ) -> Result<Route, NoRoute> {
        if let Some(actor) = actor {
            self.check(actor, Right::Write, ResourceKind::Exchange, message.exchange())
                .map_err(|error| NoRoute::Refused(error.into()))?;
        }
        let topology = self.topology.read();
        let exchange = topology.exchanges.get(message.exchange()).ok_or(NoRoute::Missing)?;
        if exchange.definition.internal && actor.is_some() {
            return Err(NoRoute::Internal);
        }
        let properties = Properties::new(message.properties());
        let own = [message.routing_key()];
        let all: Vec<&[u8]>;
        let keys: &[&[u8]] = if has_extra_keys(message) && !message.goes_by_key_alone() {
            all = all_keys(own[0], &properties);
            &all
        } else {
            &own
        };
        let mut walk = Walk {
            topology: &topology,
            routing: Routing {
                keys,
                properties: &properties,
            },
            steps,
            queues: Distinct::default(),
            seen: Distinct::default(),
            by_key: keys.len() == 1,
        };
        walk.from(exchange).map_err(|OutOfSteps| self.too_far(exchange))?;
        let queues = walk.queues.list;
        let logged = match (
            queues.iter().any(|queue| queue.keeps_all()),
            queues.iter().any(|queue| queue.logged()),
        ) {
            (true, _) => Logged::All,
            (false, true) => Logged::Persistent,
            (false, false) => Logged::None,
        };
        let stamped = queues.iter().any(|queue| queue.stamps());
        Ok(Route {
            queues: queues.into(),
            by_key: walk.by_key,
            logged,
            stamped,
        })
    }

    #[cold]
    fn too_far(&self, exchange: &Exchange) -> NoRoute {
        let (exchange, vhost) = (exchange.definition.name.to_str_lossy(), &self.name);
        let text = format!(
            "a message to exchange '{exchange}' in vhost '{vhost}' takes more than {MOST_STEPS} steps to its queues: \
             use fewer bindings, wildcards and headers there, or fewer CC and BCC keys"
        );
        NoRoute::Refused(Box::new(Error::Precondition(text.into())))
    }
}

struct Walk<'a> {
    topology: &'a Topology,
    routing: Routing<'a>,
    steps: &'a mut Steps,
    queues: Distinct<Arc<Queue>>,
    /// Exchanges that the walk has come to, so that loops end; the last of them are still to be passed.
    seen: Distinct<&'a Exchange>,
    by_key: bool,
}

impl<'a> Walk<'a> {
    fn from(&mut self, exchange: &'a Exchange) -> Result<(), OutOfSteps> {
        self.seen.add(&exchange);
        let mut passed = 0;
        while let Some(exchange) = self.seen.list.get(passed).copied() {
            passed += 1;
            self.steps.take(1)?;
            self.through(exchange)?;
        }
        Ok(())
    }

    fn through(&mut self, exchange: &'a Exchange) -> Result<(), OutOfSteps> {
        self.by_key &= exchange.routes_by_key();
        let Self {
            topology,
            routing,
            steps,
            queues,
            seen,
            ..
        } = self;
        let mut matched = false;
        let mut come_to = |exchange: Option<&'a Exchange>| {
            if let Some(exchange) = exchange {
                seen.add(&exchange);
            }
        };
        if exchange.definition.name.is_empty() {
            // Every queue is bound to the default exchange by its name (AMQP 0-9-1, 3.1.3.1).
            for &key in routing.keys {
                steps.take(1)?;
                if let Some(queue) = topology.queues.get(key) {
                    queues.add(queue);
                    matched = true;
                }
            }
        } else {
            exchange.route(routing, steps, &mut |target| {
                matched = true;
                match target {
                    Target::Queue(queue) => queues.add(queue),
                    Target::Exchange(name) => come_to(topology.exchanges.get(name)),
                }
            })?;
        }
        if !matched && let Some(name) = &exchange.alternate {
            come_to(topology.exchanges.get(name));
        }
        Ok(())
    }
}

/// Things that are told apart by where they lie.
trait Placed: Clone {
    fn place(&self) -> usize;
}

impl Placed for Arc<Queue> {
    fn place(&self) -> usize {
        Arc::as_ptr(self).addr()
    }
}

impl Placed for &Exchange {
    fn place(&self) -> usize {
        std::ptr::from_ref(*self).addr()
    }
}

/// Things in the order in which they were found, each once. A few are told apart by a look at each, many by a set.
struct Distinct<T> {
    list: Vec<T>,
    many: HashSet<usize, foldhash::fast::FixedState>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            many: HashSet::default(),
        }
    }
}

impl<T: Placed> Distinct<T> {
    const FEW: usize = 16;

    fn add(&mut self, item: &T) {
        let place = item.place();
        let new = match self.many.is_empty() {
            true => !self.list.iter().any(|other| other.place() == place),
            false => self.many.insert(place),
        };
        if !new {
            return;
        }
        self.list.push(item.clone());
        if self.many.is_empty() && self.list.len() > Self::FEW {
            self.many.extend(self.list.iter().map(T::place));
        }
    }
}

/// True if the headers may name further routing keys. Most don't, and that is cheaper to see than to parse them.
pub fn has_extra_keys(message: &Message) -> bool {
    raw::headers(message.properties()).is_some_and(|raw| memchr::memmem::find(raw, b"CC").is_some())
}

/// A message's key, and those of RabbitMQ's CC and BCC headers: it goes by all of them at once. Each is taken once.
fn all_keys<'a>(own: &'a [u8], properties: &'a Properties<'_>) -> Vec<&'a [u8]> {
    let lists = ["CC", "BCC"].into_iter();
    let lists = lists.filter_map(|name| properties.headers().get(name)?.as_array());
    let extra = lists.flatten().filter_map(|key| key.as_bytes().map(|key| &key[..]));
    let mut known = HashSet::new();
    let all = std::iter::once(own).chain(extra);
    all.filter(|key| known.insert(*key)).collect()
}
