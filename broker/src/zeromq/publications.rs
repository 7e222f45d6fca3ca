//! Messages that are published in a peer's name: gathered in one buffer a batch, and kept where a queue is full.
//!
//! Comes in: messages in their parts. Goes out: the batch, as messages that are slices of that buffer, to `publish`;
//! the position of the log that makes it safe. Messages that the one queue that they go to refuses, or that it isn't
//! there for, are held in their order and offered again, if that is wished for: ZeroMQ knows no other answer than to
//! make the peer wait. All others that can't be delivered are dropped and counted.
//! Does not know about the wire, nor what the messages are for.

use super::peer::{CHANNEL, Peer, Turn};
use crate::channel::tap;
use crate::error::{Error, Result};
use crate::message::{Layout, Message, Span};
use crate::outbox::frames::REFERRED;
use crate::publish::no_route;
use crate::vhost::route::Route;
use bytes::Bytes;
use leveret_store::Lsn;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time until messages that were refused are offered again.
const AGAIN: Duration = Duration::from_millis(100);
/// Octets of a small message, and those that it takes here beside them, roughly.
const SMALL: usize = 64;
const BESIDE: usize = 32;

/// Messages of one peer on their way to queues.
pub struct Publications {
    /// True if messages that a full or missing queue can't take are held.
    holds: bool,
    /// The messages of this batch: exchange and routing key, properties, body.
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    /// Messages that couldn't be delivered, in their order, and the time at which that is tried again.
    held: VecDeque<Message>,
    again: Option<Instant>,
    /// Places in the last batch of messages that no queue got.
    nowhere: Vec<usize>,
}

/// The place of a message in the buffer.
#[derive(Clone, Copy)]
struct Piece {
    at: usize,
    routing: u32,
    properties: u32,
    body: u32,
}

impl Piece {
    fn of(&self, buffer: &Bytes) -> Message {
        let (properties, body) = (self.routing, self.routing + self.properties);
        let layout = Layout {
            routing: 0,
            properties: Span {
                at: properties,
                len: self.properties,
            },
            body: Span {
                at: body,
                len: self.body,
            },
        };
        let len = body as usize + self.body as usize;
        Message::from_slices(buffer.slice(self.at..self.at + len), layout)
    }
}

/// Exchange and routing key of a socket's messages as short strings, if the user of a peer may publish there and the
/// exchange is there, or the queue.
///
/// # Errors
/// 404, 403.
pub fn target(peer: &Peer) -> Result<Vec<u8>> {
    let spec = &peer.socket.spec;
    let (exchange, key) = spec.target.route();
    let route = check(peer, exchange, key)?;
    if let Some(queue) = spec.queue().filter(|_| route.queues.is_empty()) {
        return Err(Error::missing("queue", queue, &peer.vhost.name));
    }
    let mut routing = Vec::with_capacity(2 + exchange.len() + key.len());
    put_short(&mut routing, exchange);
    put_short(&mut routing, key);
    Ok(routing)
}

/// The way that a message would go, if the user of a peer may publish it.
///
/// # Errors
/// 404 no such exchange, 403.
pub fn check(peer: &Peer, exchange: &[u8], key: &[u8]) -> Result<Route> {
    let asked = Message::new(exchange, key, &[0, 0], b"");
    let route = peer.vhost.route(&asked, Some(&peer.actor));
    route.map_err(|reason| no_route(reason, &peer.vhost, &asked))
}

/// Appends a short string of at most 255 octets.
#[inline]
pub fn put_short(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(octets.len() as u8);
    out.extend_from_slice(octets);
}

impl Publications {
    /// None yet. `holds`: messages that a full or missing queue can't take are held.
    pub fn new(holds: bool) -> Self {
        Self {
            holds,
            buffer: Vec::new(),
            pieces: Vec::new(),
            held: VecDeque::new(),
            again: None,
            nowhere: Vec::new(),
        }
    }

    /// Room for the messages in so many octets.
    pub fn expect(&mut self, octets: usize) {
        self.buffer.reserve(octets + octets / SMALL * BESIDE);
    }

    /// Adds a message: exchange and routing key as short strings, its properties, its body.
    #[inline]
    pub fn push<'a>(
        &mut self,
        routing: &[u8],
        properties: impl FnOnce(&mut Vec<u8>),
        body: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let buffer = &mut self.buffer;
        let at = buffer.len();
        buffer.extend_from_slice(routing);
        let properties_at = buffer.len();
        properties(buffer);
        let body_at = buffer.len();
        for part in body {
            buffer.extend_from_slice(part);
        }
        self.pieces.push(Piece {
            at,
            routing: routing.len() as u32,
            properties: (body_at - properties_at) as u32,
            body: (buffer.len() - body_at) as u32,
        });
    }

    /// Publishes what was added. Gives the position of the log that makes it safe.
    ///
    /// # Errors
    /// 404, 403 what was there or allowed is no more; the log has failed.
    pub fn flush(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        self.nowhere.clear();
        if self.pieces.is_empty() {
            return Ok(None);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() - buffer.len() > buffer.len() / 4 {
            // Messages may stay for long.
            buffer.shrink_to_fit();
        }
        let buffer = Bytes::from(buffer);
        let mut round = Round::begin(peer, turn, Some(&buffer), self.holds);
        for piece in &self.pieces {
            round.publish(piece.of(&buffer));
        }
        let done = round.end();
        for piece in done.left.iter().filter_map(|at| self.pieces.get(*at)) {
            // Nobody else counts it while it is held.
            let message = piece.of(&buffer).counted(|bytes| peer.node.memory.count_buffer(bytes));
            self.held.push_back(message);
        }
        self.pieces.clear();
        self.nowhere = done.nowhere;
        self.look_again();
        done.failed.map_or(Ok(done.lsn), Err)
    }

    /// Places in the last batch of messages that no queue got.
    pub fn nowhere(&self) -> &[usize] {
        &self.nowhere
    }

    /// True while messages are held: the peer isn't to be read.
    pub fn are_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// The time at which they are offered again.
    pub fn due(&self) -> Option<Instant> {
        self.again
    }

    /// Offers messages that are held: the first, and if that is taken all others.
    ///
    /// # Errors
    /// As [`Publications::flush`].
    pub fn again(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        let mut lsn = None;
        for most in [1, usize::MAX] {
            let offered = self.held.len().min(most);
            if offered == 0 {
                break;
            }
            let mut round = Round::begin(peer, turn, None, self.holds);
            for message in self.held.iter().take(offered) {
                round.publish(message.clone());
            }
            let done = round.end();
            let later = self.held.split_off(offered);
            let offered: Vec<Message> = self.held.drain(..).collect();
            let left = done.left.iter().filter_map(|at| offered.get(*at)).cloned();
            self.held.extend(left);
            self.held.extend(later);
            lsn = lsn.max(done.lsn);
            if let Some(failed) = done.failed {
                return Err(failed);
            }
            if !done.left.is_empty() {
                break;
            }
        }
        self.look_again();
        Ok(lsn)
    }

    fn look_again(&mut self) {
        self.again = self.are_held().then(|| Instant::now() + AGAIN);
    }
}

/// Messages that are published together.
struct Round<'a> {
    peer: &'a Peer,
    turn: &'a mut Turn,
    holds: bool,
    /// They are offered for the first time: only then are they counted.
    first: bool,
    count: usize,
    /// The next one has to be held, since one before it is: there is no queue.
    held: bool,
    /// The one queue that they went to buries what it refuses, or there were several.
    loses: bool,
    done: Done,
}

/// The end of a round.
#[derive(Default)]
struct Done {
    /// The position of the log that makes them safe.
    lsn: Option<Lsn>,
    /// Places of those that are to be held, ascending.
    left: Vec<usize>,
    /// Places of those that no queue got, ascending.
    nowhere: Vec<usize>,
    /// The reason why the peer can't go on.
    failed: Option<Error>,
}

impl<'a> Round<'a> {
    /// `buffer`: the one that the messages are slices of, if they are offered for the first time.
    fn begin(peer: &'a Peer, turn: &'a mut Turn, buffer: Option<&Bytes>, holds: bool) -> Self {
        if let Some(buffer) = buffer {
            turn.publisher.get().batch.begin(buffer);
        }
        Self {
            peer,
            turn,
            holds,
            first: buffer.is_some(),
            count: 0,
            held: false,
            loses: false,
            done: Done::default(),
        }
    }

    #[inline]
    fn publish(&mut self, message: Message) {
        let at = self.count;
        self.count += 1;
        if self.held {
            self.done.left.push(at);
            return;
        }
        if self.done.failed.is_some() {
            self.lose(1);
            return;
        }
        let (peer, publisher) = (self.peer, self.turn.publisher.get());
        let route = match self.first {
            true => publisher.route(&peer.vhost, &peer.actor, &message, false),
            false => publisher.route_again(&peer.vhost, &peer.actor, &message),
        };
        match route {
            Ok(route) if route.queues.is_empty() => self.leads_nowhere(at),
            Ok(route) => self.stage(at, route, message),
            Err(error) => {
                self.done.failed = Some(error);
                self.lose(1);
            }
        }
    }

    #[inline]
    fn stage(&mut self, at: usize, route: Route, mut message: Message) {
        let Self { peer, turn, .. } = self;
        if peer.vhost.is_traced() {
            let client = (&*peer.node, &*peer.info, CHANNEL);
            tap::published(&peer.vhost, client, &message, &route, &mut turn.work);
        }
        let publisher = turn.publisher.get();
        self.loses = route.queues.len() > 1;
        if self.loses || message.body_len() as usize >= REFERRED {
            message = publisher.batch.count(&peer.node.memory, message);
        }
        publisher.stage.push(CHANNEL, route, message, Some(at as u64 + 1));
    }

    #[cold]
    fn leads_nowhere(&mut self, at: usize) {
        if self.holds {
            self.held = true;
            self.done.left.push(at);
            return;
        }
        self.done.nowhere.push(at);
        let (node, vhost) = (&self.peer.node, &self.peer.vhost);
        node.totals.published.unroutable(false);
        vhost.published.unroutable(false);
        self.peer.channel.deliveries.dropped.fetch_add(1, Ordering::Relaxed);
        self.lose(1);
    }

    /// Counts messages that are dropped.
    fn lose(&self, count: u64) {
        let figures = &self.peer.socket.figures;
        figures.messages_dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn end(mut self) -> Done {
        let (log, publisher) = (&self.peer.node.log, self.turn.publisher.get());
        match publisher.stage.flush(log, &mut self.turn.work) {
            Ok(lsn) => self.done.lsn = lsn,
            Err(error) => self.done.failed = Some(error),
        }
        publisher.stage.take_handed_on();
        publisher.batch.end();
        let refused: Vec<usize> = publisher
            .stage
            .take_refused()
            .filter_map(|refused| Some(refused.tag? as usize - 1))
            .collect();
        if !refused.is_empty() {
            self.refused(refused);
        }
        let taken = (self.count - self.done.left.len()) as u64;
        self.peer.channel.published.fetch_add(taken, Ordering::Relaxed);
        let figures = &self.peer.socket.figures;
        figures.messages_in.fetch_add(taken, Ordering::Relaxed);
        self.done
    }

    /// Messages that a queue has refused since it is full.
    #[cold]
    fn refused(&mut self, refused: Vec<usize>) {
        let spec = &self.peer.socket.spec;
        let buries = || {
            let topology = self.peer.vhost.topology();
            let queue = spec.queue().and_then(|queue| topology.queues.get(queue));
            queue.is_none_or(|queue| queue.buries_refused())
        };
        if !self.holds || self.loses || buries() {
            self.lose(refused.len() as u64);
            self.done.nowhere.extend(refused);
            self.done.nowhere.sort_unstable();
            return;
        }
        self.done.left.extend(refused);
        self.done.left.sort_unstable();
    }
}
