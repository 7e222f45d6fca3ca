//! Reply codes: what a close, or a basic.return, says.
//!
//! Comes in: a code chosen by the broker, or a number from a peer. Goes out: number, name, and which of connection and
//! channel it closes. Does not know about the situations in which a code is chosen.

use crate::short_string::ShortString;

/// Octets of a reply text before the dots, where it has to be cut.
const CUT_AT: usize = ShortString::MAX_LEN - 3;

/// A reply code of AMQP 0-9-1 (the constants of section 1.2 of the specification, names as RabbitMQ writes them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum ReplyCode {
    /// Orderly close: the reply-success of the specification.
    Success = 200,
    /// Content larger than the peer takes.
    ContentTooLarge = 311,
    /// basic.return only: no queue took a mandatory message.
    NoRoute = 312,
    /// basic.return only: no consumer could take an immediate message.
    NoConsumers = 313,
    /// An operator or a shutdown closes the connection.
    ConnectionForced = 320,
    /// Unknown virtual host in the specification; RabbitMQ answers 530 there.
    InvalidPath = 402,
    /// No permission, or a reserved name.
    AccessRefused = 403,
    /// No such exchange, queue or binding end.
    NotFound = 404,
    /// An exclusive queue of another connection.
    ResourceLocked = 405,
    /// A wish that contradicts what exists.
    PreconditionFailed = 406,
    /// A frame or method that cannot be decoded.
    FrameError = 501,
    /// A field with an illegal value.
    SyntaxError = 502,
    /// A method that is not allowed in this state, or unknown.
    CommandInvalid = 503,
    /// A channel that is not open, or open already.
    ChannelError = 504,
    /// A frame that was not expected here.
    UnexpectedFrame = 505,
    /// Not enough of something.
    ResourceError = 506,
    /// Something the peer may never do.
    NotAllowed = 530,
    /// Something this server does not do.
    NotImplemented = 540,
    /// A fault of the server.
    InternalError = 541,
}

impl ReplyCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 19] = [
        Self::Success,
        Self::ContentTooLarge,
        Self::NoRoute,
        Self::NoConsumers,
        Self::ConnectionForced,
        Self::InvalidPath,
        Self::AccessRefused,
        Self::NotFound,
        Self::ResourceLocked,
        Self::PreconditionFailed,
        Self::FrameError,
        Self::SyntaxError,
        Self::CommandInvalid,
        Self::ChannelError,
        Self::UnexpectedFrame,
        Self::ResourceError,
        Self::NotAllowed,
        Self::NotImplemented,
        Self::InternalError,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The name that RabbitMQ puts in front of the explanation: `NOT_FOUND - no queue 'x' in vhost '/'`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::NoConsumers => "NO_CONSUMERS",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// True for codes that close the channel only (the specification's soft errors); the others close the connection.
    #[must_use]
    pub const fn is_soft(self) -> bool {
        matches!(
            self,
            Self::ContentTooLarge
                | Self::NoRoute
                | Self::NoConsumers
                | Self::AccessRefused
                | Self::NotFound
                | Self::ResourceLocked
                | Self::PreconditionFailed
        )
    }

    /// The reply text: name and explanation, cut to 255 octets with dots at the end, as RabbitMQ does; the name alone
    /// if there is nothing to explain.
    #[must_use]
    pub fn text(self, explanation: &str) -> ShortString {
        if explanation.is_empty() {
            return ShortString::from_static(self.name());
        }
        let mut text = format!("{} - {explanation}", self.name());
        if text.len() > ShortString::MAX_LEN {
            let end = (0..=CUT_AT)
                .rev()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or_default();
            text.truncate(end);
            text.push_str("...");
        }
        ShortString::truncated(&text)
    }

    /// The code with this number; `None` for a number that the specification does not list.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_codes() {
        for code in ReplyCode::ALL {
            assert_eq!(ReplyCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ReplyCode::from_number(407), None);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(ReplyCode::InternalError.text(""), "INTERNAL_ERROR");
        assert_eq!(
            ReplyCode::NotFound.text("no queue 'q' in vhost '/'"),
            "NOT_FOUND - no queue 'q' in vhost '/'"
        );
        let text = ReplyCode::NotFound.text(&"\u{e9}".repeat(200));
        assert_eq!(text.len(), 255);
        assert!(text.to_string().ends_with("\u{e9}..."));
    }

    #[test]
    fn names_and_levels() {
        assert_eq!(ReplyCode::NotFound.name(), "NOT_FOUND");
        assert_eq!(ReplyCode::NotFound.number(), 404);
        assert!(ReplyCode::PreconditionFailed.is_soft());
        assert!(!ReplyCode::NotAllowed.is_soft());
        assert!(!ReplyCode::ConnectionForced.is_soft());
    }
}
