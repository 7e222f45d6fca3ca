//! ROUTER: requests of REQ, DEALER and ROUTER sockets, published; replies, brought back to them.
//!
//! Comes in: requests, with the envelopes that their senders want back; replies, by a queue of the peer's own; time.
//! Goes out: messages with `reply-to` and `correlation-id`, as any RPC server of AMQP takes them; replies in their
//! envelopes, or empty ones where there is none.
//! Does not know about the wire, or who works.

use super::envelope::{Envelope, split};
use crate::channel::tap::Tap;
use crate::clients::{ConnectionInfo, DeliveryFigures};
use crate::error::Result;
use crate::limits::{Held, Holding};
use crate::message::Message;
use crate::outbox::{Outbox, Stalled, Wakes, Work};
use crate::queue::consumers::Terms;
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Again, Allowance, Overdue, Subscriber};
use crate::zeromq::consuming::{Consuming, Left, tap};
use crate::zeromq::frames::{Properties, stretches};
use crate::zeromq::outgoing;
use crate::zeromq::peer::{Peer, Turn, Wire};
use crate::zeromq::publications::{self, Publications};
use crate::zeromq::socket::Figures;
use crate::zeromq::spec::Target;
use leveret_amqp::properties::raw;
use leveret_store::{Lsn, MessageId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Bytes of an open request beside its envelope, roughly.
const REQUEST: usize = 96;
/// The age at which a request without a time limit makes room for another.
const OLD: Duration = Duration::from_secs(60);

/// One peer that asks.
pub struct Router {
    /// Exchange and routing key as short strings.
    routing: Vec<u8>,
    persistent: bool,
    messages: Publications,
    desk: Arc<Desk>,
    consuming: Consuming,
    /// The number of the next request, and of the first of this batch.
    next: u64,
    batch: u64,
    most: usize,
    timeout: Option<Duration>,
    errors: bool,
    /// The time of the next look at what is late: no later than the first can be.
    look: Option<Instant>,
    text: String,
}

impl Router {
    /// For a peer whose user may publish to the place of the socket, which must be there.
    ///
    /// # Errors
    /// 404 no such exchange or queue; 403; the log has failed.
    pub fn begin(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        let spec = &peer.socket.spec;
        let routing = publications::target(peer)?;
        let queue = peer.vhost.declare_reply_queue(&peer.actor)?;
        peer.info.own(queue.clone());
        let desk = Arc::new(Desk {
            wire: peer.wire.clone(),
            outbox: peer.outbox.clone(),
            info: peer.info.clone(),
            figures: peer.channel.deliveries.clone(),
            of_socket: peer.socket.figures.clone(),
            tap: tap(peer, &queue),
            open: Mutex::new(Open {
                requests: BTreeMap::new(),
                bytes: 0,
                held: peer.node.memory.hold(Holding::Tables, 0),
            }),
        });
        let terms = Terms {
            no_ack: true,
            ..Terms::default()
        };
        Ok(Self {
            routing,
            persistent: spec.durable,
            // Who asks for errors hears of a full queue at once.
            messages: Publications::new(matches!(spec.target, Target::Queue(_)) && !spec.errors),
            consuming: Consuming::begin(peer, turn, &queue, terms, desk.clone())?,
            desk,
            next: 1,
            batch: 1,
            most: spec.hwm as usize,
            timeout: spec.timeout,
            errors: spec.errors,
            look: None,
            text: String::new(),
        })
    }

    /// A request.
    pub fn message(&mut self, peer: &Peer, message: leveret_zmtp::Message<'_>) {
        let Some((envelope, body)) = split(message.parts()) else {
            peer.socket.figures.messages_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let number = self.next;
        self.next += 1;
        self.desk.open.lock().insert(number, envelope);
        self.text.clear();
        // Writing to a string doesn't fail.
        let _ = write!(self.text, "{number}");
        let properties = Properties {
            identity: &peer.remote.identity,
            persistent: self.persistent,
            correlation_id: self.text.as_bytes(),
            reply_to: self.consuming.queue().name().as_bytes(),
        };
        let lengths = body.clone().map(<[u8]>::len).filter(|_| body.len() > 1);
        let put = |out: &mut Vec<u8>| properties.put(out, lengths);
        self.messages.push(&self.routing, put, body.clone());
    }

    /// Room for a batch of so many octets.
    pub fn expect(&mut self, octets: usize) {
        self.messages.expect(octets);
    }

    /// Publishes the batch. Gives the position of the log that makes it safe.
    ///
    /// # Errors
    /// 404, 403 what was there or allowed is no more; the log has failed.
    pub fn flush(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        let flushed = self.messages.flush(peer, turn);
        for at in self.messages.nowhere() {
            if let Some(request) = self.desk.open.lock().remove(self.batch + *at as u64) {
                self.give_up(turn, &request);
            }
        }
        self.batch = self.next;
        self.watch();
        flushed
    }

    /// True while the peer isn't to be read: the queue is full, or it has asked for as much as it may.
    pub fn holds(&self) -> bool {
        self.messages.are_held() || self.desk.open.lock().requests.len() >= self.most
    }

    /// The time at which [`Router::tick`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        match (self.messages.due(), self.look) {
            (Some(again), Some(look)) => Some(again.min(look)),
            (again, look) => again.or(look),
        }
    }

    /// Offers what was refused, and gives up what is late.
    ///
    /// # Errors
    /// As [`Router::flush`].
    pub fn tick(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        let now = Instant::now();
        let offered = match self.messages.due() {
            Some(again) if again <= now => self.messages.again(peer, turn)?,
            _ => None,
        };
        if self.look.take_if(|look| *look <= now).is_some() {
            while let Some(late) = self.late(now) {
                peer.socket.figures.messages_dropped.fetch_add(1, Ordering::Relaxed);
                self.give_up(turn, &late);
            }
        }
        self.watch();
        Ok(offered)
    }

    /// A request that is late; without a time limit, one that is old where there are as many as there may be.
    fn late(&self, now: Instant) -> Option<Request> {
        let mut open = self.desk.open.lock();
        if self.timeout.is_none() && open.requests.len() < self.most {
            return None;
        }
        let (number, first) = open.requests.first_key_value()?;
        let (number, end) = (*number, first.since + self.timeout.unwrap_or(OLD));
        (end <= now).then(|| open.remove(number)).flatten()
    }

    /// Has the next look in time. There is one timer for very many requests.
    fn watch(&mut self) {
        if self.look.is_some() {
            return;
        }
        let open = self.desk.open.lock();
        if self.timeout.is_none() && open.requests.len() < self.most {
            return;
        }
        let first = open.requests.first_key_value();
        self.look = first.map(|(_, first)| first.since + self.timeout.unwrap_or(OLD));
    }

    /// Tells the peer that there is no reply to a request, if it wants to know.
    fn give_up(&self, turn: &mut Turn, request: &Request) {
        if self.errors {
            let Desk { wire, outbox, .. } = &*self.desk;
            wire.append(outbox, &mut turn.work.wakes, |encoder, out| {
                let frames = request.envelope.frames().map(|frame| (frame, true));
                for (frame, more) in frames.chain([(&[][..], false)]) {
                    encoder.part(frame, more, out.encoded());
                }
            });
        }
    }

    /// The peer has gone, and its requests are forgotten.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        self.consuming.end(peer, turn, Left::Untouched, Vec::new)
    }
}

/// The place that replies come to.
struct Desk {
    wire: Arc<Wire>,
    outbox: Arc<Outbox>,
    info: Arc<ConnectionInfo>,
    figures: Arc<DeliveryFigures>,
    of_socket: Arc<Figures>,
    tap: Tap,
    open: Mutex<Open>,
}

/// Requests without a reply, by number.
struct Open {
    requests: BTreeMap<u64, Request>,
    bytes: usize,
    held: Held,
}

struct Request {
    envelope: Envelope,
    since: Instant,
}

impl Open {
    fn insert(&mut self, number: u64, envelope: Envelope) {
        self.count(self.bytes + REQUEST + envelope.octets());
        let since = Instant::now();
        self.requests.insert(number, Request { envelope, since });
    }

    fn remove(&mut self, number: u64) -> Option<Request> {
        let request = self.requests.remove(&number)?;
        self.count(self.bytes.saturating_sub(REQUEST + request.envelope.octets()));
        Some(request)
    }

    /// Keeps account in steps: a request comes and goes far more often than it matters.
    fn count(&mut self, bytes: usize) {
        self.bytes = bytes;
        if self.held.bytes().abs_diff(bytes as u64) >= 4096 {
            self.held.set(bytes as u64);
        }
    }

    /// The request of a reply; of one that doesn't say, the oldest.
    fn of(&mut self, reply: &Message) -> Option<Request> {
        let number = match raw::correlation_id(reply.properties()) {
            Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
            None => *self.requests.first_key_value()?.0,
        };
        self.remove(number)
    }
}

impl Subscriber for Desk {
    fn allowance(&self) -> Allowance {
        Allowance {
            room: self.outbox.room(),
            shared_credit: None,
        }
    }

    fn deliver(&self, run: &[Entry], _: Again, work: &mut Work) -> u64 {
        self.tap.delivered(run, work);
        let mut open = self.open.lock();
        let mut strange = 0;
        self.wire.append(&self.outbox, &mut work.wakes, |encoder, out| {
            for reply in run.iter().filter_map(|entry| entry.message.as_ref()) {
                let Some(request) = open.of(reply) else {
                    strange += 1;
                    continue;
                };
                for frame in request.envelope.frames() {
                    encoder.part(frame, true, out.encoded());
                }
                let stretches = stretches(reply.properties(), reply.body().len());
                outgoing::put(encoder, out, &self.outbox, reply, stretches);
            }
        });
        let count = run.len() as u64;
        self.figures.delivered_no_ack.fetch_add(count, Ordering::Relaxed);
        self.of_socket
            .messages_out
            .fetch_add(count - strange, Ordering::Relaxed);
        self.of_socket.messages_dropped.fetch_add(strange, Ordering::Relaxed);
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
        self.info.close("its queue for replies has gone");
    }
}
