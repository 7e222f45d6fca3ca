//! Deleting queues and exchanges, with the bindings that go with them.
//!
//! Comes in: queue.delete, exchange.delete, the end of an owner, of a lease, or of the last consumer or binding. Goes
//! out: the change, and the consumers that must be told.

use super::names::{clean_name, is_reply_queue};
use super::record;
use super::state::{Change, Topology, Vhost};
use crate::access::permissions::Right;
use crate::access::{Actor, INTERNAL_USER};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::exchange::Target;
use crate::exchange::binding::DestinationKind;
use crate::queue::consumers::Consumer;
use crate::queue::{Deleted, Queue, Refused};
use leveret_amqp::ShortString;
use leveret_store::{Batch, Urgency};
use std::sync::Arc;

/// Remains of a queue.
#[derive(Default)]
pub struct DeletedQueue {
    /// Messages that were waiting in it.
    pub messages: usize,
    /// Consumers that it had: to be told by basic.cancel.
    pub consumers: Vec<Consumer>,
    /// The change.
    pub change: Change,
}

/// The end of an object and of what goes with it, while it is under way.
#[derive(Default)]
pub(super) struct Ending {
    /// Records of the change.
    pub(super) records: Batch,
    /// Events to be told.
    pub(super) events: Vec<Event>,
    /// Exchanges that have lost a binding: an auto-delete one goes with its last, and takes others' with it.
    pub(super) unbound: Vec<ShortString>,
}

impl Vhost {
    /// queue.delete. Deleting a queue that isn't there succeeds with 0 messages, as RabbitMQ has it. The conditions
    /// are checked atomically with the end of the queue.
    ///
    /// # Errors
    /// 403 without the right; 405 another connection's; 406 in use or not empty.
    pub fn delete_queue(
        &self,
        name: &ShortString,
        if_unused: bool,
        if_empty: bool,
        actor: &Actor,
    ) -> Result<DeletedQueue> {
        self.delete_queue_if(name, actor, |queue| queue.delete(if_unused, if_empty))
    }

    /// Deletes a queue that has neither waiting nor unacknowledged messages, atomically with the check. One that isn't
    /// there is no error.
    ///
    /// # Errors
    /// As of [`Vhost::delete_queue`].
    pub fn delete_idle_queue(&self, name: &ShortString, if_unused: bool, actor: &Actor) -> Result<DeletedQueue> {
        self.delete_queue_if(name, actor, |queue| queue.delete_idle(if_unused))
    }

    fn delete_queue_if(
        &self,
        name: &ShortString,
        actor: &Actor,
        delete: impl FnOnce(&Queue) -> std::result::Result<Deleted, Refused>,
    ) -> Result<DeletedQueue> {
        let name = &clean_name(name);
        self.check_queue(actor, Right::Configure, name)?;
        let mut topology = self.topology.write();
        let Some(queue) = topology.queues.get(name).cloned() else {
            return Ok(DeletedQueue::default());
        };
        self.check_owner(&queue, actor)?;
        let deleted = delete(&queue).map_err(|refused| self.refused(&queue, &refused))?;
        let mut ending = Ending::default();
        let change = self.forget_queue(&mut topology, &queue, &mut ending)?;
        drop(topology);
        self.tell(&actor.user, &ending.events);
        Ok(DeletedQueue {
            messages: deleted.messages,
            consumers: deleted.consumers,
            change,
        })
    }

    /// The end of the last consumer of an auto-delete queue, or of an exclusive queue's connection.
    pub fn expire_queue(&self, queue: &Arc<Queue>, only_if_unused: bool) -> Result<Vec<Consumer>> {
        self.end_queue(queue, |queue| queue.delete(only_if_unused, false))
    }

    /// The end of a queue that no client asked for: `delete` says whether it comes to it. Gives the consumers that must
    /// be told.
    pub(super) fn end_queue(
        &self,
        queue: &Arc<Queue>,
        delete: impl FnOnce(&Queue) -> std::result::Result<Deleted, Refused>,
    ) -> Result<Vec<Consumer>> {
        let mut topology = self.topology.write();
        if !topology
            .queues
            .get(queue.name())
            .is_some_and(|current| Arc::ptr_eq(current, queue))
        {
            return Ok(Vec::new());
        }
        let Ok(deleted) = delete(queue) else {
            return Ok(Vec::new());
        };
        let mut ending = Ending::default();
        let _ = self.forget_queue(&mut topology, queue, &mut ending)?;
        drop(topology);
        self.tell(INTERNAL_USER, &ending.events);
        Ok(deleted.consumers)
    }

    fn forget_queue(&self, topology: &mut Topology, queue: &Arc<Queue>, ending: &mut Ending) -> Result<Change> {
        let name = queue.name();
        topology.queues.remove(name);
        self.shared.queues.remove(queue.id);
        self.declared.remove(&queue.definition);
        self.churn.retire(queue);
        if queue.logged() {
            ending.records.delete(&record::queue_key(&self.name, name));
            ending.records.queue_deleted(queue.id);
        }
        let target = Target::Queue(queue.clone());
        self.forget_bindings_to((DestinationKind::Queue, name.clone()), &target, topology, ending);
        if !is_reply_queue(name) {
            ending.events.push(Event::queue_deleted(&queue.definition));
        }
        self.end_unbound(topology, ending);
        self.commit(&mut ending.records, Urgency::Now)
    }

    /// exchange.delete. Deleting one that isn't there succeeds.
    ///
    /// # Errors
    /// 403 predeclared, or without the right; 406 in use.
    pub fn delete_exchange(&self, name: &ShortString, if_unused: bool, actor: &Actor) -> Result<Change> {
        let name = &clean_name(name);
        if name.is_empty() {
            return Err(Error::AccessRefused(
                "operation not permitted on the default exchange".into(),
            ));
        }
        if name.as_bytes().starts_with(b"amq.") {
            let (name, vhost) = (name.to_str_lossy(), &self.name);
            return Err(Error::AccessRefused(
                format!("deletion of system exchange '{name}' in vhost '{vhost}' not allowed").into(),
            ));
        }
        self.remove_exchange(name, if_unused, actor)
    }

    /// The same of an exchange that was imported: its name may be one that clients can't give.
    ///
    /// # Errors
    /// 403 without the right.
    pub fn delete_imported_exchange(&self, name: &ShortString, actor: &Actor) -> Result<Change> {
        self.remove_exchange(name, false, actor)
    }

    fn remove_exchange(&self, name: &ShortString, if_unused: bool, actor: &Actor) -> Result<Change> {
        self.check_exchange(actor, Right::Configure, name)?;
        let mut topology = self.topology.write();
        let Some(exchange) = topology.exchanges.get(name) else {
            return Ok(Change::default());
        };
        if if_unused && !exchange.bindings().is_empty() {
            let name = name.to_str_lossy().into_owned();
            return Err(Error::InUse {
                kind: "exchange",
                name,
                vhost: self.name.clone(),
            });
        }
        let mut ending = Ending::default();
        self.forget_exchange(&mut topology, name, &mut ending);
        self.end_unbound(&mut topology, &mut ending);
        let change = self.commit(&mut ending.records, actor.urgency)?;
        drop(topology);
        self.tell(&actor.user, &ending.events);
        Ok(change)
    }

    /// Auto-delete exchanges go with their last bindings. Each may have others go, in a chain as long as users make it.
    pub(super) fn end_unbound(&self, topology: &mut Topology, ending: &mut Ending) {
        while let Some(name) = ending.unbound.pop() {
            let exchange = topology.exchanges.get(&name);
            if exchange.is_some_and(|x| x.definition.auto_delete && x.bindings().is_empty()) {
                self.forget_exchange(topology, &name, ending);
            }
        }
    }

    fn forget_exchange(&self, topology: &mut Topology, name: &ShortString, ending: &mut Ending) {
        let Some(exchange) = topology.exchanges.remove(name) else {
            return;
        };
        if exchange.definition.durable {
            ending.records.delete(&record::exchange_key(&self.name, name));
        }
        self.declared.remove(&exchange.definition);
        ending.events.push(Event::exchange_deleted(&exchange.definition));
        for binding in exchange.bindings() {
            topology.forget_incoming(binding);
            self.declared.remove(&**binding);
            ending.records.delete(&record::binding_key(&self.name, binding));
            ending.events.push(Event::binding_deleted(binding));
        }
        let target = Target::Exchange(name.clone());
        self.forget_bindings_to((DestinationKind::Exchange, name.clone()), &target, topology, ending);
    }

    /// Takes bindings out of their exchanges because their destination has gone.
    fn forget_bindings_to(
        &self,
        destination: (DestinationKind, ShortString),
        target: &Target,
        topology: &mut Topology,
        ending: &mut Ending,
    ) {
        for binding in topology.incoming.remove(&destination).unwrap_or_default() {
            let source = topology.exchanges.get_mut(&binding.source);
            if source.is_some_and(|exchange| exchange.unbind(&binding, target)) {
                self.declared.remove(&*binding);
            }
            ending.records.delete(&record::binding_key(&self.name, &binding));
            ending.events.push(Event::binding_deleted(&binding).by_broker());
            ending.unbound.push(binding.source.clone());
        }
    }

    fn refused(&self, queue: &Queue, refused: &Refused) -> Error {
        let (name, vhost) = (queue.name().to_str_lossy().into_owned(), self.name.clone());
        match refused {
            Refused::InUse => Error::InUse {
                kind: "queue",
                name,
                vhost,
            },
            Refused::NotEmpty(messages) => Error::NotEmpty {
                name,
                vhost,
                messages: *messages,
            },
            Refused::NotIdle { ready, unacked } => Error::NotIdle {
                name,
                vhost,
                ready: *ready,
                unacked: *unacked,
            },
            Refused::ExclusiveUse => Error::ExclusiveUse { name, vhost },
            Refused::Gone => Error::missing("queue", queue.name(), &self.name),
        }
    }
}
