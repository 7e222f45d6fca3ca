//! PULL: messages of a PUSH socket, published to one place.
//!
//! Comes in: messages. Goes out: the same, published as one body with the lengths of their frames.
//! Does not know about the wire.

use crate::error::Result;
use crate::zeromq::frames::put_properties;
use crate::zeromq::peer::{Peer, Turn};
use crate::zeromq::publications::{self, Publications};
use crate::zeromq::spec::Target;
use leveret_store::Lsn;
use std::time::Instant;

/// The publishing of one peer's messages.
pub struct Pull {
    /// Exchange and routing key as short strings.
    routing: Vec<u8>,
    persistent: bool,
    messages: Publications,
}

impl Pull {
    /// For a peer whose user may publish to the place of the socket, which must be there.
    ///
    /// # Errors
    /// 404 no such exchange or queue; 403.
    pub fn begin(peer: &Peer) -> Result<Self> {
        let spec = &peer.socket.spec;
        Ok(Self {
            routing: publications::target(peer)?,
            persistent: spec.durable,
            messages: Publications::new(matches!(spec.target, Target::Queue(_))),
        })
    }

    /// Room for a batch of so many octets.
    pub fn expect(&mut self, octets: usize) {
        self.messages.expect(octets);
    }

    /// A message of the peer.
    #[inline]
    pub fn message(&mut self, message: leveret_zmtp::Message<'_>) {
        let persistent = self.persistent;
        let properties = |out: &mut Vec<u8>| {
            let lengths = message.parts().map(<[u8]>::len);
            put_properties(out, persistent, message.count(), lengths);
        };
        self.messages.push(&self.routing, properties, message.parts());
    }

    /// Publishes the batch. Gives the position of the log that makes it safe.
    ///
    /// # Errors
    /// 404, 403 what was there or allowed is no more; the log has failed.
    pub fn flush(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        self.messages.flush(peer, turn)
    }

    /// True while messages are held that the queue can't take.
    pub fn holds(&self) -> bool {
        self.messages.are_held()
    }

    /// The time at which they are offered again.
    pub fn due(&self) -> Option<Instant> {
        self.messages.due()
    }

    /// Offers them again.
    ///
    /// # Errors
    /// As [`Pull::flush`].
    pub fn again(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        self.messages.again(peer, turn)
    }
}
