//! How a broker is reached: addresses, credentials, certificates.
//!
//! In: the outcome of dereferencing a `Broker`. Out: `Connection`, or why there is none.
//! Does not know about sockets.

use std::fmt;

/// The way to a broker: the outcome of dereferencing a `Broker` and its Secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// `amqp://host:port` or `amqps://...`, without credentials and vhost.
    pub amqp_uri: String,
    /// `http://host:port` or `https://...`, without credentials; a path prefix is kept.
    pub management_uri: String,
    pub user: String,
    pub password: String,
    /// PEM certificates to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
    /// The certificate that is shown to a broker that asks for one.
    pub identity: Option<Identity>,
    pub via: Via,
}

/// A certificate with its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// The one who has named the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// A user, in `external`.
    #[default]
    Address,
    /// The operator: the Service of a broker that it runs.
    Service,
    /// Annotations, for an operator that runs outside the cluster: a port on its own machine.
    Forward,
}

impl fmt::Debug for Connection {
    /// Leaves the password out: connections end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("amqp_uri", &self.amqp_uri)
            .field("management_uri", &self.management_uri)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The reason why a `Broker` could not be turned into a [`Connection`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// A Secret, or a key in it, does not exist; the text names it. Retried when the source changes, and slowly.
    #[error("{0}")]
    Missing(String),
    /// The spec cannot work as it stands (an engine not supported here, a URI that does not parse). Not retried.
    #[error("{0}")]
    Invalid(String),
    /// A Secret is not for this `Broker`, or an address not for this operator; the text says how that is changed.
    #[error("{0}")]
    NotAllowed(String),
    /// The source could not be asked (API server away). Retried with back-off.
    #[error("{0}")]
    Unavailable(String),
}
