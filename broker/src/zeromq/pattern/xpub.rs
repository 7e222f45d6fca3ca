//! XPUB: messages of an exchange, to each SUB socket those that it has subscribed to.
//!
//! Comes in: subscriptions, and their ends; runs of messages from the peer's own queue. Goes out: bindings of that
//! queue to the exchange, whose type says what a subscription means (`x-prefix`: what ZeroMQ means); frames to the
//! outbox. What comes while the peer has enough is dropped, and counted.
//! Does not know about the wire.

use crate::access::permissions::{Kind, Resource, Right};
use crate::channel::tap::Tap;
use crate::clients::{ConnectionInfo, DeliveryFigures};
use crate::error::{Error, Result};
use crate::exchange::binding::{Binding, DestinationKind, Sorted};
use crate::exchange::{RoutingTable, topic};
use crate::outbox::{Outbox, Stalled, Wakes, Work};
use crate::queue::Queue;
use crate::queue::consumers::Terms;
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Again, Allowance, Overdue, Subscriber};
use crate::zeromq::consuming::{Consuming, Left, tap};
use crate::zeromq::frames::stretches;
use crate::zeromq::outgoing;
use crate::zeromq::peer::{Peer, Turn, Wire};
use crate::zeromq::socket::Figures;
use leveret_amqp::ShortString;
use leveret_store::MessageId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Octets of a binding key, at most. Of a longer subscription they count: the peer sees to the rest.
const KEY_MAX: usize = 255;
/// Time until the next look at the exchange, and at what was dropped.
const LOOK: Duration = Duration::from_secs(1);

/// One peer that subscribes.
pub struct Xpub {
    exchange: ShortString,
    /// The table of the exchange that its bindings are in: one of the same name that comes later has another.
    table: Arc<RoutingTable>,
    by_words: bool,
    queue: Arc<Queue>,
    consuming: Consuming,
    /// Messages that the queue has dropped, as far as they are counted.
    dropped: u64,
    look: Instant,
}

impl Xpub {
    /// A queue and a consumer for a peer whose user may read the exchange, which must be there.
    ///
    /// # Errors
    /// 404 no such exchange; 403 without the right; 406 there are as many queues as there may be.
    pub fn begin(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        let (vhost, spec) = (&peer.vhost, &peer.socket.spec);
        let (exchange, _) = spec.target.route();
        let exchange = ShortString::try_from(exchange).unwrap_or_default();
        let resource = Resource {
            vhost: &vhost.name,
            kind: Kind::Exchange,
            name: exchange.as_bytes(),
        };
        peer.actor.check(Right::Read, &resource)?;
        let (table, by_words) = table(peer, &exchange).ok_or_else(|| missing(peer, &exchange))?;
        let queue = vhost.declare_subscriber_queue(&peer.actor, spec.hwm)?;
        peer.info.own(queue.clone());
        let feed = Arc::new(Feed {
            wire: peer.wire.clone(),
            outbox: peer.outbox.clone(),
            info: peer.info.clone(),
            figures: peer.channel.deliveries.clone(),
            of_socket: peer.socket.figures.clone(),
            tap: tap(peer, &queue),
        });
        let terms = Terms {
            no_ack: true,
            ..Terms::default()
        };
        Ok(Self {
            consuming: Consuming::begin(peer, turn, &queue, terms, feed)?,
            exchange,
            table,
            by_words,
            queue,
            dropped: 0,
            look: Instant::now() + LOOK,
        })
    }

    /// A subscription. One that is there already changes nothing.
    ///
    /// # Errors
    /// 404 the exchange has gone; 403 without the right to it; 406 too many bindings.
    pub fn subscribe(&mut self, peer: &Peer, prefix: &[u8]) -> Result<()> {
        let _ = peer.vhost.bind(self.binding(prefix), &peer.actor)?;
        Ok(())
    }

    /// The end of a subscription, if it is there.
    ///
    /// # Errors
    /// As [`Xpub::subscribe`].
    pub fn cancel(&mut self, peer: &Peer, prefix: &[u8]) -> Result<()> {
        let _ = peer.vhost.unbind(&self.binding(prefix), &peer.actor)?;
        Ok(())
    }

    fn binding(&self, prefix: &[u8]) -> Binding {
        let key: &[u8] = match prefix.get(..KEY_MAX).unwrap_or(prefix) {
            b"" if self.by_words => b"#",
            key => key,
        };
        Binding {
            source: self.exchange.clone(),
            destination_kind: DestinationKind::Queue,
            destination: self.queue.name().clone(),
            routing_key: ShortString::try_from(key).unwrap_or_default(),
            arguments: Sorted::default(),
        }
    }

    /// The time of the next look.
    pub fn due(&self) -> Instant {
        self.look
    }

    /// Looks whether the exchange is still there, and counts what was dropped.
    ///
    /// # Errors
    /// 404: the subscriptions went with the exchange. The peer makes them again when it comes back.
    pub fn tick(&mut self, peer: &Peer) -> Result<()> {
        self.look = Instant::now() + LOOK;
        self.count(peer);
        match table(peer, &self.exchange) {
            Some((table, _)) if Arc::ptr_eq(&table, &self.table) => Ok(()),
            _ => Err(missing(peer, &self.exchange)),
        }
    }

    fn count(&mut self, peer: &Peer) {
        let dropped = self.queue.snapshot().totals.dropped;
        let more = dropped - self.dropped;
        self.dropped = dropped;
        peer.socket.figures.messages_dropped.fetch_add(more, Ordering::Relaxed);
    }

    /// The peer has gone. Its queue goes with its connection.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        self.count(peer);
        self.consuming.end(peer, turn, Left::Untouched, Vec::new)
    }
}

/// The routing table of an exchange; true if its binding keys are words with wildcards.
fn table(peer: &Peer, exchange: &ShortString) -> Option<(Arc<RoutingTable>, bool)> {
    let topology = peer.vhost.topology();
    let exchange = topology.exchanges.get(exchange)?;
    Some((exchange.table().clone(), exchange.definition.kind == &topic::TYPE))
}

fn missing(peer: &Peer, exchange: &ShortString) -> Error {
    Error::missing("exchange", exchange, &peer.vhost.name)
}

/// The way from the queue of a peer to its outbox.
struct Feed {
    wire: Arc<Wire>,
    outbox: Arc<Outbox>,
    info: Arc<ConnectionInfo>,
    figures: Arc<DeliveryFigures>,
    of_socket: Arc<Figures>,
    tap: Tap,
}

impl Subscriber for Feed {
    fn allowance(&self) -> Allowance {
        Allowance {
            room: self.outbox.room(),
            shared_credit: None,
        }
    }

    fn deliver(&self, run: &[Entry], _: Again, work: &mut Work) -> u64 {
        self.tap.delivered(run, work);
        self.wire.append(&self.outbox, &mut work.wakes, |encoder, out| {
            for message in run.iter().filter_map(|entry| entry.message.as_ref()) {
                let stretches = stretches(message.properties(), message.body().len());
                if !stretches.are_told() {
                    encoder.part(message.routing_key(), true, out.encoded());
                }
                outgoing::put(encoder, out, &self.outbox, message, stretches);
            }
        });
        let count = run.len() as u64;
        self.figures.delivered_no_ack.fetch_add(count, Ordering::Relaxed);
        self.of_socket.messages_out.fetch_add(count, Ordering::Relaxed);
        0
    }

    fn stall(&self, queue: &Arc<dyn Stalled>) -> bool {
        self.outbox.stall(queue)
    }

    fn line_up(&self, _: &Arc<dyn Stalled>, _: u64) -> bool {
        false
    }

    fn take_back(&self, _: Vec<Overdue>) -> Vec<MessageId> {
        Vec::new()
    }

    fn cancelled(&self, _: &mut Wakes) {
        self.info.close("its queue has gone");
    }
}
