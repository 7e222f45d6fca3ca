//! Why a load could not be put on a broker.
//!
//! In: what went wrong where. Out: one sentence with the thing, the value and, where there is one, the way out.

use std::io;

use leveret_amqp::{FrameError, MethodError};

/// A load that did not come about, or that broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{flag} {value}: {problem}")]
    Flag {
        flag: &'static str,
        value: String,
        problem: String,
    },
    #[error(
        "cannot connect to {address}: {source}; is a broker listening there? Give it with -h amqp://USER:PASSWORD@HOST:PORT"
    )]
    Connect { address: String, source: io::Error },
    #[error("{who}: the broker closed the connection without a word{hint}")]
    Gone { who: String, hint: &'static str },
    #[error("{who}: the broker says {code} {text}")]
    Closed { who: String, code: u16, text: String },
    #[error("{who}: the broker has cancelled the consumer; its queue was deleted or has moved")]
    Cancelled { who: String },
    #[error("{who}: {source}")]
    Socket { who: String, source: io::Error },
    #[error("{who}: what came is not AMQP 0-9-1: {source}")]
    Frame { who: String, source: FrameError },
    #[error("{who}: what came is not AMQP 0-9-1: {source}")]
    Method { who: String, source: MethodError },
    #[error("{who}: the broker sent {what}, which nothing asked for")]
    Unexpected { who: String, what: String },
    #[error("{0}")]
    Count(String),
    #[error("{0}")]
    Measure(String),
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl Error {
    /// A flag whose value does not do.
    #[must_use]
    pub fn flag(flag: &'static str, value: impl ToString, problem: impl Into<String>) -> Error {
        Error::Flag {
            flag,
            value: value.to_string(),
            problem: problem.into(),
        }
    }
}
