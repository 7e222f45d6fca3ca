//! A broker in memory, for tests of the loop: it does what RabbitMQ does, counts what it is asked, and fails on demand.
//!
//! In: `Operation`s. Out: answers, events. Does not know about resources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::client::{About, Backlogs, BindingEvent, Client, Connector, Dialect, Error, Event};
use crate::object::Connection;
use crate::topology::backlog::Backlog;
use crate::topology::named::Definition as _;
use crate::topology::{
    Declared, End, ExchangeDefinition, Identity, Name, SocketState, Topology, ZeroMqSocketDefinition,
};
use crate::topology::{Operation, Order};

/// Brokers by AMQP URI. Cheap to clone: all clones are the same brokers.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    brokers: Arc<Mutex<BTreeMap<String, Broker>>>,
}

/// One broker, as tests see and change it.
#[derive(Default)]
pub(crate) struct Broker {
    pub(crate) topology: Topology,
    pub(crate) messages: BTreeMap<Name, u32>,
    /// Ports that something else has.
    pub(crate) taken: BTreeSet<u16>,
    /// Answers to operations on an object of this name, instead of doing them.
    pub(crate) refusals: BTreeMap<String, (u16, String)>,
    /// Deeds of another client, each right after an operation on an object of this name, which is then done in part.
    pub(crate) crossings: BTreeMap<String, Vec<Operation>>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) lists: usize,
    pub(crate) attempts: usize,
    pub(crate) state: State,
    pub(crate) silent_events: bool,
    /// More stands on it than is read.
    pub(crate) too_much: bool,
    /// Whom it lets in.
    pub(crate) password: String,
    listeners: Vec<mpsc::Sender<Event>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Up,
    /// Connections are refused.
    Down,
    /// Nothing is ever answered.
    BlackHole,
}

impl Fake {
    pub(crate) fn with<R>(&self, uri: &str, change: impl FnOnce(&mut Broker) -> R) -> R {
        let mut brokers = self.brokers.lock();
        let broker = brokers.entry(uri.to_owned()).or_insert_with(|| {
            let mut broker = Broker::default();
            broker.predeclare();
            broker
        });
        change(broker)
    }
}

impl Broker {
    fn predeclare(&mut self) {
        let direct = ExchangeDefinition {
            kind: "direct".to_owned(),
            durable: true,
            ..ExchangeDefinition::default()
        };
        self.topology.exchanges.insert(Name::new("/", "amq.direct"), direct);
    }

    /// As after a crash with an empty disk.
    pub(crate) fn restart_empty(&mut self) {
        self.topology = Topology::default();
        self.predeclare();
        self.messages.clear();
        self.disconnect();
    }

    pub(crate) fn disconnect(&mut self) {
        for listener in self.listeners.drain(..) {
            let _ = listener.try_send(Event::Lost("connection reset".to_owned()));
        }
    }

    /// Does something as another client would: it is not counted, and told by events.
    pub(crate) fn by_hand(&mut self, operation: &Operation) -> Result<(), Error> {
        let before = self.topology.clone();
        let result = self.perform(operation);
        if !self.silent_events {
            for event in changes(&before, &self.topology) {
                self.listeners
                    .retain(|listener| listener.try_send(event.clone()).is_ok());
            }
        }
        result
    }

    /// Its sockets, which are open where nothing else has their ports.
    fn sockets(&self) -> BTreeMap<Name, ZeroMqSocketDefinition> {
        let mut all = self.topology.zeromqsockets.clone();
        for socket in all.values_mut() {
            let listen = socket.demands().listen.expect("an address");
            let is_taken = self.taken.contains(&listen.port);
            socket.state = Some(SocketState {
                address: (!is_taken).then(|| listen.to_string()),
                error: is_taken.then(|| "Address already in use (os error 98)".to_owned()),
                public_key: socket.key.as_ref().map(|key| key.public().to_owned()),
            });
        }
        all
    }

    fn answer(&mut self, operation: &Operation) -> Result<(), Error> {
        self.operations.push(operation.clone());
        let name = match operation.identity() {
            Identity::Binding(binding) => binding.routing_key,
            other => other.target().map(|target| target.name.name).unwrap_or_default(),
        };
        if let Some((code, text)) = self.refusals.get(&name) {
            return Err(refused(*code, text));
        }
        let result = self.by_hand(operation);
        match self.crossings.get_mut(&name).and_then(Vec::pop) {
            None => result,
            Some(crossing) => {
                self.by_hand(&crossing)?;
                Err(Error::Partly(Box::new(refused(404, "Object Not Found"))))
            }
        }
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), Error> {
        let topology = &self.topology;
        match operation {
            Operation::Declare(declared) => {
                if let Declared::Binding(binding) = declared {
                    if !topology.has(&binding.from()) {
                        let text = format!("NOT_FOUND - no exchange '{}' in vhost '/'", binding.source);
                        return Err(refused(404, &text));
                    }
                    if !topology.has(&binding.to()) {
                        return Err(refused(404, &format!("NOT_FOUND - no queue '{}'", binding.destination)));
                    }
                }
                let differs = declared.differences(topology).is_some_and(|list| !list.is_empty());
                if differs && !declared.is_mutable() {
                    return Err(refused(406, "inequivalent arg"));
                }
            }
            Operation::Remove {
                identity: Identity::Queue(name),
                if_free: true,
            } => {
                // RabbitMQ 4.3: a condition is for classic queues only; a stream does not even answer so.
                let type_ = topology
                    .queues
                    .get(name)
                    .and_then(|queue| queue.arguments().get("x-queue-type"));
                if type_.is_some() {
                    return Err(refused(540, "NOT_IMPLEMENTED - if-empty"));
                }
                if self.messages.get(name).is_some_and(|count| *count > 0) {
                    return Err(refused(406, "PRECONDITION_FAILED - queue not empty"));
                }
            }
            Operation::Remove {
                identity: Identity::Exchange(name),
                if_free: true,
            } => {
                let used = topology.bindings.iter().any(|binding| &binding.source_name() == name);
                if used {
                    return Err(refused(
                        406,
                        &format!("PRECONDITION_FAILED - exchange '{}' in use", name.name),
                    ));
                }
            }
            Operation::Remove { .. } => {}
        }
        operation.apply(&mut self.topology);
        if let Operation::Remove {
            identity: Identity::Queue(name),
            ..
        } = operation
        {
            self.messages.remove(name);
        }
        Ok(())
    }
}

fn refused(code: u16, text: &str) -> Error {
    Error::Refused {
        code,
        text: text.to_owned(),
    }
}

/// The events that lead from one topology to another.
fn changes(before: &Topology, after: &Topology) -> Vec<Event> {
    let mut events = Vec::new();
    let binding = |binding: &crate::topology::BindingDefinition| BindingEvent {
        vhost: binding.vhost.clone(),
        source: binding.source.clone(),
        destination: binding.destination.clone(),
        to_queue: binding.end == End::Queue,
        routing_key: binding.routing_key.clone(),
        has_arguments: !binding.arguments.is_empty(),
    };
    let gone = |name: &Name, map: bool| map.then(|| name.clone());
    let users = before.users.keys();
    events.extend(
        users
            .filter_map(|name| gone(name, !after.users.contains_key(name)))
            .map(Event::UserDeleted),
    );
    for (name, user) in &after.users {
        match before.users.get(name) {
            None => events.push(Event::UserCreated(name.clone())),
            Some(old) if old != user => events.push(Event::UserSet(name.clone())),
            Some(_) => {}
        }
    }
    events.extend(
        before
            .bindings
            .difference(&after.bindings)
            .map(|gone| Event::BindingDeleted(binding(gone))),
    );
    for (name, vhost) in &after.vhosts {
        match before.vhosts.get(name) {
            None => events.push(Event::VhostCreated(name.clone())),
            Some(known) if known != vhost => events.push(Event::VhostUpdated(name.clone())),
            Some(_) => {}
        }
    }
    events.extend(
        before
            .vhosts
            .keys()
            .filter_map(|name| gone(name, !after.vhosts.contains_key(name)))
            .map(Event::VhostDeleted),
    );
    for name in before
        .zeromqsockets
        .keys()
        .filter(|name| !after.zeromqsockets.contains_key(*name))
    {
        events.push(Event::ZeroMqSocketCleared(name.clone()));
    }
    for (name, socket) in &after.zeromqsockets {
        if before.zeromqsockets.get(name) != Some(socket) {
            events.push(Event::ZeroMqSocketSet(name.clone()));
        }
    }
    events.extend(
        before
            .queues
            .keys()
            .filter_map(|name| gone(name, !after.queues.contains_key(name)))
            .map(Event::QueueDeleted),
    );
    events.extend(
        before
            .exchanges
            .keys()
            .filter_map(|name| gone(name, !after.exchanges.contains_key(name)))
            .map(Event::ExchangeDeleted),
    );
    events.extend(
        after
            .exchanges
            .keys()
            .filter_map(|name| gone(name, !before.exchanges.contains_key(name)))
            .map(Event::ExchangeCreated),
    );
    events.extend(
        after
            .queues
            .keys()
            .filter_map(|name| gone(name, !before.queues.contains_key(name)))
            .map(Event::QueueCreated),
    );
    events.extend(
        after
            .bindings
            .difference(&before.bindings)
            .map(|new| Event::BindingCreated(binding(new))),
    );
    events
}

/// A connection to one of them.
pub(crate) struct FakeClient {
    uri: String,
    fake: Fake,
    about: About,
}

impl FakeClient {
    /// Asks the broker, if it answers.
    async fn ask<R>(&self, question: impl FnOnce(&mut Broker) -> R) -> Result<R, Error> {
        match self.fake.with(&self.uri, |broker| broker.state) {
            State::Up => Ok(self.fake.with(&self.uri, question)),
            State::Down => Err(Error::Unreachable("connection refused".to_owned())),
            State::BlackHole => std::future::pending().await,
        }
    }
}

impl Connector for Fake {
    type Client = FakeClient;

    async fn connect(&self, _: &str, connection: Connection) -> Result<(FakeClient, mpsc::Receiver<Event>), Error> {
        let uri = connection.amqp_uri.clone();
        let client = FakeClient {
            uri: uri.clone(),
            fake: self.clone(),
            about: About {
                version: "Fake 1".to_owned(),
                identity: None,
                has_events: !self.with(&uri, |broker| broker.silent_events),
                dialect: Dialect::default(),
            },
        };
        let known = self.with(&uri, |broker| {
            broker.attempts += 1;
            broker.password == connection.password
        });
        if !known {
            return Err(Error::Credentials("ACCESS_REFUSED".to_owned()));
        }
        let (sender, receiver) = mpsc::channel(10_000);
        client.ask(|broker| broker.listeners.push(sender)).await?;
        Ok((client, receiver))
    }
}

impl Client for FakeClient {
    fn about(&self) -> &About {
        &self.about
    }

    async fn list(&self) -> Result<Topology, Error> {
        self.ask(|broker| {
            broker.lists += 1;
            match broker.too_much {
                true => Err(Error::TooMuch("its answer has more than 16 MiB".to_owned())),
                false => Ok(Topology {
                    zeromqsockets: broker.sockets(),
                    ..broker.topology.clone()
                }),
            }
        })
        .await?
    }

    async fn sockets(&self) -> Result<BTreeMap<Name, ZeroMqSocketDefinition>, Error> {
        self.ask(|broker| broker.sockets()).await
    }

    fn backlogs(&self) -> Arc<Backlogs> {
        let backlog = |count: u32| Backlog {
            ready: count.into(),
            ..Backlog::default()
        };
        self.fake.with(&self.uri, |broker| {
            let names = broker.topology.queues.keys();
            let rows = names.map(|name| {
                (
                    name.clone(),
                    backlog(broker.messages.get(name).copied().unwrap_or_default()),
                )
            });
            Arc::new(rows.collect())
        })
    }

    async fn execute(&self, orders: Vec<Order>) -> Vec<Result<(), Error>> {
        let mut results = Vec::new();
        for Order { operation, .. } in &orders {
            let result = self.ask(|broker| broker.answer(operation)).await;
            results.push(result.and_then(|result| result));
        }
        results
    }

    async fn message_count(&self, queue: &Name) -> Result<Option<u32>, Error> {
        self.ask(|broker| {
            let count = broker.messages.get(queue).copied().unwrap_or_default();
            broker.topology.queues.contains_key(queue).then_some(count)
        })
        .await
    }

    async fn close(&self) {}
}
