//! The end of a vhost, with all that is in it.
//!
//! Comes in: a vhost that the log says is to end. Goes out: an empty one; records of what has gone, in portions. All of
//! it is taken out at once, so that clients see either all or nothing, and then ended object by object without a lock:
//! others are served meanwhile. Does not know about the vhost's clients, nor about its own entry in the log.

use super::names::is_reply_queue;
use super::portions::Portions;
use super::record;
use super::state::{Topology, Vhost};
use crate::error::Result;
use crate::events::Event;
use crate::exchange::Exchange;
use crate::outbox::Wakes;
use crate::policy::Class;
use crate::queue::Queue;
use crate::queue::consumers::cancelled;
use leveret_store::Urgency;

/// Objects after which their events are told and clients are woken.
const PORTION: usize = 256;

/// The end under way.
struct Ending<'a> {
    vhost: &'a Vhost,
    user: &'a str,
    records: Portions<'a>,
    events: Vec<Event>,
    wakes: Wakes,
}

impl Vhost {
    /// Ends all that is in the vhost, in the name of `user`. From now on nothing can be declared in it. May take
    /// seconds if it has very much.
    ///
    /// # Errors
    /// The log has failed.
    pub fn end(&self, user: &str) -> Result<()> {
        let Topology {
            exchanges,
            queues,
            policies,
            ..
        } = self.take_all();
        let mut ending = Ending {
            vhost: self,
            user,
            records: Portions::of(&self.log),
            events: Vec::new(),
            wakes: Wakes::default(),
        };
        for queue in queues.into_values() {
            ending.queue(&queue)?;
        }
        for exchange in exchanges.into_values() {
            ending.exchange(&exchange)?;
        }
        for class in Class::ALL {
            for policy in policies.list(class) {
                ending
                    .records
                    .delete(&record::policy_key(&self.name, class, &policy.name))?;
                ending.tell(Event::policy_cleared(class, &policy.name));
            }
        }
        ending.tell_all();
        ending.records.finish(Urgency::Soon)?;
        Ok(())
    }
}

impl Ending<'_> {
    fn queue(&mut self, queue: &Queue) -> Result<()> {
        // Refused only if it is deleted already.
        let deleted = queue.delete(false, false);
        self.vhost.shared.queues.remove(queue.id);
        self.vhost.declared.remove(&queue.definition);
        if queue.logged() {
            self.records
                .delete(&record::queue_key(&self.vhost.name, queue.name()))?;
            self.records.queue_deleted(queue.id)?;
        }
        let consumers = deleted.map(|deleted| deleted.consumers).unwrap_or_default();
        cancelled(&consumers, &mut self.wakes);
        if !is_reply_queue(queue.name()) {
            self.tell(Event::queue_deleted(&queue.definition));
        }
        Ok(())
    }

    fn exchange(&mut self, exchange: &Exchange) -> Result<()> {
        let name = &self.vhost.name;
        self.vhost.declared.remove(&exchange.definition);
        for binding in exchange.bindings() {
            self.vhost.declared.remove(&**binding);
            self.records.delete(&record::binding_key(name, binding))?;
            self.tell(Event::binding_deleted(binding).by_broker());
        }
        if exchange.definition.durable {
            self.records
                .delete(&record::exchange_key(name, &exchange.definition.name))?;
        }
        self.tell(Event::exchange_deleted(&exchange.definition));
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        self.events.push(event);
        if self.events.len() >= PORTION {
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        self.vhost.tell(self.user, &self.events);
        self.events.clear();
        self.wakes.flush();
    }
}
