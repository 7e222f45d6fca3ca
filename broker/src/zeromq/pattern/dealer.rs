//! DEALER: requests of a queue, to the REP, DEALER and ROUTER sockets that work on them; their answers, to whoever
//! asked.
//!
//! Comes in: runs of requests from the queue; answers. Goes out: requests, each with a token that its answer brings
//! back; answers, published to the queue that the request names, whichever protocol it came by; then the request is
//! acknowledged. A worker that goes gives its requests back.
//! Does not know about the wire, or who asked.

use crate::channel::tap::Tap;
use crate::clients::{ConnectionInfo, DeliveryFigures};
use crate::error::{Error, Result};
use crate::limits::delivered::Delivered;
use crate::message::Message;
use crate::outbox::{Outbox, Stalled, Wakes, Work};
use crate::queue::consumers::Terms;
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Again, Allowance, Overdue, Subscriber};
use crate::zeromq::consuming::{Consuming, Left, tap};
use crate::zeromq::frames::{Properties, identity, stretches};
use crate::zeromq::outgoing;
use crate::zeromq::peer::{Peer, Turn, Wire};
use crate::zeromq::publications::{self, Publications};
use leveret_amqp::properties::raw;
use leveret_store::MessageId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One peer that works.
pub struct Dealer {
    consuming: Consuming,
    bench: Arc<Bench>,
    answers: Publications,
    routing: Vec<u8>,
    /// Requests that have been answered in this batch.
    answered: Vec<MessageId>,
}

impl Dealer {
    /// A consumer for a peer whose user may read the queue.
    ///
    /// # Errors
    /// 404 no such queue; 403 without the right, or another consumer has it for itself; 405 another connection's.
    pub fn begin(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        let spec = &peer.socket.spec;
        let name = spec
            .queue()
            .ok_or_else(|| Error::NotFound("the socket has no queue".into()))?;
        let queue = peer.vhost.queue(name, &peer.actor)?;
        let bench = Arc::new(Bench {
            wire: peer.wire.clone(),
            outbox: peer.outbox.clone(),
            info: peer.info.clone(),
            figures: peer.channel.deliveries.clone(),
            tap: tap(peer, &queue),
            state: Mutex::new(State {
                next: 1,
                open: BTreeMap::new(),
                memory: peer.outbox.memory().delivered(),
            }),
        });
        let terms = Terms {
            prefetch: spec.prefetch,
            ..Terms::default()
        };
        Ok(Self {
            consuming: Consuming::begin(peer, turn, &queue, terms, bench.clone())?,
            bench,
            answers: Publications::new(false),
            routing: Vec::new(),
            answered: Vec::new(),
        })
    }

    /// Room for a batch of so many octets.
    pub fn expect(&mut self, octets: usize) {
        self.answers.expect(octets);
    }

    /// An answer: the token of its request, an empty frame, and what the worker has to say.
    pub fn message(&mut self, peer: &Peer, message: leveret_zmtp::Message<'_>) {
        let mut parts = message.parts();
        let token = parts
            .next()
            .and_then(|token| Some(u64::from_be_bytes(token.try_into().ok()?)));
        let Some(request) = token.and_then(|token| self.bench.take(token)) else {
            peer.socket.figures.messages_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.answered.push(request.id);
        let Some(asked) = &request.message else { return };
        let properties = asked.properties();
        // Nobody waits for an answer to any other.
        let Some(reply_to) = raw::reply_to(properties) else {
            return;
        };
        if let Some(at) = parts.clone().position(<[u8]>::is_empty) {
            parts.by_ref().take(at + 1).for_each(drop);
        }
        self.routing.clear();
        publications::put_short(&mut self.routing, b"");
        publications::put_short(&mut self.routing, reply_to);
        let answer = Properties {
            correlation_id: raw::correlation_id(properties).unwrap_or_default(),
            ..Properties::default()
        };
        let lengths = parts.clone().map(<[u8]>::len).filter(|_| parts.len() > 1);
        self.answers
            .push(&self.routing, |out| answer.put(out, lengths), parts.clone());
    }

    /// Publishes the answers of the batch, then acknowledges their requests.
    ///
    /// # Errors
    /// 403 the user may not answer; the log has failed.
    pub fn flush(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let flushed = self.answers.flush(peer, turn);
        let count = self.answered.len() as u64;
        self.consuming.acknowledge(turn, &self.answered);
        peer.socket.figures.messages_out.fetch_add(count, Ordering::Relaxed);
        self.answered.clear();
        flushed.map(drop)
    }

    /// The worker has gone: requests that it has not answered go back. It was at the first.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let bench = &self.bench;
        self.consuming.end(peer, turn, Left::AtTheFirst, || bench.take_all())
    }
}

/// The requests that a worker has.
struct Bench {
    wire: Arc<Wire>,
    outbox: Arc<Outbox>,
    info: Arc<ConnectionInfo>,
    figures: Arc<DeliveryFigures>,
    tap: Tap,
    state: Mutex<State>,
}

struct State {
    /// The token of the next request.
    next: u64,
    open: BTreeMap<u64, Request>,
    memory: Delivered,
}

struct Request {
    id: MessageId,
    message: Option<Message>,
}

impl Bench {
    /// Takes out a request.
    fn take(&self, token: u64) -> Option<Request> {
        let mut state = self.state.lock();
        let request = state.open.remove(&token)?;
        self.taken(&mut state, 1);
        Some(request)
    }

    /// Takes out all, in their order.
    fn take_all(&self) -> Vec<MessageId> {
        let mut state = self.state.lock();
        let all: Vec<_> = std::mem::take(&mut state.open)
            .into_values()
            .map(|request| request.id)
            .collect();
        self.taken(&mut state, all.len());
        all
    }

    fn taken(&self, state: &mut State, count: usize) {
        let open = state.open.len();
        state.memory.set(open);
        self.figures.outstanding.fetch_sub(count as u32, Ordering::Relaxed);
        self.figures.acknowledged.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Subscriber for Bench {
    fn allowance(&self) -> Allowance {
        Allowance {
            room: self.outbox.room(),
            shared_credit: None,
        }
    }

    fn deliver(&self, run: &[Entry], again: Again, work: &mut Work) -> u64 {
        self.tap.delivered(run, work);
        let state = &mut *self.state.lock();
        let first = state.next;
        for (token, entry) in (first..).zip(run) {
            let message = entry.message.clone();
            state.open.insert(token, Request { id: entry.id, message });
        }
        state.next += run.len() as u64;
        state.memory.set(state.open.len());
        self.wire.append(&self.outbox, &mut work.wakes, |encoder, out| {
            for (token, entry) in (first..).zip(run) {
                let Some(message) = &entry.message else { continue };
                encoder.part(&token.to_be_bytes(), true, out.encoded());
                if let Some(identity) = identity(message.properties()) {
                    encoder.part(identity, true, out.encoded());
                }
                encoder.part(b"", true, out.encoded());
                let stretches = stretches(message.properties(), message.body().len());
                outgoing::put(encoder, out, &self.outbox, message, stretches);
            }
        });
        let (count, again) = (run.len(), again.messages as u64);
        self.figures.outstanding.fetch_add(count as u32, Ordering::Relaxed);
        self.figures.delivered.fetch_add(count as u64, Ordering::Relaxed);
        self.figures.redelivered.fetch_add(again, Ordering::Relaxed);
        first
    }

    fn stall(&self, queue: &Arc<dyn Stalled>) -> bool {
        self.outbox.stall(queue)
    }

    fn line_up(&self, _: &Arc<dyn Stalled>, _: u64) -> bool {
        false
    }

    fn take_back(&self, overdue: Vec<Overdue>) -> Vec<MessageId> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        for Overdue { number, id } in overdue {
            if state.open.get(&number).is_some_and(|request| request.id == id) {
                state.open.remove(&number);
                taken.push(id);
            }
        }
        self.taken(&mut state, taken.len());
        taken
    }

    fn cancelled(&self, _: &mut Wakes) {
        self.info.close("its queue, or its consumer, has ended");
    }
}
