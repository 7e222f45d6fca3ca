//! Declaring exchanges and queues: what is new, what is the same, what contradicts.
//!
//! Comes in: exchange.declare and queue.declare. Goes out: the object, and the log position that its reply waits for.
//! Rules and texts are RabbitMQ's (`rabbit_channel`, `rabbit_amqqueue`, `rabbit_exchange`).

use super::equivalence::Existing;
use super::names::{REPLY_QUEUE, SUBSCRIBER_QUEUE, check_reserved, clean_name, is_reply_queue, random_name};
use super::settings::Limit;
use super::state::{Change, Topology, Vhost};
use super::{policy, record};
use crate::access::Actor;
use crate::access::permissions::{Kind as ResourceKind, Right};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::exchange::{self, ALTERNATE_EXCHANGE, Definition, Exchange, Type};
use crate::limits::tables;
use crate::outbox::Work;
use crate::policy::Kind;
use crate::queue::arguments::{Arguments, Invalid, QueueType, Reason};
use crate::queue::{self, Queue};
use leveret_amqp::method::{ExchangeDeclare, QueueDeclare};
use leveret_amqp::{RawTable, ShortString};
use leveret_store::Batch;
use parking_lot::RwLockWriteGuard;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The argument that says of which type a queue is.
const QUEUE_TYPE: &str = "x-queue-type";

/// The look at a name for an object of a kind.
type Permits = fn(&'static str, &ShortString) -> Result<()>;

impl Vhost {
    /// exchange.declare.
    ///
    /// # Errors
    /// 404 passive and missing; 403 reserved, default or without the right; 406 of another type, durability and so on,
    /// or an unknown type.
    pub fn declare_exchange(&self, declare: &ExchangeDeclare, actor: &Actor) -> Result<Change> {
        self.exchange(declare, actor, check_reserved)
    }

    /// The same of an exchange that another broker had: its name may be one that clients can't give.
    ///
    /// # Errors
    /// As [`Vhost::declare_exchange`].
    pub fn import_exchange(&self, declare: &ExchangeDeclare, actor: &Actor) -> Result<Change> {
        self.exchange(declare, actor, |_, _| Ok(()))
    }

    fn exchange(&self, declare: &ExchangeDeclare, actor: &Actor, may_be: Permits) -> Result<Change> {
        let name = clean_name(&declare.exchange);
        if name.is_empty() {
            return Err(Error::AccessRefused(
                "operation not permitted on the default exchange".into(),
            ));
        }
        if declare.passive {
            self.check_any(actor, ResourceKind::Exchange, &name)?;
            let topology = self.topology.read();
            let found = topology.exchanges.contains_key(&name);
            return if found {
                Ok(Change::default())
            } else {
                Err(Error::missing("exchange", &name, &self.name))
            };
        }
        tables::check(&declare.arguments, tables::ARGUMENTS)?;
        let kind = exchange::type_of(declare.kind.as_bytes()).ok_or_else(|| {
            let wrong = if declare.kind.is_empty() { "invalid" } else { "unknown" };
            Error::Precondition(format!("{wrong} exchange type '{}'", declare.kind.to_str_lossy()).into())
        })?;
        self.check_exchange(actor, Right::Configure, &name)?;
        self.look_for_policies(&[Kind::Exchange], &name);
        let mut topology = self.topology_to_add_to()?;
        if let Some(exchange) = topology.exchanges.get(&name) {
            return self
                .same_exchange(&exchange.definition, declare, kind)
                .map(|()| Change::default());
        }
        may_be("exchange", &name)?;
        let definition = Definition {
            name: name.clone(),
            kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments.clone(),
        };
        if let Some(found) = definition.alternate_of_wrong_type() {
            return Err(Error::ArgumentType {
                kind: "exchange",
                arg: ALTERNATE_EXCHANGE,
                name: name.to_str_lossy().into_owned(),
                vhost: self.name.clone(),
                found,
            });
        }
        if let Some(alternate) = definition.alternate() {
            self.check_exchange(actor, Right::Read, &name)?;
            self.check_exchange(actor, Right::Write, &alternate)?;
        }
        let mut records = Batch::default();
        if definition.durable {
            records.put(
                &record::exchange_key(&self.name, &name),
                &record::exchange_value(&definition),
            );
        }
        let event = Event::exchange_created(&definition);
        let mut exchange = Exchange::new(definition).map_err(|text| Error::Precondition(text.into()))?;
        self.declared.take(&exchange.definition, |most| {
            let (name, vhost) = (name.to_str_lossy(), &self.name);
            format!("cannot declare exchange '{name}' in vhost '{vhost}': exchange limit of {most} is reached")
        })?;
        exchange.apply(topology.policies.of(Kind::Exchange, name.as_bytes()));
        topology.exchanges.insert(name, exchange);
        let change = self.commit(&mut records, actor.urgency)?;
        drop(topology);
        self.tell(&actor.user, &[event]);
        Ok(change)
    }

    fn same_exchange(&self, current: &Definition, declare: &ExchangeDeclare, kind: &Type) -> Result<()> {
        let existing = Existing {
            kind: "exchange",
            name: &current.name,
            vhost: &self.name,
        };
        existing.property("type", kind.name, current.kind.name)?;
        existing.property("durable", declare.durable, current.durable)?;
        existing.property("auto_delete", declare.auto_delete, current.auto_delete)?;
        existing.property("internal", declare.internal, current.internal)?;
        existing.argument(
            ALTERNATE_EXCHANGE,
            declare.arguments.get(ALTERNATE_EXCHANGE).as_ref(),
            current.arguments.get(ALTERNATE_EXCHANGE).as_ref(),
        )
    }

    /// queue.declare. An empty name lets the broker choose one (`amq.gen-...`).
    ///
    /// # Errors
    /// 404 passive and missing; 403 reserved, or without the right; 405 belongs to another connection; 406 contradicts
    /// what exists, or an argument that isn't supported.
    pub fn declare_queue(&self, declare: &QueueDeclare, actor: &Actor) -> Result<(Arc<Queue>, Change)> {
        self.queue_of(declare, actor, check_reserved)
    }

    /// The same of a queue that another broker had: its name may be one that clients can't give.
    ///
    /// # Errors
    /// As [`Vhost::declare_queue`].
    pub fn import_queue(&self, declare: &QueueDeclare, actor: &Actor) -> Result<(Arc<Queue>, Change)> {
        self.queue_of(declare, actor, |_, _| Ok(()))
    }

    fn queue_of(&self, declare: &QueueDeclare, actor: &Actor, may_be: Permits) -> Result<(Arc<Queue>, Change)> {
        let name = clean_name(&declare.queue);
        self.churn.declared.fetch_add(1, Ordering::Relaxed);
        // There are queues for direct replies, or not: no client makes one.
        if declare.passive || is_reply_queue(&name) {
            let queue = self.declared_queue(&name, actor)?;
            queue.renew_lease();
            return Ok((queue, Change::default()));
        }
        tables::check(&declare.arguments, tables::ARGUMENTS)?;
        let chosen = name.is_empty().then(|| random_name("amq.gen-", |_| false));
        if chosen.is_none() {
            self.check_queue(actor, Right::Configure, &name)?;
        }
        let kinds = [Kind::Classic, Kind::Quorum];
        self.look_for_policies(&kinds, chosen.as_ref().unwrap_or(&name));
        let arguments = self.with_usual_type(declare);
        let topology = self.topology_to_add_to()?;
        if let Some(queue) = topology.queues.get(&name).filter(|_| !name.is_empty()) {
            self.same_queue(queue, declare, &arguments, actor)?;
            queue.renew_lease();
            return Ok((queue.clone(), Change::default()));
        }
        may_be("queue", &name)?;
        let arguments = Arguments::parse(arguments.into_owned()).map_err(|invalid| self.invalid(&name, invalid))?;
        self.check_type(&name, declare, arguments.values.queue_type())?;
        if let Some(dead_letters) = &arguments.values.dead_letter_exchange {
            self.check_queue(actor, Right::Read, &name)?;
            self.check_exchange(actor, Right::Write, dead_letters)?;
        }
        let name = match chosen {
            Some(chosen) => {
                let taken = topology.queues.contains_key(&chosen);
                let other = taken.then(|| random_name("amq.gen-", |name| topology.queues.contains_key(name)));
                let name = other.unwrap_or(chosen);
                self.check_queue(actor, Right::Configure, &name)?;
                name
            }
            None => name,
        };
        let definition = queue::Definition {
            name,
            durable: is_durable(declare),
            auto_delete: declare.auto_delete,
            owner: actor.connection.filter(|_| declare.exclusive),
            arguments,
        };
        self.add_queue(topology, definition, actor)
    }

    /// A queue for one subscriber on the connection of `actor`, with which it goes; what comes while `most` messages
    /// wait is dropped.
    ///
    /// # Errors
    /// 406 there are as many queues as there may be; the log has failed.
    pub fn declare_subscriber_queue(&self, actor: &Actor, most: u32) -> Result<Arc<Queue>> {
        let name = random_name(SUBSCRIBER_QUEUE, |_| false);
        self.look_for_policies(&[Kind::Classic], &name);
        let definition = queue::Definition {
            name,
            durable: false,
            auto_delete: false,
            owner: actor.connection,
            arguments: Arguments::of_subscriber(most),
        };
        let (queue, _) = self.add_queue(self.topology_to_add_to()?, definition, actor)?;
        Ok(queue)
    }

    /// Adds a queue that a client asks for, if there may be one more.
    fn add_queue(
        &self,
        mut topology: RwLockWriteGuard<'_, Topology>,
        definition: queue::Definition,
        actor: &Actor,
    ) -> Result<(Arc<Queue>, Change)> {
        self.check_limit(&definition.name)?;
        self.declared.take(&definition, |most| {
            let name = definition.name.to_str_lossy();
            format!("cannot declare queue '{name}': queue limit in cluster ({most}) is reached")
        })?;
        let (queue, mut records) = self.create_queue(&mut topology, definition);
        let change = self.commit(&mut records, actor.urgency)?;
        drop(topology);
        self.tell(&actor.user, &[Event::queue_created(&queue.definition)]);
        Ok((queue, change))
    }

    /// A queue for the direct replies of one consumer. It goes with the consumer, or with its connection.
    ///
    /// # Errors
    /// The log has failed.
    pub fn declare_reply_queue(&self, actor: &Actor) -> Result<Arc<Queue>> {
        let mut topology = self.topology_to_add_to()?;
        let definition = queue::Definition {
            name: random_name(REPLY_QUEUE, |name| topology.queues.contains_key(name)),
            durable: false,
            auto_delete: true,
            owner: actor.connection,
            arguments: Arguments::default(),
        };
        self.declared.add(&definition);
        let (queue, mut records) = self.create_queue(&mut topology, definition);
        let _ = self.commit(&mut records, actor.urgency)?;
        Ok(queue)
    }

    /// A passive declaration: any right is enough (RabbitMQ 4.3), and a client that answers a request may ask whether
    /// the queue of the requester is still there.
    fn declared_queue(&self, name: &ShortString, actor: &Actor) -> Result<Arc<Queue>> {
        if !is_reply_queue(name) {
            self.check_any(actor, ResourceKind::Queue, name)?;
            return self.find_queue(name, actor);
        }
        let found = self.topology.read().queues.get(name).cloned();
        found.ok_or_else(|| Error::missing("queue", name, &self.name))
    }

    fn create_queue(&self, topology: &mut Topology, definition: queue::Definition) -> (Arc<Queue>, Batch) {
        self.churn.created.fetch_add(1, Ordering::Relaxed);
        let mut records = Batch::default();
        let id = self.shared.queue_ids.take(&mut records);
        if definition.logged() {
            records.put(
                &record::queue_key(&self.name, &definition.name),
                &record::queue_value(&definition, id),
            );
        }
        let queue = Arc::new(Queue::new(
            definition,
            id,
            self.log.clone(),
            self.memory.clone(),
            self.upkeep.clone(),
        ));
        topology.queues.insert(queue.name().clone(), queue.clone());
        self.shared.queues.add(&queue);
        queue.renew_lease();
        // It has no messages yet: nothing follows.
        policy::apply(&topology.policies, &queue, &mut Work::default());
        (queue, records)
    }

    /// The arguments of a declaration, with the vhost's type for queues where they have none and the queue can be of
    /// it: it must outlive clients and restarts (RabbitMQ).
    fn with_usual_type<'a>(&self, declare: &'a QueueDeclare) -> Cow<'a, RawTable> {
        let usual = self.settings().default_queue_type.unwrap_or_default();
        let lasts = is_durable(declare) && !declare.auto_delete;
        if usual == QueueType::Classic || !lasts || declare.arguments.get(QUEUE_TYPE).is_some() {
            return Cow::Borrowed(&declare.arguments);
        }
        let mut arguments = declare.arguments.to_table();
        arguments
            .0
            .push((ShortString::from_static(QUEUE_TYPE), usual.name().into()));
        Cow::Owned(RawTable::from(&arguments))
    }

    /// Refuses a queue of a client where the vhost has as many as its limit allows.
    fn check_limit(&self, name: &ShortString) -> Result<()> {
        match self.settings().most(Limit::Queues) {
            Some(most) if self.declared.queues() >= most => {
                let (name, vhost) = (name.to_str_lossy(), &self.name);
                let text = format!("cannot declare queue '{name}': queue limit in vhost '{vhost}' ({most}) is reached");
                Err(Error::Precondition(text.into()))
            }
            _ => Ok(()),
        }
    }

    fn same_queue(&self, queue: &Queue, declare: &QueueDeclare, arguments: &RawTable, actor: &Actor) -> Result<()> {
        let current = &queue.definition;
        if current.owner != actor.connection.filter(|_| declare.exclusive) {
            return Err(self.locked(&current.name));
        }
        let existing = Existing {
            kind: "queue",
            name: &current.name,
            vhost: &self.name,
        };
        existing.property("durable", is_durable(declare), current.durable)?;
        existing.property("auto_delete", declare.auto_delete, current.auto_delete)?;
        match current.arguments.difference(arguments) {
            Some(differs) => {
                Err(existing.argument_differs(differs.argument, differs.received.as_ref(), differs.current.as_ref()))
            }
            None => Ok(()),
        }
    }

    /// A quorum queue has a name of its client's, and outlives all clients and restarts.
    fn check_type(&self, name: &ShortString, declare: &QueueDeclare, queue_type: QueueType) -> Result<()> {
        if queue_type != QueueType::Quorum {
            return Ok(());
        }
        if name.is_empty() {
            let module = queue_type.module();
            return Err(Error::Precondition(
                format!("Cannot declare a server-named queue for type {module}").into(),
            ));
        }
        let wrong = match declare {
            QueueDeclare { auto_delete: true, .. } => "auto-delete",
            QueueDeclare { exclusive: true, .. } => "exclusive-owner",
            QueueDeclare { durable: false, .. } => "non-durable",
            _ => return Ok(()),
        };
        let (name, vhost) = (name.to_str_lossy(), &self.name);
        Err(Error::Precondition(
            format!("invalid property '{wrong}' for queue '{name}' in vhost '{vhost}'").into(),
        ))
    }

    /// The error for an argument of a queue, or of a consumer of one.
    pub fn invalid(&self, name: &ShortString, invalid: Invalid) -> Error {
        let (arg, vhost) = (invalid.argument, self.name.clone());
        let name = name.to_str_lossy().into_owned();
        match invalid.reason {
            Reason::Value(reason) => Error::InvalidArgument {
                arg,
                name,
                vhost,
                reason,
            },
            Reason::Type(found) => Error::ArgumentType {
                kind: "queue",
                arg,
                name,
                vhost,
                found,
            },
            Reason::QueueType(queue_type) => Error::ArgumentOfOtherTypes {
                arg,
                name,
                vhost,
                queue_type: queue_type.module(),
            },
        }
    }
}

/// An exclusive queue goes with its connection: it is not durable, whatever its client says (RabbitMQ).
fn is_durable(declare: &QueueDeclare) -> bool {
    declare.durable && !declare.exclusive
}
