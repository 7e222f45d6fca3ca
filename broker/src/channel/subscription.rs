//! A consumer of a channel, as its queue sees it.
//!
//! Comes in: runs of messages from the queue, on whatever thread published or settled. Goes out: the same to the
//! channel's delivering side, with the consumer's tag; basic.cancel when the queue has gone.

use super::deliver::{Deliveries, Destination};
use super::tap::Tap;
use crate::limits::Held;
use crate::outbox::{Stalled, Wakes, Work};
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Again, Allowance, Overdue, Subscriber};
use leveret_amqp::method::BasicCancel;
use leveret_amqp::{Method, ShortString, put_method_frame};
use leveret_store::MessageId;
use std::sync::Arc;

/// One consumer of a channel.
pub struct Subscription {
    deliveries: Arc<Deliveries>,
    source: u32,
    tag: ShortString,
    no_ack: bool,
    cancel_notify: bool,
    tap: Option<Tap>,
    _held: Held,
}

/// The consumer as its client knows it.
pub struct ToClient {
    /// Its tag.
    pub tag: ShortString,
    /// True if it acknowledges nothing.
    pub no_ack: bool,
    /// True if the client understands basic.cancel from the broker.
    pub cancel_notify: bool,
}

impl Subscription {
    /// A consumer whose messages are noted under `source`, and told to `tap`, where a vhost can be
    /// traced. `held` is the memory that it counts for.
    pub fn new(deliveries: Arc<Deliveries>, source: u32, terms: ToClient, tap: Option<Tap>, held: Held) -> Self {
        let ToClient {
            tag,
            no_ack,
            cancel_notify,
        } = terms;
        Self {
            deliveries,
            source,
            tag,
            no_ack,
            cancel_notify,
            tap,
            _held: held,
        }
    }
}

/// RabbitMQ's consumer cancel notification.
pub fn cancellation(consumer_tag: ShortString) -> BasicCancel {
    BasicCancel {
        consumer_tag,
        no_wait: true,
    }
}

impl Subscriber for Subscription {
    fn allowance(&self) -> Allowance {
        let room = match self.deliveries.is_held_back() || (!self.no_ack && self.deliveries.has_enough()) {
            true => 0,
            false => self.deliveries.outbox().room(),
        };
        Allowance {
            room,
            shared_credit: self.deliveries.channel_credit(),
        }
    }

    fn deliver(&self, run: &[Entry], again: Again, work: &mut Work) -> u64 {
        let to = Destination {
            source: self.source,
            tag: self.tag.as_bytes(),
            no_ack: self.no_ack,
        };
        if let Some(tap) = &self.tap {
            tap.delivered(run, work);
        }
        self.deliveries.deliver(&mut work.wakes, to, run, again)
    }

    fn stall(&self, queue: &Arc<dyn Stalled>) -> bool {
        if self.deliveries.is_held_back() && self.deliveries.keep_waiting(queue) {
            return true;
        }
        let outbox = self.deliveries.outbox();
        if self.no_ack || !self.deliveries.has_enough() {
            return outbox.stall(queue);
        }
        self.deliveries.pause(queue)
    }

    fn line_up(&self, queue: &Arc<dyn Stalled>, consumer: u64) -> bool {
        self.deliveries.line_up(queue, consumer)
    }

    fn take_back(&self, overdue: Vec<Overdue>) -> Vec<MessageId> {
        match overdue.is_empty() {
            true => Vec::new(),
            false => self.deliveries.take_back(self.source, &overdue),
        }
    }

    /// RabbitMQ's consumer cancel notification.
    fn cancelled(&self, wakes: &mut Wakes) {
        if !self.cancel_notify {
            return;
        }
        let channel = self.deliveries.channel();
        let cancel = Method::BasicCancel(cancellation(self.tag.clone()));
        self.deliveries
            .outbox()
            .append(wakes, |out| put_method_frame(out.encoded(), channel, &cancel));
    }
}
