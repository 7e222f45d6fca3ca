//! What the names in a URL mean.
//!
//! Comes in: path segments, unescaped. Goes out: the queue or exchange, or 404. Does not know about methods.

use super::error::{Failure, Result};
use crate::exchange::Definition;
use crate::queue::Queue;
use crate::vhost::Vhost;
use std::sync::Arc;

/// The default exchange has no name, so URLs call it this.
pub fn from_url(name: &str) -> &str {
    if name == "amq.default" { "" } else { name }
}

/// An exchange by name; empty for the default one.
///
/// # Errors
/// 404 if there is none.
pub fn exchange(vhost: &Vhost, name: &str) -> Result<Definition> {
    let topology = vhost.topology();
    let exchange = topology.exchanges.get(name.as_bytes());
    exchange.map(|x| x.definition.clone()).ok_or(Failure::NotFound)
}

/// A queue by name.
///
/// # Errors
/// 404 if there is none.
pub fn queue(vhost: &Vhost, name: &str) -> Result<Arc<Queue>> {
    let topology = vhost.topology();
    topology.queues.get(name.as_bytes()).cloned().ok_or(Failure::NotFound)
}
