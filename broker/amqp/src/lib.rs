//! AMQP 0-9-1 in RabbitMQ's dialect: bytes to values and back.
//!
//! Comes in: octets as they were read from a connection. Goes out: frames, methods, field tables and properties as
//! values, and the octets to send. Pure: no I/O, no clock, no state between calls.
//!
//! Does not know about sockets, tasks, queues or the store.
//!
//! The modules from whole messages to single octets; each uses only what stands below it.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![warn(missing_docs)]

/// Methods, contents and heartbeats to octets; deliveries and confirms without intermediate structs.
pub mod encode;

/// Publishes and acknowledgements read where they lie.
mod views;

/// Methods: one struct each, and the flat enum over all of them.
pub mod method;

/// The content header and basic's fourteen properties, parsed whole or read one by one from the raw octets.
pub mod properties;

/// Frames: the 7-octet head, the payload, the end octet; the protocol header.
pub mod frame;

/// Field tables and their values.
pub mod field;

/// The elementary domains (integers, strings, packed bits): cursor and appenders used by the modules above.
mod wire;

/// Errors: the fault, and its place.
pub mod error;

/// Reply codes with their names and whether they close a channel or the connection.
pub mod reply_code;

/// Strings of at most 255 octets.
pub mod short_string;

/// Any value of each domain, for property tests.
#[cfg(test)]
mod strategy;

/// The same octets read and written by amq-protocol.
#[cfg(test)]
mod differential;

pub use encode::{put_ack, put_content, put_deliver, put_heartbeat, put_method_frame, put_nack};
pub use error::{DecodeError, FrameError, HeaderError, MethodError, Reason};
pub use field::{FieldTable, FieldValue, RawTable};
pub use frame::{
    FRAME_END, FRAME_MIN_SIZE, FRAME_OVERHEAD, FrameKind, FrameView, PROTOCOL_HEADER, frame_len, next_frame,
};
pub use method::Method;
pub use properties::{BasicProperties, HeaderView, parse_header};
pub use reply_code::ReplyCode;
pub use short_string::{ShortString, ShortStringTooLong};
pub use views::{PublishView, parse_ack, parse_publish};
