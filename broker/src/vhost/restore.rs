//! The log's table and messages to live objects, at start.
//!
//! Comes in: what the store recovered. Goes out: vhosts as they were. Queues first, then exchanges, then bindings, then messages,
//! so that every reference is there; what leads nowhere is dropped and said.

use super::record::{self, Record};
use super::state::Vhost;
use crate::exchange::{Definition, Exchange};
use crate::queue::arguments::Arguments;
use crate::queue::{self, Queue};
use leveret_store::QueueId;
use std::collections::HashMap;
use std::sync::Arc;
use tracing::warn;

impl Vhost {
    /// Fills a new vhost with what the log's table holds for it. Returns the queues by their number in the log.
    pub fn restore<'a>(&self, table: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HashMap<QueueId, Arc<Queue>> {
        let mut topology = self.topology.write();
        let mut by_id = HashMap::new();
        let mut bindings = Vec::new();
        for (key, value) in table {
            match record::decode(key, value) {
                Some(Record::Exchange(vhost, exchange)) if vhost == self.name => {
                    let (durable, auto_delete, internal) = exchange.flags;
                    let record::Exchange {
                        name, kind, arguments, ..
                    } = exchange;
                    let definition = Definition {
                        name: name.clone(),
                        kind,
                        durable,
                        auto_delete,
                        internal,
                        arguments,
                    };
                    topology.exchanges.insert(name, Exchange::new(definition));
                }
                Some(Record::Queue(vhost, queue)) if vhost == self.name => {
                    let record::Queue {
                        name,
                        id,
                        auto_delete,
                        arguments,
                    } = queue;
                    let definition = queue::Definition {
                        name: name.clone(),
                        durable: true,
                        auto_delete,
                        owner: None,
                        arguments: Arguments::restored(arguments),
                    };
                    let queue = Arc::new(Queue::new(definition, id, self.log.clone(), self.memory.clone()));
                    by_id.insert(id, queue.clone());
                    topology.queues_by_id.insert(id, queue.clone());
                    topology.queues.insert(name, queue);
                }
                Some(Record::Binding(vhost, binding)) if vhost == self.name => bindings.push(binding),
                Some(_) => {}
                None if key == super::ids::KEY => {}
                None => {
                    warn!(key = %String::from_utf8_lossy(key), "an entry of the log's table isn't known; it is skipped")
                }
            }
        }
        for binding in bindings {
            let target = topology.target(&binding);
            let (Some(target), Some(exchange)) = (target, topology.exchanges.get_mut(&binding.source)) else {
                warn!(?binding, "a binding in the log leads nowhere; it is dropped");
                continue;
            };
            exchange.bind(binding.clone(), target);
            let destination = (binding.destination_kind, binding.destination.clone());
            topology.incoming.entry(destination).or_default().insert(binding);
        }
        by_id
    }
}
