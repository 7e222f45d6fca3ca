//! Routes by exchange and key, as one connection remembers them.
//!
//! Comes in: messages. Goes out: their routes; those that depend on the key alone from memory. Keys may be as many as
//! messages, and a route as long as there are queues: routes to the same queues share them, what is remembered is
//! counted, and above a limit it starts over. The messages of each exchange are counted here, and told to it once per
//! batch. Does not know how a route is found.

use super::route::{MOST_STEPS, NoRoute, Route, has_extra_keys};
use super::state::Vhost;
use crate::access::Actor;
use crate::exchange::Steps;
use crate::exchange::traffic::Traffic;
use crate::limits::{Held, Holding};
use crate::message::Message;
use crate::queue::Queue;
use leveret_amqp::ShortString;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Bytes that one connection remembers before it starts over; one route may go beyond it.
const MOST_BYTES: usize = 4 << 20;
/// Bytes of a route beside its key and its queues: entry, and allocations.
const ROUTE_BYTES: usize = 192;

/// Names to what they stand for, looked up once per message. A client that makes its names collide only slows itself
/// down.
type ByName<T> = HashMap<ShortString, T, foldhash::fast::RandomState>;

/// Routes by exchange and key, for one connection.
#[derive(Default)]
pub struct RouteCache {
    version: u64,
    kept: Option<Box<Kept>>,
    steps: usize,
}

#[derive(Default)]
struct Kept {
    exchanges: ByName<Known>,
    /// The messages of each of them since they were told last, and those that have some.
    untold: Vec<Untold>,
    some: Vec<usize>,
    /// Lists of queues that routes have, by a hash of them.
    shared: HashMap<u64, Arc<[Arc<Queue>]>, foldhash::fast::FixedState>,
    bytes: usize,
    held: Option<Held>,
}

/// An exchange of which routes are known.
struct Known {
    routes: ByName<Route>,
    /// Its place among the counts.
    place: usize,
}

/// Messages of an exchange that it has not been told of.
struct Untold {
    traffic: Arc<Traffic>,
    published: u64,
    routed: u64,
}

impl RouteCache {
    /// The route of a message, from memory if its key is known and nothing has changed: the cache is one connection's,
    /// so what it knows was permitted.
    ///
    /// # Errors
    /// [`NoRoute`].
    #[inline]
    pub fn route(&mut self, vhost: &Vhost, actor: Option<&Actor>, message: &Message) -> Result<Route, NoRoute> {
        // Both only grow, so their sum stays the same only if nothing has changed.
        let version = vhost.version().wrapping_add(actor.map_or(0, Actor::version));
        if self.version != version {
            self.forget();
            self.version = version;
        }
        if !has_extra_keys(message)
            && let Some(route) = self.kept.as_mut().and_then(|kept| kept.find(message))
        {
            return Ok(route);
        }
        self.find(vhost, actor, message)
    }

    /// Steps that were taken in this batch to find routes that weren't known.
    #[inline]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// A batch has ended: exchanges are told of its messages.
    pub fn end_batch(&mut self) {
        self.steps = 0;
        if let Some(kept) = &mut self.kept {
            kept.tell();
        }
    }

    fn forget(&mut self) {
        if let Some(mut kept) = self.kept.take() {
            kept.tell();
        }
    }

    #[cold]
    fn find(&mut self, vhost: &Vhost, actor: Option<&Actor>, message: &Message) -> Result<Route, NoRoute> {
        let mut steps = Steps::new(MOST_STEPS);
        let found = vhost.find_route(message, actor, &mut steps);
        self.steps += MOST_STEPS - steps.left();
        let (mut route, traffic) = found?;
        traffic.count(1, route.queues.len() as u64);
        if route.by_key && !has_extra_keys(message) {
            if self.kept.as_ref().is_some_and(|kept| kept.bytes > MOST_BYTES) {
                self.forget();
            }
            let kept = self.kept.get_or_insert_default();
            kept.keep(vhost, message, &mut route, traffic);
        }
        Ok(route)
    }
}

impl Kept {
    #[inline]
    fn find(&mut self, message: &Message) -> Option<Route> {
        let known = self.exchanges.get(message.exchange())?;
        let route = known.routes.get(message.routing_key())?;
        if let Some(untold) = self.untold.get_mut(known.place) {
            if untold.published == 0 {
                self.some.push(known.place);
            }
            untold.published += 1;
            untold.routed += route.queues.len() as u64;
        }
        Some(route.clone())
    }

    /// Tells exchanges of their messages.
    fn tell(&mut self) {
        for place in self.some.drain(..) {
            if let Some(untold) = self.untold.get_mut(place) {
                let (published, routed) = (&mut untold.published, &mut untold.routed);
                untold.traffic.count(std::mem::take(published), std::mem::take(routed));
            }
        }
    }

    fn keep(&mut self, vhost: &Vhost, message: &Message, route: &mut Route, traffic: Arc<Traffic>) {
        // Copies, so that the cache doesn't hold read buffers.
        let owned = |bytes: &[u8]| ShortString::try_from(bytes);
        let (Ok(exchange), Ok(key)) = (owned(message.exchange()), owned(message.routing_key())) else {
            return;
        };
        self.bytes += ROUTE_BYTES + key.len();
        self.share(route);
        let untold = &mut self.untold;
        let known = self.exchanges.entry(exchange).or_insert_with(|| {
            untold.push(Untold {
                traffic,
                published: 0,
                routed: 0,
            });
            Known {
                routes: ByName::default(),
                place: untold.len() - 1,
            }
        });
        known.routes.insert(key, route.clone());
        let bytes = self.bytes as u64;
        let held = self.held.get_or_insert_with(|| vhost.memory.hold(Holding::Routes, 0));
        held.set(bytes);
    }

    /// Gives the route the list of queues that another one has, if that is the same.
    fn share(&mut self, route: &mut Route) {
        let places: Vec<usize> = route.queues.iter().map(|queue| Arc::as_ptr(queue).addr()).collect();
        let hash = self.shared.hasher().hash_one(&places);
        if let Some(known) = self.shared.get(&hash)
            && known.len() == places.len()
            && known
                .iter()
                .zip(&places)
                .all(|(queue, place)| Arc::as_ptr(queue).addr() == *place)
        {
            route.queues = known.clone();
            return;
        }
        self.bytes += places.len() * size_of::<Arc<Queue>>();
        self.shared.insert(hash, route.queues.clone());
    }
}
