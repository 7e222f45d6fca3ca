//! What the pipeline asks of a broker, whatever carries it: list everything, carry out operations, tell of changes.
//!
//! In: operations. Out: what stands there, events, and the broker's own words when it refuses.
//! Does not know about protocols.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::object::{Connection, Usage};
use crate::topology::Order;
use crate::topology::backlog::Backlog;
use crate::topology::{Name, Topology, ZeroMqSocketDefinition};

/// The failure of an operation, or of a whole call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker answered with a reply code and a text (AMQP 0-9-1, 1.2 and RabbitMQ's texts). It would answer the
    /// same again.
    #[error("{code} {text}")]
    Refused { code: u16, text: String },
    /// The virtual host does not exist.
    #[error("{0}")]
    Vhost(String),
    /// User and password are not accepted.
    #[error("{0}")]
    Credentials(String),
    /// The operator must not connect to the host.
    #[error("{0}")]
    Forbidden(String),
    /// More stands on the broker than the operator reads; the text says how much, and what to do.
    #[error("{0}")]
    TooMuch(String),
    /// The request cannot be put on the wire: a name over 255 bytes, for example.
    #[error("{0}")]
    Unencodable(String),
    /// No answer: connection refused, broken, timed out. Worth another try.
    #[error("{0}")]
    Unreachable(String),
    /// The first part of what was asked for was done, and a later one was not.
    #[error("{0}")]
    Partly(Box<Error>),
}

impl Error {
    /// True when the broker is away, so that nothing else needs to be tried on this connection.
    pub fn is_away(&self) -> bool {
        match self {
            Error::Unreachable(_) | Error::Credentials(_) | Error::Forbidden(_) | Error::TooMuch(_) => true,
            Error::Partly(error) => error.is_away(),
            Error::Refused { .. } | Error::Vhost(_) | Error::Unencodable(_) => false,
        }
    }

    /// For metrics: `refused` is an answer, `failed` is none.
    pub fn outcome(&self) -> &'static str {
        if self.is_away() { "failed" } else { "refused" }
    }
}

/// A change on the broker, by anyone, perhaps by the operator itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    VhostCreated(Name),
    /// Its description, tags or default queue type were changed.
    VhostUpdated(Name),
    VhostDeleted(Name),
    UserCreated(Name),
    UserDeleted(Name),
    /// A user was changed in a way that the event does not tell.
    UserSet(Name),
    /// A user has other tags.
    UserTagged(Name, BTreeSet<String>),
    /// A user has other rights in a virtual host (configure, write, read); or none any more.
    Permitted(Name, String, Option<[String; 3]>),
    /// A user has other rights (write, read) in a virtual host for the keys of an exchange.
    TopicPermitted(Name, (String, String), [String; 2]),
    /// A user has fewer topic permissions in a virtual host: the event does not say which.
    TopicForbidden(Name, String),
    QueueCreated(Name),
    QueueDeleted(Name),
    ExchangeCreated(Name),
    ExchangeDeleted(Name),
    BindingCreated(BindingEvent),
    BindingDeleted(BindingEvent),
    /// A policy or an operator policy was made or changed: the event does not say which of them.
    PolicySet(Name),
    PolicyCleared(Name),
    OperatorPolicyCleared(Name),
    ZeroMqSocketSet(Name),
    ZeroMqSocketCleared(Name),
    /// The connection is gone; nothing follows.
    Lost(String),
}

/// A binding as an event tells it. The arguments are only known to be there: brokers write them in the event as text
/// that is not meant to be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingEvent {
    pub vhost: String,
    pub source: String,
    pub destination: String,
    pub to_queue: bool,
    pub routing_key: String,
    pub has_arguments: bool,
}

/// The backlog of each queue of which the broker says it.
pub type Backlogs = BTreeMap<Name, Backlog>;

/// The part of a broker's behaviour that others do not share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Deletes a queue on condition that no message of it waits or is in a consumer's hand, in one step; a queue
    /// without a type is a classic one.
    Leveret,
    /// A queue without a type is of the type that its virtual host or its node prefers, and has that among its
    /// arguments.
    RabbitMq4,
    #[default]
    Other,
}

impl Dialect {
    /// By product and version, as the broker says them.
    pub fn of(product: &str, version: &str) -> Self {
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        match (product, major) {
            ("Leveret", _) => Dialect::Leveret,
            ("RabbitMQ", Some(4..)) => Dialect::RabbitMq4,
            _ => Dialect::Other,
        }
    }
}

/// The broker's words about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// For example `RabbitMQ 4.3.6`.
    pub version: String,
    /// The broker's own mark, which no other has, where it has one.
    pub identity: Option<String>,
    /// Changes come as events; otherwise only the next list shows them.
    pub has_events: bool,
    pub dialect: Dialect,
}

/// The word of a broker on its settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The mark of the text that it has looked at.
    pub mark: Option<String>,
    /// The reason why it does not take that.
    pub refused: Option<String>,
    /// Settings that it takes at the next start only.
    pub waiting: Vec<String>,
}

/// One live connection to a broker.
pub trait Client: Send + Sync + 'static {
    fn about(&self) -> &About;

    /// Everything on the broker, all virtual hosts, in one bulk call for each kind.
    fn list(&self) -> impl Future<Output = Result<Topology, Error>> + Send;

    /// The load of the broker when it was last listed.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// The fate of the broker's settings file; `None` where there is none, or it does not say.
    fn settled(&self) -> impl Future<Output = Option<Settled>> + Send {
        std::future::ready(None)
    }

    /// The ZeroMQ sockets alone, with their states.
    fn sockets(&self) -> impl Future<Output = Result<BTreeMap<Name, ZeroMqSocketDefinition>, Error>> + Send;

    /// The backlogs of the queues when they were last listed.
    fn backlogs(&self) -> Arc<Backlogs> {
        Arc::default()
    }

    /// Carries out orders of one kind, of any virtual hosts, pipelined and in no particular order. The answer has one
    /// result for each, in their order.
    fn execute(&self, orders: Vec<Order>) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Messages in a queue, as far as the broker tells: at least those ready for delivery, and those that consumers
    /// hold as of some seconds ago. `None` when there is no such queue.
    fn message_count(&self, queue: &Name) -> impl Future<Output = Result<Option<u32>, Error>> + Send;

    /// Says goodbye; bounded in time.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Makes connections.
pub trait Connector: Send + Sync + 'static {
    type Client: Client;

    /// Connects to a broker; `name` is the connection's name as operators of the broker see it. Bounded in time.
    fn connect(
        &self,
        name: &str,
        connection: Connection,
    ) -> impl Future<Output = Result<(Self::Client, mpsc::Receiver<Event>), Error>> + Send;
}
