//! Makes one live connection to a broker out of its three edges: operations, lists, events.
//!
//! In: `Connection`. Out: `Live`, a `Client`. Does not know about resources or what is wanted.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::amqp::Amqp;
use super::client::{About, Backlogs, Client, Connector, Error, Event};
use super::events;
use super::http::Management;
use crate::object::{Connection, Usage};
use crate::topology::Operation;
use crate::topology::{Name, Request, Topology};

/// The exchange in which brokers tell of their events, unless they are told otherwise.
pub const DEFAULT_VHOST: &str = "/";

/// Connects over the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network;

/// A connected broker.
pub struct Live {
    amqp: Amqp,
    management: Management,
    about: About,
    usage: Mutex<Usage>,
    backlogs: Mutex<Arc<Backlogs>>,
}

impl Connector for Network {
    type Client = Live;

    async fn connect(&self, name: &str, connection: Connection) -> Result<(Live, mpsc::Receiver<Event>), Error> {
        let amqp = Amqp::new(name, &connection)?;
        let management = Management::new(&connection)?;
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
        let (topology, backlogs) = listed?;
        *self.backlogs.lock() = Arc::new(backlogs);
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
