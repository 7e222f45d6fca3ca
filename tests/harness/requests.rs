//! The requests tests make most, with everything optional left out; a test sets what it is about by struct update.
//!
//! In: names. Out: methods.
//! Does not know about answers.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use leveret_amqp::method::*;
use leveret_amqp::{BasicProperties, FieldTable, FieldValue};

use crate::scripted_client::{short, table};

/// A name no other test uses, in this run or another.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{:x}-{:x}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// connection.start-ok of a client that knows all of RabbitMQ's extensions.
pub fn start_ok(mechanism: &str, response: &[u8]) -> ConnectionStartOk {
    let yes = || FieldValue::Bool(true);
    let capabilities: FieldTable = table([
        ("authentication_failure_close", yes()),
        ("basic.nack", yes()),
        ("connection.blocked", yes()),
        ("consumer_cancel_notify", yes()),
        ("publisher_confirms", yes()),
    ]);
    ConnectionStartOk {
        client_properties: table([
            ("product", "system tests".into()),
            ("capabilities", capabilities.into()),
        ]),
        mechanism: short(mechanism),
        response: Bytes::copy_from_slice(response),
        locale: short("en_US"),
    }
}

/// connection.open.
pub fn open(vhost: &str) -> ConnectionOpen {
    ConnectionOpen {
        virtual_host: short(vhost),
    }
}

/// queue.declare of a transient queue that is not exclusive.
pub fn declare(queue: &str) -> QueueDeclare {
    QueueDeclare {
        queue: short(queue),
        ..QueueDeclare::default()
    }
}

/// queue.declare of an exclusive queue, which goes with its connection.
pub fn exclusive(queue: &str) -> QueueDeclare {
    QueueDeclare {
        exclusive: true,
        ..declare(queue)
    }
}

/// queue.declare of a durable queue.
pub fn durable(queue: &str) -> QueueDeclare {
    QueueDeclare {
        durable: true,
        ..declare(queue)
    }
}

/// queue.declare that only asks.
pub fn passive(queue: &str) -> QueueDeclare {
    QueueDeclare {
        passive: true,
        ..declare(queue)
    }
}

/// queue.delete without conditions.
pub fn delete(queue: &str) -> QueueDelete {
    QueueDelete {
        queue: short(queue),
        ..QueueDelete::default()
    }
}

/// queue.purge.
pub fn purge(queue: &str) -> QueuePurge {
    QueuePurge {
        queue: short(queue),
        ..QueuePurge::default()
    }
}

/// queue.bind.
pub fn bind(queue: &str, exchange: &str, key: &str) -> QueueBind {
    QueueBind {
        queue: short(queue),
        exchange: short(exchange),
        routing_key: short(key),
        ..QueueBind::default()
    }
}

/// queue.unbind.
pub fn unbind(queue: &str, exchange: &str, key: &str) -> QueueUnbind {
    QueueUnbind {
        queue: short(queue),
        exchange: short(exchange),
        routing_key: short(key),
        ..QueueUnbind::default()
    }
}

/// exchange.declare of a transient exchange.
pub fn exchange(name: &str, kind: &str) -> ExchangeDeclare {
    ExchangeDeclare {
        exchange: short(name),
        kind: short(kind),
        ..ExchangeDeclare::default()
    }
}

/// exchange.declare that only asks.
pub fn passive_exchange(name: &str) -> ExchangeDeclare {
    ExchangeDeclare {
        passive: true,
        ..exchange(name, "")
    }
}

/// exchange.delete without conditions.
pub fn delete_exchange(name: &str) -> ExchangeDelete {
    ExchangeDelete {
        exchange: short(name),
        ..ExchangeDelete::default()
    }
}

/// exchange.bind: from `source` to `destination`.
pub fn bind_exchange(destination: &str, source: &str, key: &str) -> ExchangeBind {
    ExchangeBind {
        destination: short(destination),
        source: short(source),
        routing_key: short(key),
        ..ExchangeBind::default()
    }
}

/// exchange.unbind.
pub fn unbind_exchange(destination: &str, source: &str, key: &str) -> ExchangeUnbind {
    ExchangeUnbind {
        destination: short(destination),
        source: short(source),
        routing_key: short(key),
        ..ExchangeUnbind::default()
    }
}

/// basic.publish.
pub fn publish(exchange: &str, key: &str) -> BasicPublish {
    BasicPublish {
        exchange: short(exchange),
        routing_key: short(key),
        ..BasicPublish::default()
    }
}

/// basic.publish of a message that comes back when no queue takes it.
pub fn mandatory(exchange: &str, key: &str) -> BasicPublish {
    BasicPublish {
        mandatory: true,
        ..publish(exchange, key)
    }
}

/// basic.consume with acknowledgements.
pub fn consume(queue: &str, tag: &str) -> BasicConsume {
    BasicConsume {
        queue: short(queue),
        consumer_tag: short(tag),
        ..BasicConsume::default()
    }
}

/// basic.consume without acknowledgements.
pub fn consume_no_ack(queue: &str, tag: &str) -> BasicConsume {
    BasicConsume {
        no_ack: true,
        ..consume(queue, tag)
    }
}

/// basic.cancel.
pub fn cancel(tag: &str) -> BasicCancel {
    BasicCancel {
        consumer_tag: short(tag),
        no_wait: false,
    }
}

/// basic.get with acknowledgement.
pub fn get(queue: &str) -> BasicGet {
    BasicGet {
        queue: short(queue),
        no_ack: false,
    }
}

/// basic.qos for each new consumer.
pub fn prefetch(count: u16) -> BasicQos {
    BasicQos {
        prefetch_count: count,
        ..BasicQos::default()
    }
}

/// basic.ack of one delivery.
pub fn ack(delivery_tag: u64) -> BasicAck {
    BasicAck {
        delivery_tag,
        multiple: false,
    }
}

/// basic.ack of this delivery and all before it.
pub fn ack_up_to(delivery_tag: u64) -> BasicAck {
    BasicAck {
        delivery_tag,
        multiple: true,
    }
}

/// basic.nack of one delivery that goes back to its queue.
pub fn requeue(delivery_tag: u64) -> BasicNack {
    BasicNack {
        delivery_tag,
        multiple: false,
        requeue: true,
    }
}

/// Properties on the wire with none of them set.
pub fn no_properties() -> Vec<u8> {
    properties(&BasicProperties::default())
}

/// Properties of a persistent message.
pub fn persistent() -> Vec<u8> {
    properties(&BasicProperties {
        delivery_mode: Some(2),
        ..BasicProperties::default()
    })
}

/// Properties with headers.
pub fn headers(headers: FieldTable) -> Vec<u8> {
    properties(&BasicProperties {
        headers: Some(headers),
        ..BasicProperties::default()
    })
}

/// Properties as on the wire: flags and list.
pub fn properties(properties: &BasicProperties) -> Vec<u8> {
    let mut out = Vec::new();
    properties.encode(&mut out);
    out
}
