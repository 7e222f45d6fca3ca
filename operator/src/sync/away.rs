//! Why a broker is not connected, and under which addresses it is when it is.
//!
//! In: what went wrong. Out: `Away`, with what other resources are told of it. Does not know about attempts.

use crate::broker::Error;
use crate::object::{ConnectionError, ObjectKey, Reason};

/// The reason why there is no connection to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Away {
    /// There is no such `Broker`.
    NoBroker,
    /// Its address or credentials cannot be found out; only a change of resources helps.
    Unusable(Reason, String),
    /// More stands on it than is read. Each attempt costs much, so the pauses grow long.
    TooMuch(String),
    /// It does not answer, or does not let us in.
    Unreachable(Reason, String),
}

impl Away {
    /// The words of other resources. Why a broker does not answer stands in its own status alone: that may change with
    /// every attempt, and ten thousand statuses must not change with it.
    pub fn brief(&self, broker: &ObjectKey) -> String {
        match self {
            Away::NoBroker => format!("{broker} does not exist"),
            Away::Unusable(..) => self.explain(broker),
            Away::TooMuch(_) | Away::Unreachable(..) => {
                format!("{broker} is not connected; its status says why")
            }
        }
    }

    /// With the cause.
    pub fn explain(&self, broker: &ObjectKey) -> String {
        match self {
            Away::NoBroker => format!("{broker} does not exist"),
            Away::Unusable(_, text) | Away::TooMuch(text) | Away::Unreachable(_, text) => {
                format!("{broker} is not connected: {text}")
            }
        }
    }
}

/// The addresses of a connection, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub amqp: String,
    pub management: String,
}

impl From<ConnectionError> for Away {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Missing(text) => Away::Unusable(Reason::WaitingForBroker, text),
            ConnectionError::Invalid(text) => Away::Unusable(Reason::InvalidArgument, text),
            ConnectionError::NotAllowed(text) => Away::Unusable(Reason::NotAllowed, text),
            ConnectionError::Unavailable(text) => Away::Unreachable(Reason::WaitingForBroker, text),
        }
    }
}

impl From<Error> for Away {
    fn from(error: Error) -> Self {
        match error {
            Error::Unencodable(text) => Away::Unusable(Reason::InvalidArgument, text),
            Error::Forbidden(text) => Away::Unusable(Reason::NotAllowed, text),
            Error::TooMuch(text) => Away::TooMuch(text),
            Error::Credentials(text) => Away::Unreachable(Reason::NotAllowed, text),
            Error::Partly(error) => Away::from(*error),
            Error::Refused { .. } => Away::Unreachable(Reason::BrokerError, error.to_string()),
            Error::Vhost(text) | Error::Unreachable(text) => Away::Unreachable(Reason::WaitingForBroker, text),
        }
    }
}
