//! The broker as the HTTP API sees it.
//!
//! Comes in: the node and what the server knows beside it. Goes out: the vhosts that a URL means. Does not know about
//! requests.

use super::error::{Failure, Result};
use crate::metrics::rates::Rates;
use crate::node::Node;
use crate::protocol::Listener;
use crate::vhost::Vhost;
use std::path::PathBuf;
use std::sync::Arc;

/// The state that all resources work with.
pub struct Admin {
    /// The broker.
    pub node: Arc<Node>,
    /// The sockets that it listens on.
    pub listeners: Vec<Listener>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Rates of the counters.
    pub rates: Arc<Rates>,
}

impl Admin {
    /// The API of a node that listens on these addresses.
    pub fn new(node: Arc<Node>, listeners: Vec<Listener>, data_dir: PathBuf) -> Self {
        let rates = Arc::default();
        Self {
            node,
            listeners,
            data_dir,
            rates,
        }
    }

    /// A vhost of a URL.
    ///
    /// # Errors
    /// 404 if there is none.
    pub fn vhost(&self, name: &str) -> Result<Arc<Vhost>> {
        self.node.vhost(name).ok_or(Failure::NotFound)
    }

    /// The vhosts that a list is about, by name: the one of the URL, or all.
    ///
    /// # Errors
    /// 404 if the one of the URL doesn't exist.
    pub fn vhosts(&self, name: Option<&str>) -> Result<Vec<Arc<Vhost>>> {
        if let Some(name) = name {
            return self.vhost(name).map(|vhost| vec![vhost]);
        }
        let mut vhosts = self.node.vhosts();
        vhosts.sort_by(|a, b| a.name.cmp(&b.name));
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
