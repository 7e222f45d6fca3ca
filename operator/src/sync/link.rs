//! The life of the one connection that a loop has to its broker: away, being made, or up.
//!
//! In: the `Broker`, how far its pod is, attempts and what became of them. Out: a client with its events and what is
//! known of the broker through them, or why there is none. Does not know about any other resource.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::away::{Away, Endpoint};
use super::connect::{Attempt, Failed, Made, connect, is_other};
use super::desired::Relevant;
use super::memory::backoff;
use super::observe::{Observed, concerns};
use super::renewal::Renewal;
use super::settings::Asked;
use super::shared::Shared;
use super::twins::Marks;
use crate::broker::{Client, Connector, Event};
use crate::object::{AMQP_URI, Connection, EngineState, MANAGEMENT_URI, Object, ObjectKey, PAUSED, Reason, is_set};
use crate::resource::BrokerSpec;
use crate::source::Source;
use crate::topology::Name;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(4);
/// For what only a change of resources can mend.
const SLOW_RETRY: Duration = Duration::from_secs(60);
/// Pauses after lists that were more than is read: each costs time and memory.
const FIRST_REST: Duration = Duration::from_secs(10);
const LAST_REST: Duration = Duration::from_secs(600);
/// Time for which the cluster is believed that a broker's pod is not up, without an attempt to connect.
const POD_AWAY: Duration = Duration::from_secs(10);

/// The connection to one broker.
pub(super) struct Link<C> {
    broker: ObjectKey,
    state: State<C>,
    /// The reason why it is not up, and since when.
    away: Away,
    down_since: Instant,
    /// An attempt to connect has been made, so that `away` is a finding and not a beginning.
    attempted: bool,
    /// The `Broker` that the link was made for: uid and generation.
    made_for: Option<(String, i64)>,
    /// The connection of the last attempt, when the broker did not let it in.
    refused: Option<Box<Connection>>,
    /// The source has changed since what was refused was last compared with what is there now.
    other: bool,
    /// The pod of a broker that the operator runs is up.
    pod_up: bool,
    /// Times in a row that more stood on the broker than is read.
    excesses: u32,
}

/// The state of the connection.
enum State<C> {
    Down {
        attempts: u32,
        due: Instant,
    },
    Connecting {
        attempts: u32,
        task: JoinHandle<Attempt<C>>,
    },
    Up(Box<Up<C>>),
}

/// A connection that is up. What is known of the broker goes with it.
pub(super) struct Up<C> {
    pub(super) client: C,
    /// As whom the operator is logged in.
    pub(super) user: String,
    events: mpsc::Receiver<Event>,
    pub(super) endpoint: Endpoint,
    /// `None` until it has been listed once.
    pub(super) observed: Option<Observed>,
    pub(super) listed: Instant,
    /// There is an exchange for events; `None`: not looked at yet.
    pub(super) had_events: Option<bool>,
    renewal: Renewal<C>,
    pub(super) settings: Asked,
}

/// Something that happened on the link.
pub(super) enum News<C> {
    Attempted(Attempt<C>),
    /// With other credentials, beside the connection that is up.
    Renewed(Attempt<C>),
    Event(Event),
}

impl<C> State<C> {
    /// Ready for a first attempt at once.
    fn idle() -> Self {
        State::Down {
            attempts: 0,
            due: Instant::now(),
        }
    }

    /// After something went wrong; the next attempt comes after a pause.
    fn failed(attempts: u32, away: &Away, excesses: u32) -> Self {
        let pause = match away {
            Away::NoBroker | Away::Unusable(..) => SLOW_RETRY,
            Away::TooMuch(_) => backoff(FIRST_REST, LAST_REST, excesses),
            Away::Unreachable(..) => backoff(FIRST_RETRY, LAST_RETRY, attempts),
        };
        State::Down {
            attempts: attempts.saturating_add(1),
            due: Instant::now() + pause,
        }
    }
}

impl<C: Client> Up<C> {
    /// The marks by which the broker is known again.
    pub(super) fn marks(&self) -> Marks {
        let address = self.endpoint.amqp.trim_end_matches('/').to_lowercase();
        self.client.about().identity.iter().cloned().chain([address]).collect()
    }

    /// Messages that go with the broker, as of the last list: those of exclusive queues, as the operator's own of
    /// events, go with their connections anyway.
    pub(super) fn messages(&self) -> Option<u64> {
        let queues = &self.observed.as_ref()?.topology.queues;
        let stays = |name: &Name| !queues.get(name).is_some_and(|queue| queue.exclusive);
        let backlogs = self.client.backlogs();
        let counts = backlogs.iter().filter(|(name, _)| stays(name));
        Some(counts.map(|(_, backlog)| backlog.messages()).sum())
    }

    fn new(made: Made<C>) -> Self {
        let Made {
            client,
            events,
            endpoint,
            with,
        } = made;
        Self {
            client,
            user: with.user.clone(),
            events,
            endpoint,
            observed: None,
            listed: Instant::now(),
            had_events: None,
            renewal: Renewal::new(with),
            settings: Asked::default(),
        }
    }
}

impl<C> Drop for State<C> {
    fn drop(&mut self) {
        if let State::Connecting { task, .. } = self {
            task.abort();
        }
    }
}

impl<C: Client> Link<C> {
    pub(super) fn new(broker: ObjectKey) -> Self {
        Self {
            broker,
            state: State::idle(),
            away: first_away(),
            down_since: Instant::now(),
            attempted: false,
            made_for: None,
            refused: None,
            other: false,
            pod_up: false,
            excesses: 0,
        }
    }

    pub(super) fn up(&self) -> Option<&Up<C>> {
        match &self.state {
            State::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up<C>> {
        match &mut self.state {
            State::Up(up) => Some(up),
            _ => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up().is_some()
    }

    /// The reason why it is not up.
    pub(super) fn away(&self) -> &Away {
        &self.away
    }

    pub(super) fn down_since(&self) -> Instant {
        self.down_since
    }

    /// An attempt to connect has been made.
    pub(super) fn was_attempted(&self) -> bool {
        self.attempted
    }

    /// Waits for the next news; forever while nothing is under way.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost when it is dropped before it is ready.
    pub(super) async fn news(&mut self) -> News<C> {
        match &mut self.state {
            State::Down { .. } => std::future::pending().await,
            State::Connecting { task, .. } => News::Attempted(task.await.unwrap_or_else(|error| {
                let text = format!("connecting ended early: {error}");
                Err(Away::Unreachable(Reason::WaitingForBroker, text).into())
            })),
            State::Up(up) => {
                let gone = || Event::Lost("the connection was closed".to_owned());
                tokio::select! {
                    event = up.events.recv() => News::Event(event.unwrap_or_else(gone)),
                    attempt = up.renewal.outcome() => News::Renewed(attempt),
                }
            }
        }
    }

    /// An event that is there already.
    pub(super) fn more(&mut self) -> Option<Event> {
        self.up_mut().and_then(|up| up.events.try_recv().ok())
    }

    /// Takes in news; whether a pass is worth it.
    pub(super) fn take(&mut self, news: News<C>, relevant: &Relevant) -> bool {
        match news {
            News::Event(event) => self.hear(&event, relevant),
            News::Attempted(attempt) => {
                self.settle(attempt);
                true
            }
            News::Renewed(attempt) => {
                self.renew(attempt);
                true
            }
        }
    }

    /// Takes in an event; whether a pass is worth it.
    pub(super) fn hear(&mut self, event: &Event, relevant: &Relevant) -> bool {
        if let Event::Lost(text) = event {
            self.lose(Away::Unreachable(Reason::WaitingForBroker, text.clone()));
            return true;
        }
        let observed = self.up_mut().and_then(|up| up.observed.as_mut());
        observed.is_some_and(|observed| observed.hear(event)) && concerns(event, relevant)
    }

    fn settle(&mut self, attempt: Attempt<C>) {
        self.attempted = true;
        match attempt {
            Ok(made) => {
                tracing::info!(broker = %self.broker, endpoint = made.endpoint.amqp, version = made.client.about().version, "connected");
                self.state = State::Up(Box::new(Up::new(made)));
            }
            Err(Failed { away, with }) => {
                self.refused = with;
                let attempts = match &self.state {
                    State::Connecting { attempts, .. } => *attempts,
                    _ => 0,
                };
                if self.away != away {
                    tracing::warn!("{}", away.explain(&self.broker));
                }
                self.state = State::failed(attempts, &away, self.excesses);
                self.away = away;
            }
        }
    }

    /// Goes over to another connection, if there is one.
    fn renew(&mut self, attempt: Attempt<C>) {
        let State::Up(up) = &mut self.state else { return };
        match attempt {
            Ok(made) => {
                tracing::info!(broker = %self.broker, "connected with other credentials");
                let old = std::mem::replace(up.as_mut(), Up::new(made));
                tokio::spawn(async move { old.client.close().await });
            }
            Err(Failed { away, .. }) => {
                tracing::warn!("other credentials, not used: {}", away.explain(&self.broker));
                up.renewal.failed(away);
            }
        }
    }

    /// Tries credentials that have changed while the connection stands.
    pub(super) async fn follow_credentials<S: Source, N: Connector<Client = C>>(
        &mut self,
        shared: &Arc<Shared<S, N>>,
        broker: &Arc<Object<BrokerSpec>>,
        changed: bool,
    ) -> Option<Instant> {
        let up = self.up_mut()?;
        if !is_set(&broker.meta.annotations, PAUSED) {
            up.renewal.look(shared, broker, changed).await;
        }
        up.renewal.due()
    }

    /// The reason why all is not well although a connection is up: none could be made now, or the broker has not taken
    /// its settings.
    pub(super) fn doubt(&self, broker: &Object<BrokerSpec>) -> Option<(Reason, String)> {
        let up = self.up()?;
        let settings = || up.settings.finding();
        up.renewal.doubt(broker.spec.engine).or_else(settings)
    }

    /// Asks the broker what became of its settings; when to do so again.
    pub(super) async fn follow_settings(&mut self, engine: Option<&EngineState>) -> Option<Instant> {
        let up = self.up_mut()?;
        let wanted = engine.and_then(|engine| engine.settings.as_deref());
        up.settings.ask(&up.client, wanted).await
    }

    /// The broker was listed, whole.
    pub(super) fn was_listed(&mut self) {
        self.excesses = 0;
    }

    /// The connection is gone.
    pub(super) fn lose(&mut self, away: Away) {
        tracing::warn!("{}", away.explain(&self.broker));
        self.state = State::failed(0, &away, self.excesses);
        if matches!(away, Away::TooMuch(_)) {
            self.excesses = self.excesses.saturating_add(1);
        }
        self.away = away;
        self.down_since = Instant::now();
    }

    /// True when the source has changed in a way that may let us in where we were not let in before. A login that was
    /// refused is tried again only with another password: the source changes all the time.
    pub(super) async fn is_mended<S: Source>(
        &mut self,
        source: &S,
        changed: bool,
        broker: Option<&Arc<Object<BrokerSpec>>>,
    ) -> bool {
        self.other |= changed;
        let (State::Down { .. }, Some(broker)) = (&self.state, broker) else {
            return false;
        };
        match self.away {
            Away::NoBroker | Away::Unusable(..) => std::mem::take(&mut self.other),
            Away::Unreachable(Reason::NotAllowed, _) => {
                std::mem::take(&mut self.other) && is_other(source, broker, self.refused.as_deref()).await
            }
            Away::TooMuch(_) | Away::Unreachable(..) => false,
        }
    }

    /// There is no `Broker`, and with it no right to use its connection.
    pub(super) fn lose_broker(&mut self) {
        self.away = Away::NoBroker;
        self.made_for = None;
        self.state = State::idle();
    }

    /// Connects when it is time, and from the beginning when the `Broker` has changed. The answer is when to look
    /// again.
    pub(super) fn tend<S: Source, N: Connector<Client = C>>(
        &mut self,
        shared: &Arc<Shared<S, N>>,
        broker: &Arc<Object<BrokerSpec>>,
        engine: Option<&EngineState>,
        mended: bool,
    ) -> Option<Instant> {
        self.follow_broker(broker);
        let pod_up = engine.is_some_and(|engine| engine.pending.is_none());
        let came_up = !std::mem::replace(&mut self.pod_up, pod_up) && pod_up;
        if came_up && matches!(self.state, State::Connecting { .. }) {
            // An attempt that began before may hang: nothing was there to refuse it.
            self.state = State::idle();
        }
        let State::Down { attempts, due } = self.state else {
            return None;
        };
        if is_set(&broker.meta.annotations, PAUSED) {
            return None;
        }
        let (mended, due) = if is_held(broker, engine) {
            self.attempted = true; // that the pod is not up is a finding, too
            (false, due.max(self.down_since + POD_AWAY))
        } else {
            (mended, due)
        };
        if !(mended || came_up || due <= Instant::now()) {
            return Some(due);
        }
        // What changes while the attempt is under way may come too late for it.
        self.other = false;
        self.state = State::Connecting {
            attempts,
            task: tokio::spawn(connect(Arc::clone(shared), Arc::clone(broker))),
        };
        None
    }

    /// Begins from the beginning with another `Broker`, or a changed one.
    fn follow_broker(&mut self, broker: &Object<BrokerSpec>) {
        let identity = (broker.meta.uid.clone(), broker.meta.generation);
        if self.made_for.as_ref() == Some(&identity) {
            return;
        }
        // That it is to be deleted is another generation, too. Its Secret may be gone by now: what there is of a
        // connection is what there is to clean up by.
        let same = self.made_for.as_ref().is_some_and(|(uid, _)| *uid == identity.0);
        if same && broker.meta.deleting.is_some() && self.is_up() {
            return;
        }
        if self.made_for.replace(identity).is_none() {
            self.away = first_away();
            self.attempted = false;
        }
        self.down_since = Instant::now();
        self.excesses = 0;
        self.state = State::idle();
    }
}

/// Before the first attempt.
fn first_away() -> Away {
    Away::Unreachable(Reason::WaitingForBroker, "connecting".to_owned())
}

/// True if an attempt would come to nothing. More than that: a name that is asked for before its Service is there is
/// unknown for as long as the cluster's DNS remembers that, which may be half a minute.
fn is_held(broker: &Object<BrokerSpec>, engine: Option<&EngineState>) -> bool {
    let elsewhere = |annotation: &str| broker.meta.annotations.contains_key(annotation);
    engine.is_some_and(|engine| engine.pending.is_some()) && !elsewhere(AMQP_URI) && !elsewhere(MANAGEMENT_URI)
}
