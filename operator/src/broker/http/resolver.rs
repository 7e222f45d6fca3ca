//! Looks up the host of a management API, and gives out only addresses that may be connected to.
//!
//! In: a name. Out: addresses, those that are then connected to. Does not know about HTTP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::broker::hosts::Hosts;
use crate::object::Via;

/// The resolver of one broker's connections.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    hosts: Arc<Hosts>,
    via: Via,
}

impl Resolver {
    pub(super) fn new(hosts: &Arc<Hosts>, via: Via) -> Self {
        Self {
            hosts: Arc::clone(hosts),
            via,
        }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { hosts, via } = self.clone();
        Box::pin(async move {
            // The caller puts the port in.
            let found = hosts.resolve(name.as_str(), 0, via).await;
            found.map(Vec::into_iter).map_err(io::Error::other)
        })
    }
}
