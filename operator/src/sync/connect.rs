//! One attempt to connect to a broker.
//!
//! In: the `Broker`. Out: a client with its events, or why there is none and what was tried.
//! Does not know about when an attempt is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::away::{Away, Endpoint};
use super::shared::Shared;
use crate::broker::{Connector, Event};
use crate::object::{Connection, Object, Reason};
use crate::resource::BrokerSpec;
use crate::source::Source;

/// Longest attempt to connect, with everything that belongs to it.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Longest wait for address and credentials when only a change of them is looked for.
pub(super) const DEREFERENCE: Duration = Duration::from_secs(5);

/// The outcome of an attempt.
pub(super) type Attempt<C> = Result<Made<C>, Failed>;

/// A connection that was made.
pub(super) struct Made<C> {
    pub(super) client: C,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) endpoint: Endpoint,
    pub(super) with: Connection,
}

/// An attempt that gave no connection.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) away: Away,
    /// The connection that it was made with, as far as it came.
    pub(super) with: Option<Box<Connection>>,
}

impl From<Away> for Failed {
    fn from(away: Away) -> Self {
        Self { away, with: None }
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
                with: Some(Box::new(connection.clone())),
            })?;
        Ok(Made {
            client,
            events,
            endpoint,
            with: connection,
        })
    };
    timeout(ATTEMPT, attempt).await.unwrap_or_else(|_| {
        let text = format!("no connection within {} s", ATTEMPT.as_secs());
        Err(Away::Unreachable(Reason::WaitingForBroker, text).into())
    })
}

/// True when the broker is to be reached otherwise than with `refused`: an address, a password was changed. Not so when
/// that cannot be found out now.
pub(super) async fn is_other<S: Source>(source: &S, broker: &Object<BrokerSpec>, refused: Option<&Connection>) -> bool {
    let asked = timeout(DEREFERENCE, source.connection(broker)).await;
    matches!(asked, Ok(Ok(connection)) if refused != Some(&connection))
}
