//! Bounds of what is kept of a peer that may mean harm.
//!
//! Comes in: what the caller allows. Goes out: numbers that the others compare announced lengths with, before anything
//! is kept. Does not know about memory that others take.

/// Bounds of what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a command before the handshake is through. The longest that are needed: PLAIN's HELLO with 518,
    /// CURVE's INITIATE with 257 and the peer's properties.
    pub handshake: usize,
    /// Octets of all frames of a message together.
    pub message: usize,
    /// Frames of a message.
    pub frames: usize,
    /// Octets of a command after the handshake: a subscription is one.
    pub command: usize,
}

impl Limits {
    /// Octets of a handshake's command that any honest peer keeps to.
    pub const HANDSHAKE: usize = 1024;
}

impl Default for Limits {
    /// Those of a handshake by the protocol, those of messages by RabbitMQ (16 MiB), 1,024 frames, commands of 64 KiB.
    fn default() -> Self {
        Self {
            handshake: Self::HANDSHAKE,
            message: 16 << 20,
            frames: 1024,
            command: 64 << 10,
        }
    }
}
