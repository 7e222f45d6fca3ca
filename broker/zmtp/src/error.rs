//! Errors: what a peer did that isn't ZMTP.
//!
//! Comes in: the place where a step stopped. Goes out: a text for the log, and for the peer where the protocol has a
//! way to say it. Does not know about closing anything.

use crate::mechanism::Mechanism;
use crate::socket_type::SocketType;

/// The reason why a connection can't go on. None of them says anything of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first octets are no signature of ZMTP.
    #[error("this isn't ZMTP: the greeting doesn't begin with its signature")]
    NotZmtp,
    /// The peer speaks a version before 3.0.
    #[error("peer speaks ZMTP {0}, the oldest that is understood is 3.0")]
    Version(u8),
    /// The two sides have different mechanisms.
    #[error("peer wants mechanism {theirs}, this socket has {ours}")]
    Mechanism {
        /// The mechanism of this side.
        ours: Mechanism,
        /// The name that the peer gave.
        theirs: String,
    },
    /// The two sockets aren't made for each other.
    #[error("socket type {theirs} does not fit {ours}")]
    SocketType {
        /// The type of this side.
        ours: SocketType,
        /// The name that the peer gave.
        theirs: String,
    },
    /// An identity that RFC 37 doesn't allow.
    #[error("an identity has at most 255 octets and doesn't begin with a zero")]
    Identity,
    /// A message where a command was due, or a command that isn't due now.
    #[error("peer sent {found} where {wanted} was due")]
    Unexpected {
        /// The command that was due.
        wanted: &'static str,
        /// The name of what came, or "a message".
        found: String,
    },
    /// A command whose fields aren't where they belong.
    #[error("malformed command {0}")]
    Malformed(&'static str),
    /// Flags without a meaning.
    #[error("a frame's flags are {0:#04x}")]
    Flags(u8),
    /// A command longer than allowed.
    #[error("a command of {announced} octets, at most {most} are allowed")]
    CommandTooLong {
        /// Octets that the head announces.
        announced: u64,
        /// Octets that are allowed.
        most: usize,
    },
    /// A message longer than allowed.
    #[error("a message of {announced} octets or more, at most {most} are allowed")]
    MessageTooLong {
        /// Octets of the frames so far and of what the head announces.
        announced: u64,
        /// Octets that are allowed.
        most: usize,
    },
    /// A message of more frames than allowed.
    #[error("a message of more than {most} frames")]
    TooManyFrames {
        /// Frames that are allowed.
        most: usize,
    },
    /// A box that doesn't open: another key, or changed on its way. For a HELLO: the peer has another key of this
    /// server.
    #[error("a CURVE box in {0} does not open: the wrong key, or changed on its way")]
    Box(&'static str),
    /// A nonce that is not above the one before it: something was sent again.
    #[error("a CURVE nonce was used twice")]
    Nonce,
    /// The peer refused the connection.
    #[error("peer refused: {0}")]
    Refused(String),
    /// More was fed to a handshake that has ended.
    #[error("the handshake has ended")]
    Ended,
}
