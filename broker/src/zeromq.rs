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

/// One client: its bytes, its handshake, its messages.
pub mod peer;

/// The frames of a message as properties and body.
pub mod frames;

/// One socket, while it is declared.
pub mod socket;

/// A socket as it is declared.
pub mod spec;

/// Places to listen on.
pub mod endpoint;

/// Keys as text.
pub mod z85;

pub use socket::Socket;
pub use sockets::Sockets;
pub use spec::Spec;
