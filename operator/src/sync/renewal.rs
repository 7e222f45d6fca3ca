//! Another connection to a broker that is connected already, when its Secrets have changed: what was changed is tried
//! at once, and what works stays until the new one does.
//!
//! In: the connection that is up, changes of the source. Out: a connection to take its place, or why there is none.
//! Does not know about what a connection is used for.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::away::Away;
use super::connect::{Attempt, DEREFERENCE, connect};
use super::memory::backoff;
use super::shared::Shared;
use crate::broker::Connector;
use crate::object::{Connection, ConnectionError, Object, Reason};
use crate::resource::{BrokerSpec, Engine};
use crate::source::Source;

/// Pauses after attempts that failed.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A broker that the operator runs reads a new password as soon as its kubelet has updated the mounted Secret.
const MOUNTED: Duration = Duration::from_secs(120);

/// The renewal of one connection.
pub(super) struct Renewal<C> {
    /// The connection that is up.
    with: Connection,
    task: Option<JoinHandle<Attempt<C>>>,
    /// The source has changed while an attempt was under way.
    again: bool,
    doubt: Option<Doubt>,
    attempts: u32,
    due: Option<Instant>,
}

/// The reason why another connection could not be made.
struct Doubt {
    away: Away,
    since: Instant,
}

impl<C> Drop for Renewal<C> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<C: Send + 'static> Renewal<C> {
    pub(super) fn new(with: Connection) -> Self {
        Self {
            with,
            task: None,
            again: false,
            doubt: None,
            attempts: 0,
            due: None,
        }
    }

    /// When to look again, whatever happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The reason why another connection as this one could not be made now; `None` as long as that may be no more than
    /// a matter of time.
    pub(super) fn doubt(&self, engine: Engine) -> Option<(Reason, String)> {
        let Doubt { away, since } = self.doubt.as_ref()?;
        if engine == Engine::Leveret && since.elapsed() < MOUNTED {
            return None;
        }
        let (reason, text) = match away {
            Away::Unusable(reason, text) | Away::Unreachable(reason, text) => (*reason, text),
            Away::TooMuch(text) => (Reason::BrokerError, text),
            Away::NoBroker => return None,
        };
        Some((
            reason,
            format!("{text}; the connection that was made before stands while it lasts"),
        ))
    }

    /// Looks for other credentials, and tries them.
    pub(super) async fn look<S: Source, N: Connector<Client = C>>(
        &mut self,
        shared: &Arc<Shared<S, N>>,
        broker: &Arc<Object<BrokerSpec>>,
        changed: bool,
    ) {
        self.again |= changed;
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        if self.task.is_some() || !(self.again || is_due) {
            return;
        }
        self.again = false;
        match timeout(DEREFERENCE, shared.source.connection(broker)).await {
            Ok(Ok(connection)) if connection == self.with => {
                (self.doubt, self.due, self.attempts) = (None, None, 0);
            }
            Ok(Ok(_)) => {
                self.due = None;
                self.task = Some(tokio::spawn(connect(Arc::clone(shared), Arc::clone(broker))));
            }
            Err(_) | Ok(Err(ConnectionError::Unavailable(_))) => self.due = Some(Instant::now() + FIRST_RETRY),
            // Only a change can mend it, and a change is told of.
            Ok(Err(error)) => self.fails(Away::from(error), None),
        }
    }

    /// Waits for the outcome of an attempt; for ever while there is none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn outcome(&mut self) -> Attempt<C> {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let outcome = task.await;
        self.task = None;
        outcome.unwrap_or_else(|error| {
            let text = format!("connecting ended early: {error}");
            Err(Away::Unreachable(Reason::WaitingForBroker, text).into())
        })
    }

    /// Takes in an attempt that failed.
    pub(super) fn failed(&mut self, away: Away) {
        let pause = backoff(FIRST_RETRY, LAST_RETRY, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.fails(away, Some(Instant::now() + pause));
    }

    fn fails(&mut self, away: Away, due: Option<Instant>) {
        let since = self.doubt.take().map_or_else(Instant::now, |doubt| doubt.since);
        self.doubt = Some(Doubt { away, since });
        self.due = due;
    }
}
