//! Makes one live connection to a broker out of its three edges: operations, lists, events.
//!
//! In: `Connection`. Out: `Live`, a `Client`. Does not know about resources or what is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::amqp::Amqp;
use super::budget::{Budget, Limits, Room};
use super::client::{About, Backlogs, Client, Connector, Dialect, Error, Event, Settled};
use super::events;
use super::hosts::Hosts;
use super::http::{Listed, Management};
use crate::object::{Connection, Usage};
use crate::topology::{Identity, Name, Operation, Order, Request, Topology, Verb, ZeroMqSocketDefinition, escaped};

/// The exchange in which brokers tell of their events, unless they are told otherwise.
pub const DEFAULT_VHOST: &str = "/";

/// Connects over the network, to hosts that it may connect to, within the memory that all brokers share.
#[derive(Clone, Debug)]
pub struct Network {
    hosts: Arc<Hosts>,
    budget: Arc<Budget>,
}

/// Enough for any broker, so that only a mistake comes near.
const COMMANDS: Limits = Limits {
    answer: 256 * 1024 * 1024,
    memory: 2 * 1024 * 1024 * 1024,
    remedy: "this program reads no more",
};

impl Default for Network {
    /// For commands: whoever runs one names the host, and could connect to it without.
    fn default() -> Self {
        Self::new(Hosts::any(), COMMANDS)
    }
}

impl Network {
    pub fn new(hosts: Hosts, limits: Limits) -> Self {
        Self {
            hosts: Arc::new(hosts),
            budget: Budget::new(limits),
        }
    }

    /// The management API of a broker.
    ///
    /// # Errors
    /// See [`Management::new`].
    pub fn management(&self, connection: &Connection) -> Result<Management, Error> {
        Management::new(connection, &self.hosts, &self.budget)
    }
}

/// A connected broker.
pub struct Live {
    amqp: Amqp,
    management: Management,
    about: About,
    usage: Mutex<Usage>,
    backlogs: Mutex<Arc<Backlogs>>,
    /// The memory of what was last listed.
    room: Mutex<Option<Room>>,
}

impl Connector for Network {
    type Client = Live;

    async fn connect(&self, name: &str, connection: Connection) -> Result<(Live, mpsc::Receiver<Event>), Error> {
        let amqp = Amqp::new(name, &connection, &self.hosts)?;
        let management = self.management(&connection)?;
        management.check_host().await?;
        let cleans_up_later = Arc::new(AtomicBool::new(true));
        let (about, heard) = tokio::join!(management.about(), listen(&amqp, Arc::clone(&cleans_up_later)));
        let mut about = about?;
        let (has_events, events) = heard?;
        cleans_up_later.store(about.dialect != Dialect::Leveret, Ordering::Relaxed);
        about.has_events = has_events;
        let live = Live {
            amqp,
            management,
            about,
            usage: Mutex::default(),
            backlogs: Mutex::default(),
            room: Mutex::default(),
        };
        Ok((live, events))
    }
}

/// Listens for events where the user may; otherwise the connection is only watched by its lists.
async fn listen(amqp: &Amqp, cleans_up_later: Arc<AtomicBool>) -> Result<(bool, mpsc::Receiver<Event>), Error> {
    match amqp.connect(DEFAULT_VHOST).await {
        Ok(connection) => events::listen(connection, cleans_up_later).await,
        Err(Error::Vhost(text)) => {
            tracing::info!("no events from this broker ({text}): changes made by others are found by the next list");
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move { sender.closed().await });
            Ok((false, receiver))
        }
        Err(error) => Err(error),
    }
}

impl Client for Live {
    fn about(&self) -> &About {
        &self.about
    }

    async fn list(&self) -> Result<Topology, Error> {
        let (listed, usage) = tokio::join!(self.management.list(), self.management.usage());
        let mut known = self.usage.lock();
        *known = usage.after(&known);
        let Listed {
            topology,
            backlogs,
            room,
        } = listed?;
        *self.backlogs.lock() = Arc::new(backlogs);
        // What was listed before goes as soon as this has been taken in.
        *self.room.lock() = Some(room);
        Ok(topology)
    }

    async fn settled(&self) -> Option<Settled> {
        match self.about.dialect {
            Dialect::Leveret => self.management.settled().await,
            Dialect::RabbitMq4 | Dialect::Other => None,
        }
    }

    async fn sockets(&self) -> Result<BTreeMap<Name, ZeroMqSocketDefinition>, Error> {
        self.management.sockets().await
    }

    fn backlogs(&self) -> Arc<Backlogs> {
        Arc::clone(&self.backlogs.lock())
    }

    fn usage(&self) -> Usage {
        self.usage.lock().clone()
    }

    async fn execute(&self, orders: Vec<Order>) -> Vec<Result<(), Error>> {
        let dialect = self.about.dialect;
        let (mut by_http, mut requests, mut by_amqp) = (Vec::new(), Vec::new(), Vec::new());
        for (
            index,
            Order {
                operation,
                requests: known,
            },
        ) in orders.into_iter().enumerate()
        {
            let known = match if_idle(&operation, dialect) {
                Some(deletion) => vec![deletion],
                None if operation.is_http() => known,
                None => {
                    by_amqp.push((index, operation));
                    continue;
                }
            };
            let home = operation.declares().then(|| operation.vhost().to_owned());
            by_http.push((index, home.filter(|vhost| !vhost.is_empty())));
            requests.push(known);
        }
        let (indexes, operations): (Vec<usize>, Vec<Operation>) = by_amqp.into_iter().unzip();
        let (http, amqp) = tokio::join!(self.management.execute(requests), self.amqp.execute(&operations));
        let http = by_http
            .into_iter()
            .zip(http)
            .map(|((index, home), result)| (index, as_by_amqp(result, home.as_deref())));
        let mut results: Vec<_> = http.chain(indexes.into_iter().zip(amqp)).collect();
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    async fn message_count(&self, queue: &Name) -> Result<Option<u32>, Error> {
        let (ready, held) = tokio::join!(self.amqp.message_count(queue), self.management.messages(queue));
        let Some(ready) = ready? else { return Ok(None) };
        held.map(|held| Some(held.unwrap_or_default().max(ready)))
    }

    async fn close(&self) {
        self.amqp.close().await;
    }
}

/// The deletion of a queue of which nobody has a message, where the broker does that in one step. Another than this
/// dialect's newest broker does not know `if-idle`, and obeys `if-empty`.
fn if_idle(operation: &Operation, dialect: Dialect) -> Option<Request> {
    match operation {
        Operation::Remove {
            identity: Identity::Queue(name),
            if_free: true,
        } if dialect == Dialect::Leveret => Some(Request {
            verb: Verb::Delete,
            path: format!(
                "/api/queues/{}/{}?if-empty=true&if-idle=true",
                escaped(&name.vhost),
                escaped(&name.name)
            ),
            body: None,
        }),
        _ => None,
    }
}

/// A queue that is not deleted for its messages is refused as AMQP does it, and so is what would be made in a virtual
/// host, `home`, that is not there.
fn as_by_amqp(result: Result<(), Error>, home: Option<&str>) -> Result<(), Error> {
    match (result, home) {
        (Err(Error::Partly(error)), home) => match as_by_amqp(Err(*error), home) {
            Err(error) => Err(Error::Partly(Box::new(error))),
            Ok(()) => Ok(()),
        },
        (Err(Error::Refused { code: 404, .. }), Some(vhost)) => {
            Err(Error::Vhost(format!("vhost '{vhost}' does not exist")))
        }
        // A permission.
        (Err(Error::Refused { code: 400, text }), _) if text.contains("vhost_or_user_not_found") => {
            Err(Error::Vhost("a vhost of its permissions does not exist".to_owned()))
        }
        (result, _) => full(result),
    }
}

fn full(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Refused { code: 400, text }) if text.contains("not empty") => {
            Err(Error::Refused { code: 406, text })
        }
        result => result,
    }
}

#[cfg(test)]
mod tests;
