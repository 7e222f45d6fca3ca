//! Errors of a client, and the reply code of each: one table for all that clients ask for, by AMQP or by HTTP.
//!
//! The texts are RabbitMQ's, because clients and tools match on them. Display is what stands behind `CODE_NAME - `.

use leveret_amqp::{FrameError, HeaderError, MethodError, ReplyCode, ShortString};
use std::borrow::Cow;

/// Result of a client's request.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such queue, exchange.
    #[error("no {kind} '{name}' in vhost '{vhost}'")]
    Missing {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The vhost.
        vhost: String,
    },
    /// queue.bind and the like with an empty queue name on a channel that hasn't declared one.
    #[error("no previously declared queue")]
    NoPreviousQueue,
    /// A passive look at a direct reply queue whose requester has gone.
    #[error("{0}")]
    NotFound(String),
    /// Declared again as something else.
    #[error(transparent)]
    Inequivalent(Box<Inequivalent>),
    /// An argument of a queue that isn't supported or has a value that isn't allowed.
    #[error("invalid arg '{arg}' for queue '{name}' in vhost '{vhost}': {reason}")]
    InvalidArgument {
        /// The argument.
        arg: &'static str,
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
        /// The reason, and the values allowed.
        reason: String,
    },
    /// An argument whose value has a type that it can't have.
    #[error("invalid type '{found}' for arg '{arg}' in {kind} '{name}' in vhost '{vhost}'")]
    ArgumentType {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// The argument.
        arg: &'static str,
        /// Its name.
        name: String,
        /// The vhost.
        vhost: String,
        /// RabbitMQ's name of the type.
        found: &'static str,
    },
    /// An argument that queues of other types have.
    #[error("invalid arg '{arg}' for queue '{name}' in vhost '{vhost}' of queue type {queue_type}")]
    ArgumentOfOtherTypes {
        /// The argument.
        arg: &'static str,
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
        /// The queue's type, as RabbitMQ's module for it is called.
        queue_type: &'static str,
    },
    /// One more channel than was agreed.
    #[error("number of channels opened ({opened}) has reached the negotiated channel_max ({most})")]
    TooManyChannels {
        /// Channels that are open.
        opened: usize,
        /// Channels that may be.
        most: u16,
    },
    /// One more channel than all connections together may have.
    #[error("number of channels opened on node '{node}' has reached the maximum allowed limit of {most}")]
    TooManyChannelsOfNode {
        /// The broker's name.
        node: String,
        /// Channels that may be.
        most: u64,
    },
    /// One more channel than all connections of a user may have.
    #[error("number of channels opened for user '{user}' has reached the maximum allowed user limit of {most}")]
    TooManyChannelsOfUser {
        /// The user.
        user: String,
        /// Channels that may be.
        most: u64,
    },
    /// An exclusive queue of another connection.
    #[error(
        "cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."
    )]
    Locked {
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
    },
    /// basic.get of a queue whose messages are for its active consumer.
    #[error(
        "cannot obtain access to locked queue '{name}' in vhost '{vhost}'. basic.get operations are not supported by <<\"{queue_type}\">> queues with single active consumer"
    )]
    SingleActive {
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
        /// The queue's type.
        queue_type: &'static str,
    },
    /// A queue or exchange that is in use, with if-unused.
    #[error("{kind} '{name}' in vhost '{vhost}' in use")]
    InUse {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The vhost.
        vhost: String,
    },
    /// A queue that has messages, with if-empty.
    #[error("queue '{name}' in vhost '{vhost}' not empty")]
    NotEmpty {
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
        /// Number of messages that wait in it.
        messages: usize,
    },
    /// A queue that has messages, or whose consumers have, with if-idle.
    #[error("queue '{name}' in vhost '{vhost}' not empty: {ready} ready, {unacked} unacknowledged")]
    NotIdle {
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
        /// Messages that wait in it.
        ready: usize,
        /// Messages that consumers have.
        unacked: usize,
    },
    /// Another consumer has the queue for itself.
    #[error("queue '{name}' in vhost '{vhost}' in exclusive use")]
    ExclusiveUse {
        /// The queue.
        name: String,
        /// The vhost.
        vhost: String,
    },
    /// Anything else that is refused with 403.
    #[error("{0}")]
    AccessRefused(Cow<'static, str>),
    /// Anything else that is refused with 406.
    #[error("{0}")]
    Precondition(Cow<'static, str>),
    /// A delivery tag that isn't outstanding.
    #[error("unknown delivery tag {0}")]
    UnknownDeliveryTag(u64),
    /// Something that this broker does not do.
    #[error("{0}")]
    NotImplemented(Cow<'static, str>),
    /// Something a client may never do.
    #[error("{0}")]
    NotAllowed(Cow<'static, str>),
    /// More than there is room for.
    #[error("{0}")]
    NoRoom(Cow<'static, str>),
    /// A frame that can't be read.
    #[error("{0}")]
    Frame(Cow<'static, str>),
    /// A frame that doesn't belong here.
    #[error("{0}")]
    UnexpectedFrame(Cow<'static, str>),
    /// A channel that isn't open, or is open already.
    #[error("{0}")]
    Channel(Cow<'static, str>),
    /// A method that isn't allowed here.
    #[error("{0}")]
    CommandInvalid(Cow<'static, str>),
    /// A field that can't be right.
    #[error("{0}")]
    Syntax(Cow<'static, str>),
    /// The broker closes the connection.
    #[error("{0}")]
    Forced(Cow<'static, str>),
    /// The log has failed.
    #[error("{0}")]
    Internal(Cow<'static, str>),
}

/// A difference between a declaration and the existing object.
#[derive(Debug, thiserror::Error)]
#[error(
    "inequivalent arg '{arg}' for {kind} '{name}' in vhost '{vhost}': received {received} but current is {current}"
)]
pub struct Inequivalent {
    /// Which property or argument.
    pub arg: String,
    /// `queue` or `exchange`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The vhost.
    pub vhost: String,
    /// The declared value.
    pub received: String,
    /// The existing value.
    pub current: String,
}

impl Error {
    /// Queue or exchange that doesn't exist (404).
    pub fn missing(kind: &'static str, name: &ShortString, vhost: &str) -> Self {
        Self::Missing {
            kind,
            name: name.to_str_lossy().into_owned(),
            vhost: vhost.to_owned(),
        }
    }

    /// The AMQP 0-9-1 reply code.
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            Self::Missing { .. } | Self::NoPreviousQueue | Self::NotFound(_) => ReplyCode::NotFound,
            Self::Locked { .. } | Self::SingleActive { .. } => ReplyCode::ResourceLocked,
            Self::ExclusiveUse { .. } | Self::AccessRefused(_) => ReplyCode::AccessRefused,
            Self::Inequivalent(_)
            | Self::InvalidArgument { .. }
            | Self::ArgumentOfOtherTypes { .. }
            | Self::ArgumentType { .. }
            | Self::InUse { .. }
            | Self::NotEmpty { .. }
            | Self::NotIdle { .. }
            | Self::Precondition(_)
            | Self::UnknownDeliveryTag(_) => ReplyCode::PreconditionFailed,
            Self::NotImplemented(_) => ReplyCode::NotImplemented,
            Self::NotAllowed(_)
            | Self::TooManyChannels { .. }
            | Self::TooManyChannelsOfNode { .. }
            | Self::TooManyChannelsOfUser { .. } => ReplyCode::NotAllowed,
            Self::NoRoom(_) => ReplyCode::ResourceError,
            Self::Frame(_) => ReplyCode::FrameError,
            Self::UnexpectedFrame(_) => ReplyCode::UnexpectedFrame,
            Self::Channel(_) => ReplyCode::ChannelError,
            Self::CommandInvalid(_) => ReplyCode::CommandInvalid,
            Self::Syntax(_) => ReplyCode::SyntaxError,
            Self::Forced(_) => ReplyCode::ConnectionForced,
            Self::Internal(_) => ReplyCode::InternalError,
        }
    }

    /// True if the connection goes, not only the channel.
    pub fn closes_connection(&self) -> bool {
        !self.reply_code().is_soft()
    }

    /// True if the close of the connection names the method that was being carried out. As from RabbitMQ, it names none
    /// if the channel could not be made.
    pub fn answers_a_method(&self) -> bool {
        !matches!(
            self,
            Self::TooManyChannels { .. } | Self::TooManyChannelsOfNode { .. } | Self::TooManyChannelsOfUser { .. }
        )
    }

    /// `CODE_NAME - explanation`, cut to what a short string holds.
    pub fn reply_text(&self) -> ShortString {
        ShortString::truncated(&format!("{} - {self}", self.reply_code().name()))
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Self::Frame(error.to_string().into())
    }
}

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Self {
        Self::Frame(error.to_string().into())
    }
}

impl From<MethodError> for Error {
    fn from(error: MethodError) -> Self {
        Self::Frame(error.to_string().into())
    }
}

impl From<leveret_store::Error> for Error {
    fn from(error: leveret_store::Error) -> Self {
        Self::Internal(format!("the log has failed: {error}").into())
    }
}
