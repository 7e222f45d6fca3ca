//! The things that each type of socket does with messages: one value a peer, chosen at its login.
//!
//! Comes in: messages and commands of a peer in batches, word of what was written to it, time. Goes out: messages
//! published in its name, deliveries into its outbox, consumers and queues that it needs. Does not know about the wire,
//! sockets of the operating system or timers.

/// PULL: a peer's messages are published.
pub mod pull;

/// PUSH: a peer consumes a queue.
pub mod push;

/// XSUB: a peer's messages are published by their topics.
pub mod xsub;

/// XPUB: a peer gets what it has subscribed to.
pub mod xpub;

/// ROUTER: a peer asks, and gets replies.
pub mod router;

/// DEALER: a peer works on requests.
pub mod dealer;

/// Frames that a peer wants back.
pub mod envelope;

use super::peer::{Peer, Turn};
use super::spec::Role;
use crate::error::Result;
use crate::queue::consumers::cancelled;
use dealer::Dealer;
use leveret_store::Lsn;
use leveret_zmtp::{Command, Message};
use pull::Pull;
use push::Push;
use router::Router;
use std::time::Instant;
use xpub::Xpub;
use xsub::Xsub;

/// The state of one peer's pattern.
pub enum Pattern {
    /// PULL.
    Pull(Pull),
    /// PUSH.
    Push(Push),
    /// XSUB.
    Xsub(Xsub),
    /// XPUB.
    Xpub(Xpub),
    /// ROUTER.
    Router(Router),
    /// DEALER.
    Dealer(Dealer),
}

impl Pattern {
    /// For a peer that has logged in, before it is told so: takes what the pattern needs.
    ///
    /// # Errors
    /// Something is missing, or the user has no right to it. The peer is cut off and tries again.
    pub fn begin(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        let begun = Self::of(peer, turn);
        if begun.is_err() {
            // The queue that it was to have, if it came so far.
            end_queues(peer, turn)?;
        }
        begun
    }

    fn of(peer: &Peer, turn: &mut Turn) -> Result<Self> {
        Ok(match peer.socket.spec.role {
            Role::Pull => Self::Pull(Pull::begin(peer)?),
            Role::Push => Self::Push(Push::begin(peer, turn)?),
            Role::Xsub => Self::Xsub(Xsub::begin(peer, turn)?),
            Role::Xpub => Self::Xpub(Xpub::begin(peer, turn)?),
            Role::Router => Self::Router(Router::begin(peer, turn)?),
            Role::Dealer => Self::Dealer(Dealer::begin(peer, turn)?),
        })
    }

    /// So many octets of messages and commands follow, up to the next flush.
    pub fn expect(&mut self, octets: usize) {
        match self {
            Self::Pull(pull) => pull.expect(octets),
            Self::Xsub(xsub) => xsub.messages.expect(octets),
            Self::Router(router) => router.expect(octets),
            Self::Dealer(dealer) => dealer.expect(octets),
            Self::Push(_) | Self::Xpub(_) => {}
        }
    }

    /// A message of the peer. Subscribers and consumers have nothing to say.
    #[inline]
    pub fn message(&mut self, peer: &Peer, message: Message<'_>) {
        match self {
            Self::Pull(pull) => pull.message(message),
            Self::Xsub(xsub) => xsub.message(message),
            Self::Router(router) => router.message(peer, message),
            Self::Dealer(dealer) => dealer.message(peer, message),
            Self::Push(_) | Self::Xpub(_) => {}
        }
    }

    /// A command of the peer: a subscription, or its end. Others never come here.
    ///
    /// # Errors
    /// It can't go on: the peer is closed after what came before.
    pub fn command(&mut self, peer: &Peer, command: Command<'_>) -> Result<()> {
        match (self, command) {
            (Self::Xpub(xpub), Command::Subscribe(prefix)) => xpub.subscribe(peer, prefix),
            (Self::Xpub(xpub), Command::Cancel(prefix)) => xpub.cancel(peer, prefix),
            // Others have no subscribers; the specifications have nothing to say of those who try.
            _ => Ok(()),
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
            Self::Xsub(xsub) => xsub.flush(peer, turn),
            Self::Router(router) => router.flush(peer, turn),
            Self::Dealer(dealer) => dealer.flush(peer, turn).map(|()| None),
            Self::Push(_) | Self::Xpub(_) => Ok(None),
        }
    }

    /// True while it holds messages that could not be delivered, or the peer has asked for as much as it may: it isn't
    /// read. [`Pattern::tick`] tries again.
    pub fn holds(&self) -> bool {
        match self {
            Self::Pull(pull) => pull.holds(),
            Self::Router(router) => router.holds(),
            Self::Push(_) | Self::Xsub(_) | Self::Xpub(_) | Self::Dealer(_) => false,
        }
    }

    /// So many octets have been written to the peer since the handshake, in all (see [`super::peer::Wire::append`]).
    #[inline]
    pub fn written(&mut self, peer: &Peer, turn: &mut Turn, octets: u64) {
        if let Self::Push(push) = self {
            push.written(peer, turn, octets);
        }
    }

    /// The time at which [`Pattern::tick`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Self::Pull(pull) => pull.due(),
            Self::Xpub(xpub) => Some(xpub.due()),
            Self::Router(router) => router.due(),
            Self::Push(_) | Self::Xsub(_) | Self::Dealer(_) => None,
        }
    }

    /// That time has come, or some other.
    ///
    /// # Errors
    /// It can't go on: the peer is closed.
    pub fn tick(&mut self, peer: &Peer, turn: &mut Turn) -> Result<Option<Lsn>> {
        match self {
            Self::Pull(pull) => pull.again(peer, turn),
            Self::Xpub(xpub) => xpub.tick(peer).map(|()| None),
            Self::Router(router) => router.tick(peer, turn),
            Self::Push(_) | Self::Xsub(_) | Self::Dealer(_) => Ok(None),
        }
    }

    /// The peer has gone, or goes: what it hasn't got goes back, in its order, and its queues go.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&mut self, peer: &Peer, turn: &mut Turn) -> Result<()> {
        let done = match self {
            Self::Pull(_) | Self::Xsub(_) => Ok(()),
            Self::Push(push) => push.end(peer, turn),
            Self::Xpub(xpub) => xpub.end(peer, turn),
            Self::Router(router) => router.end(peer, turn),
            Self::Dealer(dealer) => dealer.end(peer, turn),
        };
        done.and(end_queues(peer, turn))
    }
}

/// The queues of a peer go with it.
fn end_queues(peer: &Peer, turn: &mut Turn) -> Result<()> {
    let queues = peer.info.exclusive_queues.lock().take();
    let mut done = Ok(());
    for queue in queues {
        let ended = peer.vhost.expire_queue(&queue, false);
        done = done.and(ended.map(|consumers| cancelled(&consumers, &mut turn.work.wakes)));
    }
    done
}
