//! What is malformed, and where.
//!
//! Comes in: the place where a parser stopped. Goes out: errors whose texts are those of RabbitMQ where RabbitMQ has
//! one, each with the reply code for the close. Does not know about closing anything.

use std::fmt;

use crate::reply_code::ReplyCode;

/// Octets of a payload that RabbitMQ shows in a frame error.
const SNIPPET_LEN: usize = 16;

/// Octets of a reply text: a short string holds no more.
const REPLY_TEXT_MAX: usize = 255;

/// Why octets are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The value goes beyond the end of what is there.
    #[error("value goes beyond the end")]
    Truncated,
    /// Octets are left over after the last value.
    #[error("octets left over after the last value")]
    TrailingBytes,
    /// A type letter that RabbitMQ does not know either.
    #[error("unknown field type {0:#04x}")]
    UnknownFieldType(u8),
    /// Tables and arrays are nested deeper than [`crate::field::MAX_DEPTH`].
    #[error("tables nested too deeply")]
    TooDeep,
    /// A short string of a method that is not UTF-8 (RabbitMQ checks those of methods, not those of properties).
    #[error("malformed UTF-8 in short string")]
    NotUtf8,
    /// No method has this class id and method id.
    #[error("unknown method")]
    UnknownMethod,
    /// A class id that has no content, in a content header.
    #[error("unknown class")]
    UnknownClass,
}

/// A field table or property list that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at octet {offset}")]
pub struct DecodeError {
    /// Octets from the start of the input to where the parser stopped.
    pub offset: usize,
    /// Why it stopped.
    pub reason: Reason,
}

/// The payload of a method frame that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("method {class_id}.{method_id}: {reason} at octet {offset}")]
pub struct MethodError {
    /// The class id that the payload names; 0 if it is too short for one.
    pub class_id: u16,
    /// The method id that the payload names; 0 if it is too short for one.
    pub method_id: u16,
    /// Octets from the start of the payload to where the parser stopped.
    pub offset: usize,
    /// Why it stopped.
    pub reason: Reason,
}

/// The payload of a content header frame that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Shorter than class id, weight, body size and property flags.
    #[error("content header of {0} octets is too short")]
    Truncated(usize),
    /// A weight other than 0 (4.2.6.1: "unused and must be zero").
    #[error("content header weight {0} is not zero")]
    Weight(u16),
}

/// The beginning of a payload, as RabbitMQ shows it in the text of a frame error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snippet {
    bytes: [u8; SNIPPET_LEN],
    len: u8,
    whole: bool,
}

impl Snippet {
    /// The first 16 octets of `payload`, or all of them if there are no more.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let mut bytes = [0; SNIPPET_LEN];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(payload) {
            *to = *from;
            len += 1;
        }
        Self {
            bytes,
            len,
            whole: payload.len() <= SNIPPET_LEN,
        }
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.whole { "all" } else { "first 16" })?;
        f.write_str(" octets = ")?;
        let shown = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        write_erlang_binary(f, shown, Quote::Printable)
    }
}

/// A frame that cannot be taken. The text is what RabbitMQ writes after `FRAME_ERROR - `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind that does not exist, or a heartbeat that has a payload.
    #[error("type {kind}, {snippet}: unknown_frame")]
    UnknownKind {
        /// The kind in the head.
        kind: u8,
        /// The channel in the head.
        channel: u16,
        /// The beginning of the payload.
        snippet: Snippet,
    },
    /// The head announces more than frame-max allows.
    #[error("type {kind}, all octets = <<>>: {{frame_too_large,{size},{max}}}")]
    TooLarge {
        /// The kind in the head.
        kind: u8,
        /// The channel in the head.
        channel: u16,
        /// Octets of payload that the head announces.
        size: u32,
        /// Octets of payload that would have been right.
        max: u32,
    },
    /// The octet after the payload is not 0xCE.
    #[error("type {kind}, {snippet}: {{invalid_frame_end_marker,{end}}}")]
    BadEnd {
        /// The kind in the head.
        kind: u8,
        /// The channel in the head.
        channel: u16,
        /// The octet that stands there instead.
        end: u8,
        /// The beginning of the payload.
        snippet: Snippet,
    },
}

impl MethodError {
    /// The code to close the connection with.
    #[must_use]
    pub const fn reply_code(&self) -> ReplyCode {
        ReplyCode::FrameError
    }

    /// What RabbitMQ writes after `FRAME_ERROR - `; `payload` is what was given to the parser. Of a long payload only
    /// as many octets are shown as may fit a reply text.
    #[must_use]
    pub fn explanation(&self, payload: &[u8]) -> String {
        let mut text = String::new();
        let Some(arguments) = payload.get(4..) else {
            return format!("type 1, {}: unknown_frame", Snippet::new(payload));
        };
        if self.reason == Reason::NotUtf8 {
            return "Malformed UTF-8 in shortstr".to_owned();
        }
        let shown = arguments.get(..REPLY_TEXT_MAX).unwrap_or(arguments);
        text.push_str("cannot decode ");
        // Writing to a string cannot fail.
        let _ = write_erlang_binary(&mut text, shown, Quote::Never);
        text
    }
}

/// Whether octets that are all printable are written as text (`~p` of Erlang) or as numbers all the same (`~w`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Printable,
    Never,
}

/// Octets as Erlang writes them.
fn write_erlang_binary(out: &mut impl fmt::Write, bytes: &[u8], quote: Quote) -> fmt::Result {
    if quote == Quote::Printable && !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return write!(out, "<<{:?}>>", String::from_utf8_lossy(bytes));
    }
    out.write_str("<<")?;
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 {
            out.write_char(',')?;
        }
        write!(out, "{byte}")?;
    }
    out.write_str(">>")
}

impl DecodeError {
    /// The same fault, in the method with these ids.
    pub(crate) const fn in_method(self, (class_id, method_id): (u16, u16)) -> MethodError {
        MethodError {
            class_id,
            method_id,
            offset: self.offset,
            reason: self.reason,
        }
    }
}
