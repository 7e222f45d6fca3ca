//! A channel's part of tracing: who gets messages of a queue here, and who publishes.
//!
//! Comes in: messages that are delivered or published while tracing is on. Goes out: the same, with the names of
//! connection, channel and user. Does not know what becomes of them.

use crate::clients::ConnectionInfo;
use crate::message::Message;
use crate::node::Node;
use crate::outbox::Work;
use crate::publish::trace::{self, Party};
use crate::queue::entry::Entry;
use crate::vhost::Vhost;
use crate::vhost::route::Route;
use leveret_amqp::ShortString;
use std::sync::Arc;

/// The things to tell of deliveries from one queue to one channel.
pub struct Tap {
    /// Their vhost.
    pub vhost: Arc<Vhost>,
    /// The broker.
    pub node: Arc<Node>,
    /// The connection.
    pub client: Arc<ConnectionInfo>,
    /// The number of the channel.
    pub channel: u16,
    /// The name of the queue.
    pub queue: ShortString,
}

impl Tap {
    /// Tells of deliveries, if tracing is on.
    #[inline]
    pub fn delivered(&self, run: &[Entry], work: &mut Work) {
        if self.vhost.is_traced() {
            self.tell(run, work);
        }
    }

    #[cold]
    fn tell(&self, run: &[Entry], work: &mut Work) {
        for entry in run {
            if let Some(message) = &entry.message {
                self.tell_one(message, entry.redelivered, work);
            }
        }
    }

    /// Tells of one delivery. Call it only if tracing is on.
    pub fn tell_one(&self, message: &Message, redelivered: bool, work: &mut Work) {
        party(&self.node, &self.client, self.channel, |party| {
            trace::delivered(&self.vhost, party, &self.queue, (message, redelivered), work);
        });
    }
}

/// Tells of a message that was published on a channel and goes along `route`. Call it only if tracing is on.
#[cold]
pub fn published(
    vhost: &Arc<Vhost>,
    (node, client, channel): (&Node, &ConnectionInfo, u16),
    message: &Message,
    route: &Route,
    work: &mut Work,
) {
    party(node, client, channel, |party| {
        trace::published(vhost, party, message, route, work);
    });
}

fn party(node: &Node, client: &ConnectionInfo, channel: u16, then: impl FnOnce(Party<'_>)) {
    then(Party {
        node: &node.name,
        connection: &client.name(),
        channel,
        user: &client.user,
    });
}
