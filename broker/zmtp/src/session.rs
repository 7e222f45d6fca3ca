//! Both ends of a connection after its handshake, and what the peer said of itself.
//!
//! Comes in: what the handshake found. Goes out: the two directions. Does not know which side this is.

use bytes::Bytes;

use crate::curve::messages::{Opener, Sealer};
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::socket_type::SocketType;

/// A peer as it said itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The type of its socket. It fits.
    pub socket_type: SocketType,
    /// Its identity; empty if it has none.
    pub identity: Bytes,
    /// The minor version that both sides speak: 0 or 1.
    pub minor: u8,
    /// Its other properties, in their order.
    pub metadata: Vec<(String, Bytes)>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Session {
    /// The peer.
    pub peer: Peer,
    /// The receiving direction.
    pub decoder: Decoder,
    /// The sending direction.
    pub encoder: Encoder,
}

impl Session {
    pub(crate) fn new(
        ours: SocketType,
        limits: Limits,
        minor: u8,
        metadata: Metadata,
        boxes: Option<(Opener, Sealer)>,
    ) -> Self {
        let subscriptions = ours.takes_subscriptions();
        let (decoder, encoder) = match boxes {
            None => (Decoder::plain(limits, subscriptions), Encoder::plain(minor)),
            Some((opener, sealer)) => (
                Decoder::boxed(limits, subscriptions, opener),
                Encoder::boxed(minor, sealer),
            ),
        };
        let Metadata {
            socket_type,
            identity,
            others,
        } = metadata;
        let peer = Peer {
            socket_type,
            identity,
            minor,
            metadata: others,
        };
        Self { peer, decoder, encoder }
    }
}
