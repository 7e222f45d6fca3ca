//! The way of a published message, whichever protocol it came by: checked, routed, staged, logged, enqueued, confirmed.
//!
//! Comes in: whole messages, with a tag where the client awaits a confirm. Goes out: messages to queues and the log,
//! one append per batch; for each channel, the tag up to which its messages were handed on and the position of the log
//! that they wait for.
//! Does not know about frames, channels' states or transactions.

/// Properties that mean something to the broker.
pub mod check;

/// Messages that a client awaits confirms for.
pub mod confirm;

/// Messages of one batch, enqueued together.
pub mod stage;

/// Messages that several queues share.
pub mod batch;

/// Copies of messages, where tracing is on.
pub mod trace;

use crate::access::Actor;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::node::Totals;
use crate::sizes::Untold;
use crate::vhost::Vhost;
use crate::vhost::route::{NoRoute, Route};
use crate::vhost::routes::RouteCache;
use batch::Batch;
use bytes::Bytes;
use leveret_amqp::ShortString;
use stage::Stage;

/// The publishing side of one connection, while it publishes: most connections are idle, or only consume.
#[derive(Default)]
pub struct Publishing(Option<Box<Publisher>>);

/// The publishing side of one connection, over all of its channels.
#[derive(Default)]
pub struct Publisher {
    /// Messages routed but not yet enqueued.
    pub stage: Stage,
    /// The frames that messages come from.
    pub batch: Batch,
    routes: RouteCache,
    received: Received,
    /// Copies for queues in this batch.
    copies: usize,
    /// It has not been used since the last look.
    rests: bool,
}

/// Copies for queues, and steps on the way to them, after which a batch ends and others have their turn: some
/// milliseconds.
const MUCH: usize = 200_000;

/// Messages received since the node's counters were last added to.
#[derive(Debug, Default)]
struct Received {
    messages: u64,
    to_confirm: u64,
    sizes: Untold,
}

impl Publishing {
    /// For a message that is among these frames.
    #[inline]
    pub fn begin(&mut self, frames: &Bytes) {
        if self.0.is_none() {
            self.get().batch.begin(frames);
        }
    }

    /// For a message.
    #[inline]
    pub fn get(&mut self) -> &mut Publisher {
        self.0.get_or_insert_default()
    }

    /// For what it may have done. `None` if it has done nothing.
    #[inline]
    pub fn known(&mut self) -> Option<&mut Publisher> {
        self.0.as_deref_mut()
    }

    /// Some time has gone by: gives up what it knows, if it has not been used since the last time.
    pub fn rest(&mut self) {
        self.0
            .take_if(|publisher| std::mem::replace(&mut publisher.rests, true));
    }
}

impl Publisher {
    /// The queues that a message goes to, if `actor` may publish it. `to_confirm`: the client awaits an answer to it.
    ///
    /// # Errors
    /// 404 no such exchange, 403 internal exchange or no right to it, 406 too many steps to its queues.
    pub fn route(&mut self, vhost: &Vhost, actor: &Actor, message: &Message, to_confirm: bool) -> Result<Route> {
        self.received.messages += 1;
        self.received.to_confirm += u64::from(to_confirm);
        self.received.sizes.note(message.body_len().into());
        let route = self.routes.route(vhost, Some(actor), message);
        self.copies += route.as_ref().map_or(0, |route| route.queues.len());
        route.map_err(|reason| no_route(reason, vhost, message))
    }

    /// The same for a message that was counted before, and could not be delivered.
    ///
    /// # Errors
    /// As [`Publisher::route`].
    #[cold]
    pub fn route_again(&mut self, vhost: &Vhost, actor: &Actor, message: &Message) -> Result<Route> {
        let route = self.routes.route(vhost, Some(actor), message);
        route.map_err(|reason| no_route(reason, vhost, message))
    }

    /// True if the messages of this batch lead so far, or to so many queues, that the next one should wait for others.
    #[inline]
    pub fn has_done_much(&self) -> bool {
        self.copies + self.routes.steps() >= MUCH
    }

    /// The end of a batch: adds its messages to the counters of node, vhost and exchanges. Gives those for which the
    /// client awaits no answer.
    pub fn count(&mut self, totals: &Totals, vhost: &Vhost) -> u64 {
        self.copies = 0;
        self.routes.end_batch();
        let Received {
            messages,
            to_confirm,
            sizes,
        } = &mut self.received;
        let (messages, to_confirm) = (std::mem::take(messages), std::mem::take(to_confirm));
        if messages > 0 {
            self.rests = false;
            totals.published.count(messages, to_confirm);
            vhost.published.count(messages, to_confirm);
            sizes.tell(&totals.sizes);
        }
        messages - to_confirm
    }
}

/// The error of a client that publishes to an exchange that isn't there, or isn't for it.
#[cold]
pub fn no_route(reason: NoRoute, vhost: &Vhost, message: &Message) -> Error {
    let name = ShortString::try_from(message.exchange()).unwrap_or_default();
    match reason {
        NoRoute::Missing => Error::missing("exchange", &name, &vhost.name),
        NoRoute::Internal => {
            let (name, vhost) = (name.to_str_lossy(), &vhost.name);
            Error::AccessRefused(format!("cannot publish to internal exchange '{name}' in vhost '{vhost}'").into())
        }
        NoRoute::Refused(error) => *error,
    }
}
