//! Makes one live connection to a broker out of its three edges: operations, lists, events.
//!
//! In: `Connection`. Out: `Live`, a `Client`. Does not know about resources or what is wanted.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::amqp::Amqp;
use super::budget::{Budget, Limits, Room};
use super::client::{About, Backlogs, Client, Connector, Error, Event};
use super::events;
use super::hosts::Hosts;
use super::http::{Listed, Management};
use crate::object::{Connection, Usage};
use crate::topology::Operation;
use crate::topology::{Name, Request, Topology};

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
        let (about, heard) = tokio::join!(management.about(), listen(&amqp));
        let mut about = about?;
        let (has_events, events) = heard?;
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
async fn listen(amqp: &Amqp) -> Result<(bool, mpsc::Receiver<Event>), Error> {
    match amqp.connect(DEFAULT_VHOST).await {
        Ok(connection) => events::listen(connection).await,
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

    fn backlogs(&self) -> Arc<Backlogs> {
        Arc::clone(&self.backlogs.lock())
    }

    fn usage(&self) -> Usage {
        self.usage.lock().clone()
    }

    async fn execute(&self, operations: Vec<Operation>) -> Vec<Result<(), Error>> {
        // Operations of one kind all go the same way.
        let requests: Option<Vec<Request>> = operations.iter().map(Operation::request).collect();
        match requests {
            Some(requests) => self.management.execute(requests).await,
            None => self.amqp.execute(&operations).await,
        }
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

#[cfg(test)]
mod tests;
