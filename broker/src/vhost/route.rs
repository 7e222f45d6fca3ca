//! From a message to the queues that get it: through exchanges bound to exchanges, and alternate exchanges where
//! nothing matches.
//!
//! Comes in: a message. Goes out: each queue once. Routes that depend on the key alone are kept by `RouteCache`, so
//! that a message of a known key costs a look-up, not a walk.

use super::state::{Topology, Vhost};
use crate::access::Actor;
use crate::access::permissions::{Kind as ResourceKind, Right};
use crate::error;
use crate::exchange::{Exchange, Properties, Routing, Target};
use crate::message::Message;
use crate::queue::Queue;
use leveret_amqp::ShortString;
use leveret_amqp::properties::raw;
use std::collections::HashMap;
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
pub enum NoExchange {
    /// There is no such exchange (404).
    Missing,
    /// It is internal (403).
    Internal,
    /// The actor may not publish to it (403).
    Denied(Box<error::Error>),
}

/// Names to what they stand for, looked up once per message. A client that makes its names collide only slows itself
/// down.
type ByName<T> = HashMap<ShortString, T, foldhash::fast::RandomState>;

/// Routes by exchange and key, for one connection.
#[derive(Default)]
pub struct RouteCache {
    version: u64,
    exchanges: ByName<ByName<Route>>,
    size: usize,
}

/// Routes that one connection keeps before it starts over: keys may be as many as messages.
const CACHE_LIMIT: usize = 16 * 1024;

impl RouteCache {
    /// The route of a message, from memory if its key is known and nothing has changed: the cache is one connection's,
    /// so what it knows was permitted. A change of permissions has to count as a change of the vhost.
    ///
    /// # Errors
    /// [`NoExchange`].
    pub fn route(&mut self, vhost: &Vhost, actor: &Actor, message: &Message) -> Result<Route, NoExchange> {
        let version = vhost.version();
        if self.version != version || self.size > CACHE_LIMIT {
            self.exchanges.clear();
            self.size = 0;
            self.version = version;
        }
        if has_extra_keys(message) {
            return vhost.route(message, Some(actor));
        }
        let (exchange, key) = (message.exchange(), message.routing_key());
        if let Some(route) = self.exchanges.get(exchange).and_then(|keys| keys.get(key)) {
            return Ok(route.clone());
        }
        let route = vhost.route(message, Some(actor))?;
        if route.by_key
            && let (Ok(exchange), Ok(key)) = (owned(exchange), owned(key))
        {
            self.exchanges.entry(exchange).or_default().insert(key, route.clone());
            self.size += 1;
        }
        Ok(route)
    }
}

/// A copy of its own, so that the cache doesn't hold read buffers.
fn owned(bytes: &[u8]) -> Result<ShortString, leveret_amqp::ShortStringTooLong> {
    ShortString::try_from(bytes)
}

impl Vhost {
    /// The queues that a message of `actor` goes to; without an actor, of the broker itself, which may publish to any
    /// exchange.
    ///
    /// # Errors
    /// [`NoExchange`].
    pub fn route(&self, message: &Message, actor: Option<&Actor>) -> Result<Route, NoExchange> {
        if let Some(actor) = actor {
            self.check(actor, Right::Write, ResourceKind::Exchange, message.exchange())
                .map_err(|error| NoExchange::Denied(error.into()))?;
        }
        let topology = self.topology.read();
        let exchange = topology.exchanges.get(message.exchange()).ok_or(NoExchange::Missing)?;
        if exchange.definition.internal && actor.is_some() {
            return Err(NoExchange::Internal);
        }
        let properties = Properties::new(message.properties());
        let own = [message.routing_key()];
        let all: Vec<&[u8]>;
        let keys: &[&[u8]] = if has_extra_keys(message) && !message.goes_by_key_alone() {
            all = own.into_iter().chain(extra_keys(&properties)).collect();
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
            queues: Vec::new(),
            seen: Vec::new(),
            by_key: keys.len() == 1,
        };
        walk.through(exchange);
        let logged = match (
            walk.queues.iter().any(|queue| queue.keeps_all()),
            walk.queues.iter().any(|queue| queue.logged()),
        ) {
            (true, _) => Logged::All,
            (false, true) => Logged::Persistent,
            (false, false) => Logged::None,
        };
        let stamped = walk.queues.iter().any(|queue| queue.stamps());
        Ok(Route {
            queues: walk.queues.into(),
            by_key: walk.by_key,
            logged,
            stamped,
        })
    }
}

struct Walk<'a> {
    topology: &'a Topology,
    routing: Routing<'a>,
    queues: Vec<Arc<Queue>>,
    /// Exchanges that the walk has passed, so that loops end.
    seen: Vec<&'a [u8]>,
    by_key: bool,
}

impl<'a> Walk<'a> {
    fn through(&mut self, exchange: &'a Exchange) {
        let name = exchange.definition.name.as_bytes();
        if self.seen.contains(&name) {
            return;
        }
        self.seen.push(name);
        self.by_key &= exchange.routes_by_key();
        let mut matched = false;
        let mut next: Vec<&'a ShortString> = Vec::new();
        if name.is_empty() {
            // Every queue is bound to the default exchange by its name (AMQP 0-9-1, 3.1.3.1).
            for &key in self.routing.keys {
                if let Some(queue) = self.topology.queues.get(key) {
                    add(&mut self.queues, queue);
                    matched = true;
                }
            }
        } else {
            let queues = &mut self.queues;
            exchange.route(&self.routing, &mut |target| {
                matched = true;
                match target {
                    Target::Queue(queue) => add(queues, queue),
                    Target::Exchange(name) => next.push(name),
                }
            });
        }
        for name in next {
            if let Some(exchange) = self.topology.exchanges.get(name) {
                self.through(exchange);
            }
        }
        if !matched
            && let Some(alternate) = exchange
                .alternate
                .as_ref()
                .and_then(|name| self.topology.exchanges.get(name))
        {
            self.through(alternate);
        }
    }
}

/// True if the headers may name further routing keys. Most don't, and that is cheaper to see than to parse them.
pub fn has_extra_keys(message: &Message) -> bool {
    raw::headers(message.properties()).is_some_and(|raw| memchr::memmem::find(raw, b"CC").is_some())
}

/// RabbitMQ's CC and BCC headers: more routing keys. A message goes by all of its keys at once.
fn extra_keys<'a>(properties: &'a Properties<'_>) -> impl Iterator<Item = &'a [u8]> {
    let lists = ["CC", "BCC"].into_iter();
    let lists = lists.filter_map(|name| properties.headers().get(name)?.as_array());
    lists.flatten().filter_map(|key| key.as_bytes().map(|key| &key[..]))
}

fn add(queues: &mut Vec<Arc<Queue>>, queue: &Arc<Queue>) {
    if !queues.iter().any(|other| Arc::ptr_eq(other, queue)) {
        queues.push(queue.clone());
    }
}
