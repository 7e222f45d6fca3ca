//! Events, for the queues that are bound to the event exchange of a vhost, and to that of `/`, where those of all
//! vhosts are told (RabbitMQ).
//!
//! Comes in: the objects created and deleted, and the user who did it; other messages of the broker's own. Goes out:
//! transient messages in the queues that are bound there. They are not logged: a client that has missed events lists
//! the topology again.

use super::shared::{Audience, MAIN};
use super::state::Vhost;
use crate::events::{EXCHANGE, Event};
use crate::message::Message;
use crate::outbox::Work;
use crate::queue::entry::{Entry, NOWHERE};
use std::sync::{Arc, Weak};

impl Vhost {
    /// Has the events of all vhosts told here, if this is the one where they are told.
    pub fn listen(self: &Arc<Self>) {
        if self.name == MAIN {
            let me: Weak<Self> = Arc::downgrade(self);
            self.shared.set_audience(me);
        }
    }

    /// Publishes events of what `user` did. Costs a look while no queue is bound. Call it without any lock held.
    pub fn tell(&self, user: &str, events: &[Event]) {
        if self.name != MAIN
            && let Some(audience) = self.shared.audience()
        {
            audience.hear(Some(&self.name), user, events);
        }
        self.hear(Some(&self.name), user, events);
    }

    /// Enqueues messages of the broker's own, which are not logged. Call it without any lock held.
    pub fn put(&self, messages: impl ExactSizeIterator<Item = Message>, work: &mut Work) {
        let first = self.log().next_ids(messages.len() as u64);
        for (id, message) in (first..).zip(messages) {
            let Ok(route) = self.route(&message, None) else {
                continue;
            };
            for queue in route.queues.iter() {
                let entry = Entry::new(id, NOWHERE, message.clone());
                queue.enqueue(&mut vec![entry], work);
            }
        }
    }
}

impl Audience for Vhost {
    fn hear(&self, vhost: Option<&str>, user: &str, events: &[Event]) {
        let exchange = EXCHANGE.as_bytes();
        let listened = self
            .topology()
            .exchanges
            .get(exchange)
            .is_some_and(|x| !x.bindings().is_empty());
        if !listened || events.is_empty() {
            return;
        }
        let mut work = Work::default();
        self.put(events.iter().map(|event| event.message(vhost, user)), &mut work);
        // Nothing waits for these records; a failed log is noticed by whoever appends next.
        let _ = work.finish(self.log());
    }
}
