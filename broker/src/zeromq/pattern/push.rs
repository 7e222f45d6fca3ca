//! PUSH: messages of a queue, to the PULL sockets that consume it in turn.
//!
//! Comes in: runs of messages from the queue, on whatever thread published or settled; the octets that have been
//! written to the peer. Goes out: frames to its outbox; acknowledgements of messages whose last octet the peer's socket
//! has taken: ZMTP knows no other sign. When the peer goes, all others go back to their places.
//! Does not know about the wire, or which message is how long.

use crate::channel::tap::Tap;
use crate::clients::{ConnectionInfo, DeliveryFigures};
use crate::error::{Error, Result};
use crate::limits::delivered::Delivered;
use crate::outbox::{Outbox, Stalled, Wakes, Work};
use crate::queue::consumers::Terms;
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Again, Allowance, Overdue, Subscriber};
use crate::zeromq::consuming::{Consuming, Left, tap};
use crate::zeromq::frames::stretches;
use crate::zeromq::outgoing;
use crate::zeromq::peer::{Peer, Turn, Wire};
use leveret_store::MessageId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Messages on their way for which a peer that has none keeps room.
const KEPT: usize = 4096;
/// The place of a message that is never written.
const NEVER: u64 = u64::MAX;

/// One peer that consumes the queue of the socket.
pub struct Push {
    consuming: Consuming,
    handed: Arc<Handed>,
    /// Messages to be acknowledged: empty, but for its memory.
    written: Vec<MessageId>,
}

impl Push {
    /// A consumer for a peer whose user may read the queue.
    ///
    /// # Errors
    /// 404 no such queue; 403 without the right, or another consumer has it for itself; 405 another connection's.
    pub fn begin(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        let name = peer.socket.spec.queue().ok_or_else(no_queue)?;
        let queue = peer.vhost.queue(name, &peer.actor)?;
        let handed = Arc::new(Handed {
            wire: peer.wire.clone(),
            outbox: peer.outbox.clone(),
            info: peer.info.clone(),
            figures: peer.channel.deliveries.clone(),
            tap: tap(peer, &queue),
            state: Mutex::new(State {
                first: 1,
                waiting: VecDeque::new(),
                memory: peer.outbox.memory().delivered(),
            }),
        });
        let terms = Terms {
            prefetch: peer.socket.spec.prefetch,
            ..Terms::default()
        };
        Ok(Self {
            consuming: Consuming::begin(peer, turn, &queue, terms, handed.clone())?,
            handed,
            written: Vec::new(),
        })
    }

    /// So many octets have been written to the peer, in all.
    pub fn written(&mut self, peer: &Peer, turn: &mut Turn, octets: u64) {
        self.handed.take_written(octets, &mut self.written);
        let count = self.written.len() as u64;
        if count > 0 {
            self.consuming.acknowledge(turn, &self.written);
            peer.socket.figures.messages_out.fetch_add(count, Ordering::Relaxed);
            self.written.clear();
            self.written.shrink_to(KEPT);
        }
    }

    /// The peer has gone: what was not written for it goes back.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        self.consuming.end(peer, turn, Left::Untouched, || {
            let mut waiting = Vec::new();
            self.handed.take_written(NEVER, &mut waiting);
            waiting
        })
    }
}

/// A declaration is refused without a queue.
fn no_queue() -> Error {
    Error::NotFound("the socket has no queue".into())
}

/// The messages that have been handed to a peer.
struct Handed {
    wire: Arc<Wire>,
    outbox: Arc<Outbox>,
    info: Arc<ConnectionInfo>,
    figures: Arc<DeliveryFigures>,
    tap: Tap,
    state: Mutex<State>,
}

struct State {
    /// The number of the first that waits.
    first: u64,
    waiting: VecDeque<Waiting>,
    memory: Delivered,
}

/// A message that has not been written.
struct Waiting {
    /// The place of its end among all octets for the peer.
    end: u64,
    id: MessageId,
    /// The queue has taken it back.
    taken: bool,
}

impl Handed {
    /// Takes out those that end up to there.
    fn take_written(&self, octets: u64, into: &mut Vec<MessageId>) {
        let state = &mut *self.state.lock();
        let before = into.len();
        while let Some(written) = state.waiting.pop_front_if(|waiting| waiting.end <= octets) {
            state.first += 1;
            if !written.taken {
                into.push(written.id);
            }
        }
        let count = into.len() - before;
        self.figures.outstanding.fetch_sub(count as u32, Ordering::Relaxed);
        self.figures.acknowledged.fetch_add(count as u64, Ordering::Relaxed);
        state.memory.set(state.waiting.len());
        if state.waiting.is_empty() && state.waiting.capacity() > KEPT {
            state.waiting = VecDeque::new();
        }
    }
}

impl Subscriber for Handed {
    fn allowance(&self) -> Allowance {
        Allowance {
            room: self.outbox.room(),
            shared_credit: None,
        }
    }

    fn deliver(&self, run: &[Entry], again: Again, work: &mut Work) -> u64 {
        self.tap.delivered(run, work);
        let state = &mut *self.state.lock();
        let (first, before) = (state.first + state.waiting.len() as u64, state.waiting.len());
        let mut octets = 0;
        let end = self.wire.append(&self.outbox, &mut work.wakes, |encoder, out| {
            let begin = out.len();
            for entry in run {
                if let Some(message) = &entry.message {
                    let stretches = stretches(message.properties(), message.body().len());
                    outgoing::put(encoder, out, &self.outbox, message, stretches);
                }
                octets = (out.len() - begin) as u64;
                state.waiting.push_back(Waiting {
                    end: octets,
                    id: entry.id,
                    taken: false,
                });
            }
        });
        for waiting in state.waiting.range_mut(before..) {
            waiting.end += end - octets;
        }
        // None is there if the connection has gone.
        let done = state.waiting.len() - before;
        state.waiting.extend(run.iter().skip(done).map(|entry| Waiting {
            end: NEVER,
            id: entry.id,
            taken: false,
        }));
        state.memory.set(state.waiting.len());
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
            let at = number.wrapping_sub(state.first) as usize;
            let waiting = state
                .waiting
                .get_mut(at)
                .filter(|waiting| waiting.id == id && !waiting.taken);
            if let Some(waiting) = waiting {
                waiting.taken = true;
                taken.push(id);
            }
        }
        self.figures
            .outstanding
            .fetch_sub(taken.len() as u32, Ordering::Relaxed);
        taken
    }

    fn cancelled(&self, _: &mut Wakes) {
        self.info.close("its queue, or its consumer, has ended");
    }
}
