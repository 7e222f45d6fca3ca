//! CURVE (RFC 26): keys, its handshake, and messages in boxes. The cryptography is dryoc's.
//!
//! Comes in: keys, commands of a handshake, frames. Goes out: the peer's key, frames that only the peer can read.
//! Does not know which keys may come in, nor about greetings.

/// HELLO, WELCOME, INITIATE and READY, of both sides.
pub(crate) mod handshake;

/// MESSAGE commands: frames to boxes and back, in place.
pub(crate) mod messages;

/// Boxes: what two keys have in common, nonces.
mod boxes;

/// Key pairs, as octets and as text.
mod keys;

pub use keys::{KeyPair, PublicKey, SecretKey};
