//! The one connection that a loop has to its broker: away, being made, or up.
//!
//! In: attempts and what became of them. Out: the client, and events. Does not know about resources' specs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::memory::backoff;
use super::report::{Away, Endpoint};
use crate::broker::{Connector, Error, Event};
use crate::object::{AMQP_URI, Connection, ConnectionError, EngineState, MANAGEMENT_URI, Object, Reason};
use crate::resource::BrokerSpec;
use crate::source::Source;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(4);
/// For what only a change of resources can mend.
const SLOW_RETRY: Duration = Duration::from_secs(60);

/// Longest attempt to connect, with everything that belongs to it.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Longest wait for address and credentials when only a change of them is looked for.
const DEREFERENCE: Duration = Duration::from_secs(5);

/// How long the cluster is believed that a broker's pod is not up, without an attempt to connect.
pub(super) const POD_AWAY: Duration = Duration::from_secs(10);

/// Whether an attempt would come to nothing. More than that: a name that is asked for before its Service is there is unknown for as
/// long as the cluster's DNS remembers that, which may be half a minute.
pub(super) fn is_held(broker: &Object<BrokerSpec>, engine: Option<&EngineState>) -> bool {
    let elsewhere = |annotation: &str| broker.meta.annotations.contains_key(annotation);
    engine.is_some_and(|engine| engine.pending.is_some()) && !elsewhere(AMQP_URI) && !elsewhere(MANAGEMENT_URI)
}

/// What an attempt gives: the client, its events, the addresses.
pub(super) type Attempt<C> = Result<(C, mpsc::Receiver<Event>, Endpoint), Failed>;

/// An attempt that gave no connection.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) away: Away,
    /// What it was made with, as far as it came.
    pub(super) with: Option<Box<Connection>>,
}

impl From<Away> for Failed {
    fn from(away: Away) -> Self {
        Self { away, with: None }
    }
}

/// Where the connection stands.
pub(super) enum Link<C> {
    Down {
        attempts: u32,
        due: Instant,
    },
    Connecting {
        attempts: u32,
        task: JoinHandle<Attempt<C>>,
    },
    Up {
        client: C,
        events: mpsc::Receiver<Event>,
        endpoint: Endpoint,
    },
}

/// Something that happened on the link.
pub(super) enum News<C> {
    Attempted(Attempt<C>),
    Event(Event),
}

impl<C: Send + 'static> Link<C> {
    /// Ready for a first attempt at once.
    pub(super) fn idle() -> Self {
        Link::Down {
            attempts: 0,
            due: Instant::now(),
        }
    }

    /// After something went wrong; the next attempt comes after a pause.
    pub(super) fn failed(attempts: u32, away: &Away) -> Self {
        let pause = match away {
            Away::NoBroker | Away::Unusable(..) => SLOW_RETRY,
            Away::Unreachable(..) => backoff(FIRST_RETRY, LAST_RETRY, attempts),
        };
        Link::Down {
            attempts: attempts.saturating_add(1),
            due: Instant::now() + pause,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self, Link::Up { .. })
    }

    /// Waits for the next news; forever while nothing is under way.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost when it is dropped before it is ready.
    pub(super) async fn news(&mut self) -> News<C> {
        match self {
            Link::Down { .. } => std::future::pending().await,
            Link::Connecting { task, .. } => News::Attempted(task.await.unwrap_or_else(|error| {
                let text = format!("connecting ended early: {error}");
                Err(Away::Unreachable(Reason::WaitingForBroker, text).into())
            })),
            Link::Up { events, .. } => {
                let gone = || Event::Lost("the connection was closed".to_owned());
                News::Event(events.recv().await.unwrap_or_else(gone))
            }
        }
    }

    /// An event that is there already.
    pub(super) fn more(&mut self) -> Option<Event> {
        match self {
            Link::Up { events, .. } => events.try_recv().ok(),
            _ => None,
        }
    }
}

impl<C> Drop for Link<C> {
    fn drop(&mut self) {
        if let Link::Connecting { task, .. } = self {
            task.abort();
        }
    }
}

impl From<ConnectionError> for Away {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Missing(text) => Away::Unusable(Reason::WaitingForBroker, text),
            ConnectionError::Invalid(text) => Away::Unusable(Reason::InvalidArgument, text),
            ConnectionError::Unavailable(text) => Away::Unreachable(Reason::WaitingForBroker, text),
        }
    }
}

impl From<Error> for Away {
    fn from(error: Error) -> Self {
        match error {
            Error::Unencodable(text) => Away::Unusable(Reason::InvalidArgument, text),
            Error::Credentials(text) => Away::Unreachable(Reason::NotAllowed, text),
            Error::Refused { .. } => Away::Unreachable(Reason::BrokerError, error.to_string()),
            Error::Vhost(text) | Error::Unreachable(text) => Away::Unreachable(Reason::WaitingForBroker, text),
        }
    }
}

/// Dereferences the broker and connects to it.
pub(super) async fn connect<S: Source, N: Connector>(
    shared: Arc<Shared<S, N>>,
    broker: Arc<Object<BrokerSpec>>,
) -> Attempt<N::Client> {
    let attempt = async {
        let connection = shared.source.connection(&broker).await.map_err(Away::from)?;
        let endpoint = Endpoint {
            amqp: connection.amqp_uri.clone(),
            management: connection.management_uri.clone(),
        };
        let (client, events) = shared
            .connector
            .connect(&shared.settings.connection_name, connection.clone())
            .await
            .map_err(|error| Failed {
                away: Away::from(error),
                with: Some(Box::new(connection)),
            })?;
        Ok((client, events, endpoint))
    };
    timeout(ATTEMPT, attempt).await.unwrap_or_else(|_| {
        let text = format!("no connection within {} s", ATTEMPT.as_secs());
        Err(Away::Unreachable(Reason::WaitingForBroker, text).into())
    })
}

/// Whether the broker is to be reached otherwise than with `refused`: an address, a password was changed. Not so when
/// that cannot be found out now.
pub(super) async fn is_other<S: Source>(source: &S, broker: &Object<BrokerSpec>, refused: Option<&Connection>) -> bool {
    let asked = timeout(DEREFERENCE, source.connection(broker)).await;
    matches!(asked, Ok(Ok(connection)) if refused != Some(&connection))
}

/// Waits until a time, forever for none.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
