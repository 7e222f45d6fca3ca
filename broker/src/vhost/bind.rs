//! Bindings: from an exchange to a queue or to another exchange.
//!
//! Comes in: a binding as a client names it. Goes out: the change, and for an auto-delete exchange its end.

use super::delete::Ending;
use super::names::{clean_name, is_reply_queue, is_subscriber_queue};
use super::record;
use super::state::{Change, Topology, Vhost};
use crate::access::Actor;
use crate::access::permissions::Right;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::exchange::binding::{Binding, DestinationKind};
use crate::exchange::{Target, topic};
use leveret_amqp::ShortString;
use leveret_store::Batch;
use std::sync::Arc;

impl Vhost {
    /// Adds a binding (queue.bind, exchange.bind). Binding twice changes nothing.
    ///
    /// # Errors
    /// 404 for a missing end, 403 for the default exchange or without the rights, 405 for another connection's queue,
    /// 406 for a key or arguments that the exchange's type refuses.
    pub fn bind(&self, binding: Binding, actor: &Actor) -> Result<Change> {
        let binding = clean(&binding);
        self.check_ends(actor, &binding)?;
        let mut topology = self.topology.write();
        let (target, durable) = self.ends(&topology, &binding)?;
        self.check_key(&topology, actor, &binding)?;
        self.check_target(&target, actor)?;
        let exchange = topology
            .exchanges
            .get_mut(&binding.source)
            .ok_or_else(|| self.no_exchange(&binding.source))?;
        exchange
            .check(&binding)
            .map_err(|text| Error::Precondition(text.into()))?;
        if exchange.bindings().contains(&binding) {
            return Ok(Change::default());
        }
        self.declared.take(&binding, |most| {
            let (source, vhost) = (binding.source.to_str_lossy(), &self.name);
            format!("cannot bind to exchange '{source}' in vhost '{vhost}': binding limit of {most} is reached")
        })?;
        let Some(binding) = exchange.bind(binding, target) else {
            return Ok(Change::default());
        };
        let mut records = Batch::default();
        if durable {
            records.put(&record::binding_key(&self.name, &binding), &record::binding_value());
        }
        topology.note_incoming(binding.clone());
        let change = self.commit(&mut records, actor.urgency)?;
        drop(topology);
        self.tell(&actor.user, &[Event::binding_created(&binding)]);
        Ok(change)
    }

    /// Removes a binding. Removing one that isn't there succeeds, as RabbitMQ has it.
    ///
    /// # Errors
    /// As [`Vhost::bind`].
    pub fn unbind(&self, binding: &Binding, actor: &Actor) -> Result<Change> {
        let binding = &clean(binding);
        self.check_ends(actor, binding)?;
        let mut topology = self.topology.write();
        let (target, durable) = self.ends(&topology, binding)?;
        self.check_key(&topology, actor, binding)?;
        let exchange = topology
            .exchanges
            .get_mut(&binding.source)
            .filter(|exchange| exchange.bindings().contains(binding));
        let Some(exchange) = exchange else {
            return Ok(Change::default());
        };
        self.check_target(&target, actor)?;
        exchange.unbind(binding, &target);
        self.declared.remove(binding);
        let mut ending = Ending::default();
        if durable {
            ending.records.delete(&record::binding_key(&self.name, binding));
        }
        topology.forget_incoming(binding);
        ending.events.push(Event::binding_deleted(binding));
        ending.unbound.push(binding.source.clone());
        self.end_unbound(&mut topology, &mut ending);
        let change = self.commit(&mut ending.records, actor.urgency)?;
        drop(topology);
        self.tell(&actor.user, &ending.events);
        Ok(change)
    }

    /// Binding, and unbinding, writes to the destination and reads from the source; not all ends can be bound.
    fn check_ends(&self, actor: &Actor, binding: &Binding) -> Result<()> {
        check_bindable(binding)?;
        match binding.destination_kind {
            DestinationKind::Queue if is_subscriber_queue(&binding.destination) => {}
            DestinationKind::Queue => self.check_queue(actor, Right::Write, &binding.destination)?,
            DestinationKind::Exchange => self.check_exchange(actor, Right::Write, &binding.destination)?,
        }
        self.check_exchange(actor, Right::Read, &binding.source)
    }

    /// A topic exchange may be bound, and unbound, with the keys only that the actor may read.
    fn check_key(&self, topology: &Topology, actor: &Actor, binding: &Binding) -> Result<()> {
        let source = topology.exchanges.get(&binding.source);
        if source.is_none_or(|source| source.definition.kind != &topic::TYPE) {
            return Ok(());
        }
        self.check_topic(
            actor,
            Right::Read,
            binding.source.as_bytes(),
            binding.routing_key.as_bytes(),
        )
    }

    /// The destination of a binding; true if both of its ends survive a restart.
    fn ends(&self, topology: &Topology, binding: &Binding) -> Result<(Target, bool)> {
        let source = topology.exchanges.get(&binding.source);
        let source = source.ok_or_else(|| self.no_exchange(&binding.source))?;
        let (target, durable) = match binding.destination_kind {
            DestinationKind::Queue => {
                let queue = topology.queues.get(&binding.destination);
                let queue = queue.ok_or_else(|| Error::missing("queue", &binding.destination, &self.name))?;
                let durable = queue.logged();
                (Target::Queue(queue.clone()), durable)
            }
            DestinationKind::Exchange => {
                let exchange = topology.exchanges.get(&binding.destination);
                let exchange = exchange.ok_or_else(|| self.no_exchange(&binding.destination))?;
                (
                    Target::Exchange(binding.destination.clone()),
                    exchange.definition.durable,
                )
            }
        };
        Ok((target, durable && source.definition.durable))
    }

    fn check_target(&self, target: &Target, actor: &Actor) -> Result<()> {
        match target {
            Target::Queue(queue) => self.check_owner(queue, actor),
            Target::Exchange(_) => Ok(()),
        }
    }

    fn no_exchange(&self, name: &ShortString) -> Error {
        Error::missing("exchange", name, &self.name)
    }
}

impl Topology {
    /// The bindings that lead to a queue or exchange, without the default exchange's.
    pub fn bindings_to(&self, kind: DestinationKind, name: &ShortString) -> impl Iterator<Item = &Binding> {
        let bindings = self.incoming.get(&(kind, name.clone())).into_iter().flatten();
        bindings.map(|binding| &**binding)
    }

    pub(super) fn note_incoming(&mut self, binding: Arc<Binding>) {
        let destination = (binding.destination_kind, binding.destination.clone());
        self.incoming.entry(destination).or_default().insert(binding);
    }

    pub(super) fn forget_incoming(&mut self, binding: &Binding) {
        let destination = (binding.destination_kind, binding.destination.clone());
        if let Some(bindings) = self.incoming.get_mut(&destination) {
            bindings.remove(binding);
            if bindings.is_empty() {
                self.incoming.remove(&destination);
            }
        }
    }

    /// A binding's destination as it is now; `None` if it has gone.
    pub fn target(&self, binding: &Binding) -> Option<Target> {
        match binding.destination_kind {
            DestinationKind::Queue => self.queues.get(&binding.destination).cloned().map(Target::Queue),
            DestinationKind::Exchange => Some(Target::Exchange(binding.destination.clone())),
        }
    }
}

/// The binding that a client means: names are stripped as those of declarations are.
fn clean(binding: &Binding) -> Binding {
    Binding {
        source: clean_name(&binding.source),
        destination: clean_name(&binding.destination),
        ..binding.clone()
    }
}

fn check_bindable(binding: &Binding) -> Result<()> {
    if binding.destination_kind == DestinationKind::Queue && is_reply_queue(&binding.destination) {
        return Err(Error::AccessRefused(
            "cannot bind or unbind to a volatile (direct reply-to) queue".into(),
        ));
    }
    let to_default = binding.destination_kind == DestinationKind::Exchange && binding.destination.is_empty();
    if binding.source.is_empty() || to_default {
        return Err(Error::AccessRefused(
            "operation not permitted on the default exchange".into(),
        ));
    }
    Ok(())
}
