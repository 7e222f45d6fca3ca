//! What happened to the topology, told on the topic exchange `amq.rabbitmq.event` in the shape of RabbitMQ's event exchange.
//!
//! Comes in: creations and deletions, after their locks are released. Goes out: messages without body whose headers say what it was
//! and whose routing key says what happened (`queue.deleted`). Nothing is built while nobody has bound a queue there.

use crate::exchange::binding::Binding;
use crate::message::Message;
use crate::queue::Work;
use crate::queue::entry::{Entry, NOWHERE};
use crate::vhost::Vhost;
use crate::{exchange, queue};
use leveret_amqp::{BasicProperties, FieldTable, FieldValue, ShortString};
use leveret_store::Urgency;
use std::time::{SystemTime, UNIX_EPOCH};

/// The exchange that events are published to.
pub const EXCHANGE: &str = "amq.rabbitmq.event";

/// One event.
#[derive(Debug)]
pub struct Event {
    key: &'static str,
    headers: FieldTable,
}

/// Publishes events of one vhost.
#[derive(Debug, Default)]
pub struct Events {}

impl Event {
    /// `queue.created`
    pub fn queue_created(vhost: &Vhost, queue: &queue::Definition) -> Self {
        let mut event = Self::named("queue.created", vhost, &queue.name);
        event.put("durable", FieldValue::Bool(queue.durable));
        event.put("auto_delete", FieldValue::Bool(queue.auto_delete));
        event.put("exclusive", FieldValue::Bool(queue.owner.is_some()));
        event.put("type", text("classic"));
        event.put("arguments", FieldValue::Table(queue.arguments.clone()));
        event
    }

    /// `queue.deleted`
    pub fn queue_deleted(vhost: &Vhost, queue: &queue::Definition) -> Self {
        let mut event = Self::named("queue.deleted", vhost, &queue.name);
        event.put("type", text("classic"));
        event
    }

    /// `exchange.created`
    pub fn exchange_created(vhost: &Vhost, exchange: &exchange::Definition) -> Self {
        let mut event = Self::named("exchange.created", vhost, &exchange.name);
        event.put("type", text(exchange.kind.name()));
        event.put("durable", FieldValue::Bool(exchange.durable));
        event.put("auto_delete", FieldValue::Bool(exchange.auto_delete));
        event.put("internal", FieldValue::Bool(exchange.internal));
        event.put("arguments", FieldValue::Table(exchange.arguments.clone()));
        event
    }

    /// `exchange.deleted`
    pub fn exchange_deleted(vhost: &Vhost, exchange: &exchange::Definition) -> Self {
        Self::named("exchange.deleted", vhost, &exchange.name)
    }

    /// `binding.created`
    pub fn binding_created(vhost: &Vhost, binding: &Binding) -> Self {
        Self::binding("binding.created", vhost, binding)
    }

    /// `binding.deleted`
    pub fn binding_deleted(vhost: &Vhost, binding: &Binding) -> Self {
        Self::binding("binding.deleted", vhost, binding)
    }

    fn named(key: &'static str, vhost: &Vhost, name: &ShortString) -> Self {
        let mut event = Self {
            key,
            headers: FieldTable::new(),
        };
        event.put("name", FieldValue::LongString(name.clone().into_bytes()));
        event.put("vhost", text(&vhost.name));
        event
    }

    fn binding(key: &'static str, vhost: &Vhost, binding: &Binding) -> Self {
        let mut event = Self {
            key,
            headers: FieldTable::new(),
        };
        event.put(
            "source_name",
            FieldValue::LongString(binding.source.clone().into_bytes()),
        );
        event.put("source_kind", text("exchange"));
        event.put(
            "destination_name",
            FieldValue::LongString(binding.destination.clone().into_bytes()),
        );
        event.put("destination_kind", text(binding.destination_kind.name()));
        event.put(
            "routing_key",
            FieldValue::LongString(binding.routing_key.clone().into_bytes()),
        );
        event.put("arguments", FieldValue::Table(binding.arguments.clone()));
        event.put("vhost", text(&vhost.name));
        event
    }

    fn put(&mut self, name: &'static str, value: FieldValue) {
        self.headers.push(ShortString::from_static(name), value);
    }

    fn message(mut self) -> Message {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.put("timestamp_in_ms", FieldValue::Long(now.as_millis() as i64));
        let properties = BasicProperties {
            headers: Some(self.headers),
            delivery_mode: Some(2),
            timestamp: Some(now.as_secs()),
            ..BasicProperties::default()
        };
        Message::new(EXCHANGE.as_bytes(), self.key.as_bytes(), &properties.to_bytes(), &[])
    }
}

impl Events {
    /// Publishes events to whoever listens. Events are not logged: who misses some lists the topology anew.
    pub fn publish(&self, vhost: &Vhost, events: Vec<Event>) {
        let listened = vhost
            .topology()
            .exchanges
            .get(EXCHANGE.as_bytes())
            .is_some_and(|x| !x.bindings().is_empty());
        if !listened || events.is_empty() {
            return;
        }
        let mut work = Work::default();
        let first = vhost.log().next_ids(events.len() as u64);
        for (id, event) in (first..).zip(events) {
            let message = event.message();
            let Ok(route) = vhost.route(&message, true) else {
                continue;
            };
            for queue in route.queues.iter() {
                let entry = Entry::new(id, NOWHERE, message.clone());
                queue.enqueue(&mut vec![entry], &mut work);
            }
        }
        // Nothing waits for these records; a failed log is noticed by whoever appends next.
        let _ = vhost.log().append(&mut work.records, Urgency::Soon);
    }
}

fn text(value: &str) -> FieldValue {
    FieldValue::LongString(value.as_bytes().to_vec().into())
}
