//! From a message to the queues that get it: through exchanges bound to exchanges, and alternate exchanges where
//! nothing matches.
//!
//! Comes in: a message. Goes out: each queue once. The walk is a loop, whatever users chain, and may take so many steps
//! and no more. It takes them without the topology's lock, which is held for a few names at a time: the routing table
//! of each exchange is of one moment, two of them may be of two. Routes that depend on the key alone are kept by
//! `RouteCache`, so that a message of a known key costs a look-up, not a walk.

use super::state::Vhost;
use crate::access::Actor;
use crate::access::permissions::{Kind as ResourceKind, Right};
use crate::error::Error;
use crate::exchange::traffic::Traffic;
use crate::exchange::{OutOfSteps, Properties, Routing, RoutingTable, Steps, Target, topic};
use crate::message::Message;
use crate::queue::Queue;
use leveret_amqp::ShortString;
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
/// them. Ten times what the largest fan-outs need; they keep a thread busy, so it is a bound of time.
pub const MOST_STEPS: usize = 1_000_000;

/// Names that are looked up while the topology is locked for reading: a message may have many, and others wait.
const AT_ONCE: usize = 64;

impl Vhost {
    /// The queues that a message of `actor` goes to; without an actor, of the broker itself, which may publish to any
    /// exchange.
    ///
    /// # Errors
    /// [`NoRoute`].
    pub fn route(&self, message: &Message, actor: Option<&Actor>) -> Result<Route, NoRoute> {
        let found = self.find_route(message, actor, &mut Steps::new(MOST_STEPS));
        found.map(|(route, _)| route)
    }

    /// The same, with the steps that it may take, and the counters of the exchange that it begins at.
    pub(super) fn find_route(
        &self,
        message: &Message,
        actor: Option<&Actor>,
        steps: &mut Steps,
    ) -> Result<(Route, Arc<Traffic>), NoRoute> {
        if let Some(actor) = actor {
            self.check(actor, Right::Write, ResourceKind::Exchange, message.exchange())
                .map_err(|error| NoRoute::Refused(error.into()))?;
        }
        let Found {
            table,
            traffic,
            is_topic,
        } = self.found(message.exchange(), actor.is_some())?;
        let properties = Properties::new(message.properties());
        let own = [message.routing_key()];
        let all: Vec<&[u8]>;
        let keys: &[&[u8]] = if has_extra_keys(message) && !message.goes_by_key_alone() {
            all = all_keys(own[0], &properties);
            &all
        } else {
            &own
        };
        if let Some(actor) = actor.filter(|_| is_topic) {
            keys.iter()
                .try_for_each(|key| self.check_topic(actor, Right::Write, message.exchange(), key))
                .map_err(|error| NoRoute::Refused(error.into()))?;
        }
        let mut walk = Walk {
            vhost: self,
            routing: Routing {
                keys,
                properties: &properties,
            },
            steps,
            queues: Distinct::default(),
            seen: Distinct::default(),
            by_key: keys.len() == 1,
        };
        walk.from(table)
            .map_err(|OutOfSteps| self.too_far(message.exchange()))?;
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
        let route = Route {
            queues: queues.into(),
            by_key: walk.by_key,
            logged,
            stamped,
        };
        Ok((route, traffic))
    }

    /// The exchange that a message is published to.
    fn found(&self, exchange: &[u8], by_client: bool) -> Result<Found, NoRoute> {
        let topology = self.topology.read();
        let exchange = topology.exchanges.get(exchange).ok_or(NoRoute::Missing)?;
        match exchange.definition.internal && by_client {
            true => Err(NoRoute::Internal),
            false => Ok(Found {
                table: exchange.table().clone(),
                traffic: exchange.traffic.clone(),
                is_topic: exchange.definition.kind == &topic::TYPE,
            }),
        }
    }

    #[cold]
    fn too_far(&self, exchange: &[u8]) -> NoRoute {
        let (exchange, vhost) = (String::from_utf8_lossy(exchange), &self.name);
        let text = format!(
            "a message to exchange '{exchange}' in vhost '{vhost}' takes more than {MOST_STEPS} steps to its queues: \
             use fewer bindings, wildcards and headers there, or fewer CC and BCC keys"
        );
        NoRoute::Refused(Box::new(Error::Precondition(text.into())))
    }
}

/// The exchange that a message is published to, as far as its way is concerned.
struct Found {
    table: Arc<RoutingTable>,
    traffic: Arc<Traffic>,
    /// True if rights to routing keys are asked for.
    is_topic: bool,
}

struct Walk<'a> {
    vhost: &'a Vhost,
    routing: Routing<'a>,
    steps: &'a mut Steps,
    queues: Distinct<Arc<Queue>>,
    /// Exchanges that the walk has come to, so that loops end; the last of them are still to be passed.
    seen: Distinct<Arc<RoutingTable>>,
    by_key: bool,
}

impl Walk<'_> {
    fn from(&mut self, table: Arc<RoutingTable>) -> Result<(), OutOfSteps> {
        self.seen.add(&table);
        let mut passed = 0;
        while let Some(table) = self.seen.list.get(passed).cloned() {
            passed += 1;
            self.steps.take(1)?;
            self.by_key &= table.by_key();
            match table.is_default() {
                true => self.through_default()?,
                false => self.through(&table)?,
            }
        }
        Ok(())
    }

    /// Every queue is bound to the default exchange by its name (AMQP 0-9-1, 3.1.3.1).
    fn through_default(&mut self) -> Result<(), OutOfSteps> {
        for keys in self.routing.keys.chunks(AT_ONCE) {
            self.steps.take(keys.len())?;
            let topology = self.vhost.topology.read();
            for queue in keys.iter().filter_map(|key| topology.queues.get(*key)) {
                self.queues.add(queue);
            }
        }
        Ok(())
    }

    fn through(&mut self, table: &RoutingTable) -> Result<(), OutOfSteps> {
        let Self {
            vhost,
            routing,
            steps,
            queues,
            seen,
            ..
        } = self;
        table.look(|state| {
            let mut matched = false;
            let mut names = Vec::new();
            state.route(routing, steps, &mut |target| {
                matched = true;
                match target {
                    Target::Queue(queue) => queues.add(queue),
                    Target::Exchange(name) => {
                        names.push(name);
                        if names.len() == AT_ONCE {
                            vhost.come_to(&mut names, seen);
                        }
                    }
                }
            })?;
            if !matched && let Some(name) = state.alternate() {
                names.push(name);
            }
            vhost.come_to(&mut names, seen);
            Ok(())
        })
    }
}

impl Vhost {
    /// Adds the exchanges of these names, if there are such.
    fn come_to(&self, names: &mut Vec<&ShortString>, seen: &mut Distinct<Arc<RoutingTable>>) {
        if names.is_empty() {
            return;
        }
        let topology = self.topology.read();
        for exchange in names.drain(..).filter_map(|name| topology.exchanges.get(name)) {
            seen.add(exchange.table());
        }
    }
}

/// Things that are told apart by where they lie.
trait Placed: Clone {
    fn place(&self) -> usize;
}

impl<T> Placed for Arc<T> {
    fn place(&self) -> usize {
        Arc::as_ptr(self).addr()
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

/// All keys that a message goes by.
pub fn keys_of(message: &Message) -> Vec<Vec<u8>> {
    let own = message.routing_key();
    match has_extra_keys(message) && !message.goes_by_key_alone() {
        false => vec![own.to_vec()],
        true => {
            let properties = Properties::new(message.properties());
            let keys = all_keys(own, &properties).into_iter();
            keys.map(<[u8]>::to_vec).collect()
        }
    }
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
