//! The log's table and messages to live objects, at start.
//!
//! Comes in: the table that the store recovered. Goes out: a vhost as it was. Bindings come last, so that both of their
//! ends are there; one that leads nowhere is dropped, and the log file says so.

use super::record::{self, Record};
use super::state::Vhost;
use crate::exchange::{Definition, Exchange};
use crate::policy::Policies;
use crate::queue::arguments::Arguments;
use crate::queue::{self, Queue};
use leveret_store::{Batch, QueueId, Urgency};
use std::collections::HashMap;
use std::sync::Arc;
use tracing::warn;

impl Vhost {
    /// Fills a new vhost with what the log's table holds for it. Returns the queues by their number in the log.
    ///
    /// # Errors
    /// The log has failed.
    pub fn restore<'a>(
        &self,
        table: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<HashMap<QueueId, Arc<Queue>>, leveret_store::Error> {
        let mut topology = self.topology.write();
        let mut by_id = HashMap::new();
        let mut bindings = Vec::new();
        let mut renamed = Batch::default();
        let mut policies = Policies::default();
        for (key, value) in table {
            match record::decode(key, value) {
                Some(Record::Exchange(vhost, exchange)) if vhost == self.name => {
                    let record::Exchange {
                        name,
                        kind,
                        durable,
                        auto_delete,
                        internal,
                        arguments,
                    } = exchange;
                    let definition = Definition {
                        name: name.clone(),
                        kind,
                        durable,
                        auto_delete,
                        internal,
                        arguments,
                    };
                    match Exchange::new(definition) {
                        Ok(exchange) => {
                            self.declared.add(&exchange.definition);
                            topology.exchanges.insert(name, exchange);
                        }
                        Err(reason) => warn!(?name, reason, "an exchange in the log can't be had; it is left out"),
                    }
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
                    self.declared.add(&definition);
                    let queue = Arc::new(Queue::new(
                        definition,
                        id,
                        self.log.clone(),
                        self.memory.clone(),
                        self.upkeep.clone(),
                    ));
                    by_id.insert(id, queue.clone());
                    topology.queues_by_id.insert(id, queue.clone());
                    topology.queues.insert(name, queue);
                }
                Some(Record::Binding(vhost, binding)) if vhost == self.name => {
                    // Earlier versions kept the arguments in the order in which they came.
                    let name = record::binding_key(&self.name, &binding);
                    if name != key {
                        renamed.delete(key);
                        renamed.put(&name, value);
                    }
                    bindings.push(binding);
                }
                Some(Record::Policy(vhost, class, policy)) if vhost == self.name => _ = policies.put(class, policy),
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
            if let Some(binding) = exchange.bind(binding, target) {
                self.declared.add(&*binding);
                topology.note_incoming(binding);
            }
        }
        topology.apply_policies(policies);
        drop(topology);
        if !renamed.is_empty() {
            self.log.append(&mut renamed, Urgency::Soon)?;
        }
        Ok(by_id)
    }
}

#[cfg(test)]
mod tests;
