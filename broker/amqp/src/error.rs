//! Errors: the fault, and its place.
//!
//! Comes in: the place where a parser stopped. Goes out: errors whose texts are those of RabbitMQ where RabbitMQ has
//! one, with the reply code for the close. Does not know about closing anything.

use std::fmt;

use crate::reply_code::ReplyCode;

/// Octets as Erlang prints them.
mod erlang;

/// Octets of a payload that RabbitMQ shows in a frame error.
const SNIPPET_LEN: usize = 16;
/// The class whose methods bring passwords (start-ok, secure-ok) and other secrets (update-secret): no arguments of
/// theirs are shown, here or in a log.
const CONNECTION: u16 = 10;
/// Octets of class and method id.
const ID_LEN: usize = 4;

/// The reason why octets are not a value.
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
    /// A short string of a method that is not UTF-8. RabbitMQ lets methods with content, properties and table keys be
    /// anything.
    #[error("malformed UTF-8 in short string")]
    NotUtf8,
    /// No method has this class id and method id.
    #[error("unknown method")]
    UnknownMethod,
}

/// A field table or property list that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at octet {offset}")]
pub struct DecodeError {
    /// Octets from the start of the input to where the parser stopped.
    pub offset: usize,
    /// The reason why it stopped.
    pub reason: Reason,
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
    /// The reason why it stopped.
    pub reason: Reason,
}

impl MethodError {
    /// The code to close the connection with: 501, as RabbitMQ; 540 for a method that does not exist, where RabbitMQ
    /// drops the connection without a word.
    #[must_use]
    pub const fn reply_code(&self) -> ReplyCode {
        match self.reason {
            Reason::UnknownMethod => ReplyCode::NotImplemented,
            _ => ReplyCode::FrameError,
        }
    }

    /// Class id and method id for the close. RabbitMQ names none if it could not tell the method or its text was bad.
    #[must_use]
    pub const fn blamed(&self) -> (u16, u16) {
        match self.reason {
            Reason::NotUtf8 => (0, 0),
            _ => (self.class_id, self.method_id),
        }
    }

    /// The explanation after the code's name, as RabbitMQ writes it; `payload` is what was given to the parser. Of a
    /// long payload no more is shown than fits a reply text, which [`ReplyCode::text`] cuts to its exact length.
    /// Nothing is shown of methods that bring secrets.
    #[must_use]
    pub fn explanation(&self, payload: &[u8]) -> String {
        let Some(arguments) = payload.get(4..) else {
            return FrameError::unknown(1, 0, payload).to_string();
        };
        match self.reason {
            Reason::NotUtf8 => "Malformed UTF-8 in shortstr".to_owned(),
            Reason::UnknownMethod => format!("method {}.{} does not exist", self.class_id, self.method_id),
            _ if self.class_id == CONNECTION => {
                format!(
                    "cannot decode the arguments of method {}.{}",
                    self.class_id, self.method_id
                )
            }
            _ => {
                let mut text = "cannot decode ".to_owned();
                let shown = arguments.get(..usize::from(u8::MAX)).unwrap_or(arguments);
                // Writing to a string cannot fail.
                let _ = erlang::write_plain(&mut text, shown);
                text
            }
        }
    }
}

/// The payload of a content header frame that cannot be decoded. The text is RabbitMQ's explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Shorter than class id, weight and body size.
    #[error(transparent)]
    Truncated(FrameError),
    /// A weight other than 0 (4.2.6.1: "unused and must be zero"), which makes it no content header for RabbitMQ.
    #[error("expected content header for class 60, got non content header frame instead")]
    Weight(u16),
}

impl HeaderError {
    /// The code to close the connection with, as RabbitMQ.
    #[must_use]
    pub const fn reply_code(&self) -> ReplyCode {
        match self {
            Self::Truncated(_) => ReplyCode::FrameError,
            Self::Weight(_) => ReplyCode::UnexpectedFrame,
        }
    }
}

/// The beginning of a payload, as RabbitMQ shows it in the text of a frame error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snippet {
    bytes: [u8; SNIPPET_LEN],
    len: u8,
    whole: bool,
}

impl Snippet {
    /// The first 16 octets of `payload`, or all of them if there are no more; the ids alone of a method that may bring
    /// a secret.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let mut bytes = [0; SNIPPET_LEN];
        let mut len = 0;
        let shown = match payload.starts_with(&CONNECTION.to_be_bytes()) {
            true => payload.get(..ID_LEN).unwrap_or(payload),
            false => payload,
        };
        for (to, from) in bytes.iter_mut().zip(shown) {
            *to = *from;
            len += 1;
        }
        Self {
            bytes,
            len,
            whole: payload.len() <= SNIPPET_LEN,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, kind: u8) -> fmt::Result {
        let intro = format!("type {kind}, {} octets = ", if self.whole { "all" } else { "first 16" });
        f.write_str(&intro)?;
        erlang::write_pretty(
            f,
            self.bytes.get(..usize::from(self.len)).unwrap_or_default(),
            intro.len(),
        )
    }
}

/// A frame that cannot be taken: 501 FRAME_ERROR. The text is RabbitMQ's explanation after `FRAME_ERROR - `.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind that does not exist, a heartbeat that has a payload, a method or header too short to be one.
    UnknownKind {
        /// The kind in the head.
        kind: u8,
        /// The channel in the head.
        channel: u16,
        /// The beginning of the payload.
        snippet: Snippet,
    },
    /// The head announces more than frame-max allows. RabbitMQ reads nothing more after it.
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
    /// The octet after the payload is not 0xCE. RabbitMQ reads nothing more after it.
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

impl FrameError {
    /// The error for a whole frame that means nothing.
    #[must_use]
    pub fn unknown(kind: u8, channel: u16, payload: &[u8]) -> Self {
        Self::UnknownKind {
            kind,
            channel,
            snippet: Snippet::new(payload),
        }
    }

    /// The code to close the connection with.
    #[must_use]
    pub const fn reply_code(&self) -> ReplyCode {
        ReplyCode::FrameError
    }
}

impl std::error::Error for FrameError {}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind { kind, snippet, .. } => {
                snippet.write(f, *kind)?;
                f.write_str(": unknown_frame")
            }
            Self::TooLarge { kind, size, max, .. } => {
                Snippet::new(&[]).write(f, *kind)?;
                write!(f, ": {{frame_too_large,{size},{max}}}")
            }
            Self::BadEnd { kind, end, snippet, .. } => {
                snippet.write(f, *kind)?;
                write!(f, ": {{invalid_frame_end_marker,{end}}}")
            }
        }
    }
}

/// RabbitMQ's explanation after `UNEXPECTED_FRAME - ` (505) for a whole frame that does not belong where it came: a
/// heartbeat outside channel 0, a content frame on channel 0.
#[must_use]
pub fn unexpected_frame(kind: u8, payload: &[u8]) -> String {
    struct Shown(u8, Snippet);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.1.write(f, self.0)
        }
    }
    Shown(kind, Snippet::new(payload)).to_string()
}

#[cfg(test)]
mod tests;
