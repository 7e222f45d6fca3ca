//! A consumer of a channel, as its queue sees it.
//!
//! Comes in: runs of messages from the queue, on whatever thread published or settled. Goes out: the same to the
//! channel's delivering side, with the consumer's tag; basic.cancel when the queue has gone.

use super::deliver::Deliveries;
use crate::limits::Held;
use crate::outbox::{Stalled, Wakes};
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Allowance, Subscriber};
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
    _held: Held,
}

impl Subscription {
    /// A consumer whose messages are noted under `source`. `cancel_notify`: the client understands basic.cancel from
    /// the broker. `held` is the memory that it counts for.
    pub fn new(
        deliveries: Arc<Deliveries>,
        source: u32,
        tag: ShortString,
        no_ack: bool,
        cancel_notify: bool,
        held: Held,
    ) -> Self {
        Self {
            deliveries,
            source,
            tag,
            no_ack,
            cancel_notify,
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
        // The channel's limit lies beside counters that other threads change: not to be looked at without need.
        let shared_credit = match self.no_ack {
            true => None,
            false => self.deliveries.channel_credit(),
        };
        Allowance {
            room: self.deliveries.outbox().room(),
            shared_credit,
        }
    }

    fn deliver(&self, run: &[Entry], wakes: &mut Wakes) {
        let tag = self.tag.as_bytes();
        self.deliveries.deliver(wakes, self.source, tag, self.no_ack, run);
    }

    fn stall(&self, queue: &Arc<dyn Stalled>) -> bool {
        self.deliveries.outbox().stall(queue)
    }

    fn take_back(&self, overdue: Vec<MessageId>) -> Vec<MessageId> {
        match overdue.is_empty() {
            true => overdue,
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
            .append(wakes, |out| put_method_frame(out, channel, &cancel));
    }
}
