//! The client at the other end, as its pattern sees it, and the tools that its connection lends.
//!
//! Comes in: what the handshake found. Goes out: references to it; octets to the outbox, counted in the order in which
//! they will be written. Does not know what a pattern does, nor about the socket of the operating system.

use super::socket::Socket;
use crate::access::Actor;
use crate::clients::{ChannelInfo, ConnectionInfo};
use crate::node::Node;
use crate::outbox::frames::Frames;
use crate::outbox::{Outbox, Wakes, Work};
use crate::publish::Publishing;
use crate::vhost::Vhost;
use leveret_zmtp::{Command, Encoder};
use parking_lot::Mutex;
use std::sync::Arc;

/// The number of the only channel that a peer has, for those who count by channels.
pub const CHANNEL: u16 = 1;

/// The client at the other end. Doesn't change while the connection lasts.
pub struct Peer {
    /// The user that it acts as, with the number of the connection.
    pub actor: Actor,
    /// Everything that connections share.
    pub node: Arc<Node>,
    /// The vhost of the socket.
    pub vhost: Arc<Vhost>,
    /// The socket that it has connected to.
    pub socket: Arc<Socket>,
    /// The client as it said itself.
    pub remote: leveret_zmtp::Peer,
    /// Bytes that wait to be written to it.
    pub outbox: Arc<Outbox>,
    /// The way into the outbox.
    pub wire: Arc<Wire>,
    /// For the HTTP API.
    pub info: Arc<ConnectionInfo>,
    /// Its messages, for the HTTP API.
    pub channel: Arc<ChannelInfo>,
}

impl Peer {
    /// Sends a command.
    pub fn send(&self, wakes: &mut Wakes, command: &Command<'_>) {
        self.wire.append(&self.outbox, wakes, |encoder, frames| {
            encoder.command(command, frames.encoded());
        });
    }
}

/// The tools of one connection while it goes through a batch.
#[derive(Default)]
pub struct Turn {
    /// Records and wake-ups.
    pub work: Work,
    /// Messages on their way to queues.
    pub publisher: Publishing,
}

impl Turn {
    /// Some time has gone by: gives up what a client that does nothing doesn't need.
    pub fn rest(&mut self) {
        self.work.rest();
        self.publisher.rest();
    }
}

/// The sending direction of a connection: everything for the peer goes through here, from whichever thread, so that
/// frames are numbered (under CURVE) and counted as they are written.
pub struct Wire(Mutex<Sending>);

struct Sending {
    encoder: Encoder,
    appended: u64,
}

impl Wire {
    /// The sending direction after the handshake.
    pub fn new(encoder: Encoder) -> Self {
        Self(Mutex::new(Sending { encoder, appended: 0 }))
    }

    /// Appends through `put`. Gives the octets that were appended since the handshake, these included: the place at
    /// which the last of them ends. The caller owes a wake-up: see [`Wakes`].
    pub fn append(&self, outbox: &Arc<Outbox>, wakes: &mut Wakes, put: impl FnOnce(&mut Encoder, &mut Frames)) -> u64 {
        let sending = &mut *self.0.lock();
        outbox.append(wakes, |frames| {
            let before = frames.len();
            put(&mut sending.encoder, frames);
            sending.appended += (frames.len() - before) as u64;
        });
        sending.appended
    }
}
