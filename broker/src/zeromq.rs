//! ZeroMQ's sockets on the broker: stock programs connect to them, unchanged, and their messages go through exchanges
//! and queues like all others.
//!
//! Comes in: declarations (parameters of a vhost, or settings), clients that speak ZMTP. Goes out: bound addresses,
//! published messages, deliveries. The wire itself is the crate `leveret-zmtp`; rights, queues, limits and the log are
//! those that AMQP's clients have.
//!
//! The modules from the outside in; each uses only what stands below it.

/// All sockets, as they are declared and changed.
pub mod sockets;

/// Sockets of the settings file.
pub mod settings;

/// One client: its socket, and the loop that reads, works and writes.
pub mod connection;

/// From the greeting to READY.
pub mod handshake;

/// Heartbeats.
pub mod heartbeat;

/// Ends that somebody has asked for.
pub mod closing;

/// Room for messages that arrive in pieces.
pub mod arriving;

/// The things that each type of socket does with messages.
pub mod pattern;

/// Messages published in a peer's name.
pub mod publications;

/// A consumer of a queue.
pub mod consuming;

/// The client at the other end.
pub mod peer;

/// Messages on their way to it.
pub mod outgoing;

/// The frames of a message as properties and body.
pub mod frames;

/// Key pairs of sockets.
pub mod keys;

/// One socket, while it is declared.
pub mod socket;

/// A socket as it is declared.
pub mod spec;

/// Places to listen on.
pub mod endpoint;

pub use socket::Socket;
pub use sockets::Sockets;
pub use spec::Spec;
