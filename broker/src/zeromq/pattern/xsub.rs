//! XSUB: messages of a PUB socket, published with their first frame as routing key.
//!
//! Comes in: messages. Goes out: the same, published as one body with the lengths of their frames; at the begin, a
//! subscription to everything: the broker's bindings say who gets what.
//! Does not know about the wire, or who gets a message.

use crate::error::Result;
use crate::zeromq::frames::Properties;
use crate::zeromq::peer::{Peer, Turn};
use crate::zeromq::publications::{self, Publications};
use leveret_store::Lsn;
use leveret_zmtp::{Command, Message};

/// Octets of a routing key, at most: the rest of a longer frame doesn't count.
const KEY_MAX: usize = 255;

/// The publishing of one peer's messages.
pub struct Xsub {
    /// The exchange as a short string; behind it there is room for a routing key.
    routing: Vec<u8>,
    exchange: usize,
    properties: Properties<'static>,
    /// Messages on their way to queues.
    pub messages: Publications,
}

impl Xsub {
    /// For a peer whose user may publish to the exchange, which must be there.
    ///
    /// # Errors
    /// 404, 403.
    pub fn begin(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        let spec = &peer.socket.spec;
        let (exchange, _) = spec.target.route();
        publications::check(peer, exchange, b"")?;
        peer.send(&mut turn.work.wakes, &Command::Subscribe(b""));
        let mut routing = Vec::with_capacity(exchange.len() + 2 + KEY_MAX);
        publications::put_short(&mut routing, exchange);
        Ok(Self {
            exchange: routing.len(),
            routing,
            properties: Properties {
                persistent: spec.durable,
                ..Properties::default()
            },
            messages: Publications::new(false),
        })
    }

    /// A message of the peer.
    #[inline]
    pub fn message(&mut self, message: Message<'_>) {
        let topic = message.parts().next().unwrap_or_default();
        self.routing.truncate(self.exchange);
        publications::put_short(&mut self.routing, topic.get(..KEY_MAX).unwrap_or(topic));
        // Also of one alone: a topic without a body is another message than a body with a key.
        let properties = |out: &mut Vec<u8>| self.properties.put(out, message.parts().map(<[u8]>::len));
        self.messages.push(&self.routing, properties, message.parts());
    }

    /// Publishes the batch. Gives the position of the log that makes it safe.
    ///
    /// # Errors
    /// 404, 403 what was there or allowed is no more; the log has failed.
    pub fn flush(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        self.messages.flush(peer, turn)
    }
}
