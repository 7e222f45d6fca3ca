//! ZMTP 3.1, the wire of ZeroMQ, with fall-back to 3.0: bytes to values and back.
//!
//! Comes in: octets as they were read from a connection. Goes out: the peer's credentials and properties, its messages
//! and commands, and the octets to send. Pure: no I/O, no clock, no tasks; the only thing from outside is randomness
//! for CURVE's keys.
//!
//! Does not know about sockets of an operating system, users, queues, or the meaning of a message.
//!
//! A connection is a [`Server`] (or [`Client`]) until its handshake is through; that hands over a [`Session`]: a
//! [`Decoder`] for one direction, an [`Encoder`] for the other.
//!
//! The modules from whole connections to single octets; each uses only what stands below it.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![warn(missing_docs)]

/// The handshake as the side that binds: it asks its caller whether a peer may come in.
pub mod server;

/// The handshake as the side that connects.
pub mod client;

/// Both ends of a connection after its handshake, and what the peer said of itself.
pub mod session;

/// Commands of a handshake, one frame each, under a limit of their own.
mod handshake;

/// Octets received after the handshake, up to whole messages and commands.
mod decoder;

/// Messages and commands read where they lie.
pub mod batch;

/// Messages and commands to octets.
mod encoder;

/// CURVE: keys, its handshake, and messages in boxes.
pub mod curve;

/// Commands that come between messages.
pub mod command;

/// The properties that peers tell each other.
mod metadata;

/// The 64 octets that both sides begin with.
pub mod greeting;

/// Frames: flags, length, body.
pub mod frame;

/// Z85: keys as text.
pub mod z85;

/// Errors: what a peer did that isn't ZMTP.
pub mod error;

/// Bounds of what is kept of a peer that may mean harm.
pub mod limits;

/// Names of mechanisms.
pub mod mechanism;

/// Types of sockets, and which may talk to which.
pub mod socket_type;

#[cfg(test)]
mod tests;

pub use batch::{Batch, Event, Message};
pub use client::{Client, ClientSecurity, ClientSettings};
pub use command::Command;
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::Error;
pub use greeting::Greeting;
pub use limits::Limits;
pub use mechanism::Mechanism;
pub use server::{Credentials, Password, Refusal, Server, ServerSecurity, ServerSettings, Step};
pub use session::{Peer, Session};
pub use socket_type::SocketType;
