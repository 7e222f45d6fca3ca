//! The broker as the HTTP API sees it.
//!
//! Comes in: the node, what the server knows beside it, and who looks. Goes out: the vhosts that a URL means; of vhosts
//! and connections those that the user may see. Does not know about requests.

use super::answers::Answers;
use super::error::{Failure, Result};
use super::rights::Seen;
use super::room::Room;
use crate::access::Actor;
use crate::clients::ConnectionInfo;
use crate::listener::tls::Certificates;
use crate::metrics::rates::Rates;
use crate::node::Node;
use crate::protocol::Listener;
use crate::reload::Live;
use crate::vhost::Vhost;
use crate::zeromq::Sockets;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

/// The state that all resources work with, as somebody sees it.
pub struct Admin {
    shared: Arc<Shared>,
    /// Whoever has logged in, and the vhosts that lists show; without a login, everything is seen.
    viewer: Option<(Actor, Seen)>,
    /// True if answers may be compressed.
    pub zips: bool,
}

/// The state that all requests share.
pub struct Shared {
    /// The broker.
    pub node: Arc<Node>,
    /// The sockets of the settings that it listens on.
    fixed: Vec<Listener>,
    /// ZeroMQ's sockets.
    pub sockets: Arc<Sockets>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The settings that are in force.
    pub live: Arc<Live>,
    /// The certificates of those with TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Rates of the counters.
    pub rates: Arc<Rates>,
    /// Places for answers of the API.
    pub answers: Answers,
    /// Places for metrics of each object, and for sums: whoever reads the former slowly is not in the way of the
    /// latter.
    pub scrapes: [Answers; 2],
    /// Room for bodies of requests.
    pub room: Room,
}

impl Deref for Admin {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Answers of the API at a time that are being written, and metrics: each takes a thread.
const WRITTEN: usize = 8;
const SCRAPES: usize = 2;

impl Admin {
    /// The API of a node that listens on these addresses, and takes bodies of so many bytes.
    pub fn new(
        node: Arc<Node>,
        (listeners, sockets): (Vec<Listener>, Arc<Sockets>),
        certificates: Option<Arc<Certificates>>,
        data_dir: PathBuf,
        live: Arc<Live>,
        largest_body: u64,
    ) -> Self {
        let places = |at_a_time| Answers::new(node.memory.clone(), at_a_time);
        let shared = Shared {
            answers: places(WRITTEN),
            scrapes: [places(SCRAPES), places(SCRAPES)],
            node,
            fixed: listeners,
            sockets,
            certificates,
            data_dir,
            live,
            rates: Arc::default(),
            room: Room::new(largest_body),
        };
        Self {
            shared: Arc::new(shared),
            viewer: None,
            zips: false,
        }
    }

    /// The same as a user sees it, whose client may accept compressed answers.
    pub fn seen_by(&self, viewer: &Actor, seen: Seen, zips: bool) -> Arc<Self> {
        Arc::new(Self {
            shared: self.shared.clone(),
            viewer: Some((viewer.clone(), seen)),
            zips,
        })
    }

    /// All sockets that the broker listens on at the moment.
    pub fn listeners(&self) -> Vec<Listener> {
        let mut all = self.fixed.clone();
        all.extend(self.sockets.listeners());
        all
    }

    fn viewer(&self) -> Option<&Actor> {
        self.viewer.as_ref().map(|(viewer, _)| viewer)
    }

    /// True if everything is seen.
    pub fn sees_all(&self) -> bool {
        self.viewer().is_none_or(|viewer| viewer.tags.is_monitor())
    }

    /// The connections that are seen, oldest first: those of the user, if not all.
    pub fn connections(&self) -> Vec<Arc<ConnectionInfo>> {
        let mut connections = self.node.connections.list();
        if let Some(viewer) = self.viewer().filter(|_| !self.sees_all()) {
            connections.retain(|connection| connection.user == viewer.user);
        }
        connections
    }

    /// Refuses to show something of another user; with `change`, to change it.
    ///
    /// # Errors
    /// 401 with RabbitMQ's words.
    pub fn check_owner(&self, owner: &str, change: bool) -> Result<()> {
        let allowed = self.viewer().is_none_or(|viewer| {
            let tags = &viewer.tags;
            viewer.user == owner || tags.is_administrator() || (tags.is_monitor() && !change)
        });
        if allowed {
            return Ok(());
        }
        Err(Failure::Refused("User not authorised to access object".into()))
    }

    /// Refuses what RabbitMQ does on a channel of the user's: who may not enter the vhost has none there,
    /// administrators neither.
    ///
    /// # Errors
    /// 401 with RabbitMQ's words.
    pub fn check_enters(&self, vhost: &Vhost) -> Result<()> {
        let viewer = self.viewer();
        match viewer.is_none_or(|viewer| viewer.may_enter(&vhost.name)) {
            true => Ok(()),
            false => Err(Failure::Refused("Access refused.".into())),
        }
    }

    /// A vhost of a URL.
    ///
    /// # Errors
    /// 404 if there is none.
    pub fn vhost(&self, name: &str) -> Result<Arc<Vhost>> {
        self.node.vhost(name).ok_or(Failure::NotFound)
    }

    /// The vhosts that a list is about, by name: the one of the URL, or all that are seen.
    ///
    /// # Errors
    /// 404 if the one of the URL doesn't exist.
    pub fn vhosts(&self, name: Option<&str>) -> Result<Vec<Arc<Vhost>>> {
        if let Some(name) = name {
            return self.vhost(name).map(|vhost| vec![vhost]);
        }
        let mut vhosts = self.node.vhosts();
        if let Some((viewer, Seen::Entered)) = &self.viewer {
            vhosts.retain(|vhost| viewer.may_enter(&vhost.name));
        }
        Ok(vhosts)
    }

    /// The vhost that a change is made in.
    ///
    /// # Errors
    /// 404 with RabbitMQ's words if there is none.
    pub fn vhost_of_change(&self, name: &str) -> Result<Arc<Vhost>> {
        let missing = || Failure::Missing("vhost_not_found".into());
        self.node.vhost(name).ok_or_else(missing)
    }
}
