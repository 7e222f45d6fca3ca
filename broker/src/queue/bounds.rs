//! The limits of a queue's length, and what a full queue does.
//!
//! Comes in: a queue's arguments; numbers of messages and bytes. Goes out: whether that is too much. Pure.
//! Does not know about messages.

use super::arguments::{Overflow, Values};

/// The limits of a queue that has some.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most waiting messages.
    messages: u64,
    /// Most bytes of their bodies.
    bytes: u64,
    /// Conduct of a full queue.
    pub overflow: Overflow,
}

impl Bounds {
    /// The limits among these arguments.
    pub fn of(values: &Values) -> Option<Self> {
        let (messages, bytes) = (values.max_length, values.max_length_bytes);
        messages.or(bytes)?;
        Some(Self {
            messages: messages.unwrap_or(u64::MAX),
            bytes: bytes.unwrap_or(u64::MAX),
            overflow: values.overflow.unwrap_or_default(),
        })
    }

    /// Messages and bytes that are too many.
    pub fn excess(&self, messages: u64, bytes: u64) -> (u64, u64) {
        (messages.saturating_sub(self.messages), bytes.saturating_sub(self.bytes))
    }
}
