//! The things that each type of socket does with messages: one value a peer, chosen at its login.
//!
//! Comes in: messages and commands of a peer in batches, word of what was written to it, time. Goes out: messages
//! published in its name, deliveries into its outbox, consumers and queues that it needs. Does not know about the wire,
//! sockets of the operating system or timers.

/// PULL: a peer's messages are published.
pub mod pull;

use super::peer::{Peer, Turn};
use super::spec::Role;
use crate::error::{Error, Result};
use leveret_store::Lsn;
use leveret_zmtp::{Command, Message};
use pull::Pull;
use std::time::Instant;

/// The state of one peer's pattern.
pub enum Pattern {
    /// PULL.
    Pull(Pull),
}

impl Pattern {
    /// For a peer that has logged in, before it is told so: takes what the pattern needs.
    ///
    /// # Errors
    /// Something is missing, or the user has no right to it. The peer is cut off and tries again.
    pub fn begin(peer: &Peer, _: &mut Turn) -> Result<Self> {
        match peer.socket.spec.role {
            Role::Pull => Pull::begin(peer).map(Self::Pull),
            role => Err(Error::NotImplemented(format!("type {}", role.name()).into())),
        }
    }

    /// So many octets of messages and commands follow, up to the next flush.
    pub fn expect(&mut self, octets: usize) {
        match self {
            Self::Pull(pull) => pull.expect(octets),
        }
    }

    /// A message of the peer.
    ///
    /// # Errors
    /// It can't go on: the peer is closed after what came before.
    #[inline]
    pub fn message(&mut self, _: &Peer, _: &mut Turn, message: Message<'_>) -> Result<()> {
        match self {
            Self::Pull(pull) => pull.message(message),
        }
        Ok(())
    }

    /// A command of the peer: a subscription, or its end. Others never come here.
    ///
    /// # Errors
    /// It can't go on: the peer is closed after what came before.
    pub fn command(&mut self, _: &Peer, _: &mut Turn, _: Command<'_>) -> Result<()> {
        match self {
            // It has no subscribers; RFC 30 has nothing to say of those who try.
            Self::Pull(_) => Ok(()),
        }
    }

    /// The end of a batch: everything goes to its queues and into the log. Gives the position of the log that makes it
    /// safe.
    ///
    /// # Errors
    /// It can't go on: the peer is closed.
    pub fn flush(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        match self {
            Self::Pull(pull) => pull.flush(peer, turn),
        }
    }

    /// True while it holds messages that could not be delivered: the peer isn't read, and [`Pattern::tick`] tries
    /// again.
    pub fn holds(&self) -> bool {
        match self {
            Self::Pull(pull) => pull.holds(),
        }
    }

    /// So many octets have been written to the peer since the handshake, in all (see [`super::peer::Wire::append`]).
    ///
    /// # Errors
    /// It can't go on: the peer is closed.
    pub fn written(&mut self, _: &Peer, _: &mut Turn, _: u64) -> Result<()> {
        match self {
            Self::Pull(_) => Ok(()),
        }
    }

    /// The time at which [`Pattern::tick`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Self::Pull(pull) => pull.due(),
        }
    }

    /// That time has come, or some other.
    ///
    /// # Errors
    /// It can't go on: the peer is closed.
    pub fn tick(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        match self {
            Self::Pull(pull) => pull.again(peer, turn),
        }
    }

    /// The peer has gone, or goes: what it hasn't got goes back, in its order.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&mut self, _: &Peer, _: &mut Turn) -> Result<()> {
        match self {
            Self::Pull(_) => Ok(()),
        }
    }
}
