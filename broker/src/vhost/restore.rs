//! The log's table to live objects, at start.
//!
//! Comes in: the table that the store recovered. Goes out: the vhosts as they were. What a vhost had whose deletion was
//! under way is deleted now. Bindings come last, so that both of their ends are there; one that leads nowhere is
//! dropped, and the log file says so.

use super::portions::Portions;
use super::record::{self, Record};
use super::settings::Settings;
use super::shared::{MAIN, Shared};
use super::state::Vhost;
use crate::access;
use crate::exchange::binding::Binding;
use crate::exchange::{Definition, Exchange};
use crate::parameters;
use crate::policy::{Class, Policies, Policy};
use crate::queue::arguments::Arguments;
use crate::queue::{self, Queue};
use leveret_store::{Batch, Error, Urgency};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tracing::{info, warn};

/// A vhost whose objects are being found.
struct Restoring {
    vhost: Arc<Vhost>,
    bindings: Vec<Binding>,
    policies: Policies,
}

/// Vhosts with all that the log's table holds for them. A new data directory gets `/`.
///
/// # Errors
/// The log has failed.
pub fn restore<'a>(
    shared: &Arc<Shared>,
    table: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Result<Vec<Arc<Vhost>>, Error> {
    let (mut vhosts, ending) = vhosts(shared, table.clone())?;
    let mut renamed = Batch::default();
    let mut gone = Portions::of(&shared.log);
    for (key, value) in table {
        let Some(name) = record::vhost_of(key) else {
            let known = [super::ids::KEY, record::HAS_VHOSTS].contains(&key) || parameters::is_key(key);
            if !known && access::record::decode(key, value).is_none() {
                unknown(key);
            }
            continue;
        };
        if ending.contains(name) {
            // Its own entry goes last: until then, the next start goes on with this.
            if !record::is_vhost(key) {
                gone.delete(key)?;
            }
            continue;
        }
        let restoring = match vhosts.get_mut(name) {
            Some(restoring) => restoring,
            None => {
                warn!(
                    vhost = name,
                    "the log has objects of a vhost that it doesn't have; it is there again"
                );
                let restoring = Restoring::new(name.to_owned(), Settings::default(), shared);
                add(&mut renamed, &restoring.vhost);
                vhosts.entry(name.to_owned()).or_insert(restoring)
            }
        };
        restoring.take(key, value, &mut renamed);
    }
    for name in &ending {
        info!(vhost = name, "the deletion of a vhost goes on where it was broken off");
        gone.delete(&record::vhost_key(name))?;
    }
    gone.finish(Urgency::Soon)?;
    let vhosts = vhosts.into_values().map(Restoring::finish).collect();
    if !renamed.is_empty() {
        shared.log.append(&mut renamed, Urgency::Soon)?;
    }
    Ok(vhosts)
}

/// The vhosts that there are, without objects yet; and the names of those whose deletion was under way.
fn vhosts<'a>(
    shared: &Arc<Shared>,
    table: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(BTreeMap<String, Restoring>, BTreeSet<String>), Error> {
    let (mut vhosts, mut ending) = (BTreeMap::new(), BTreeSet::new());
    let mut counted = false;
    for (key, value) in table {
        counted |= key == record::HAS_VHOSTS;
        match record::decode(key, value).filter(|_| record::is_vhost(key)) {
            Some(Record::Vhost(name, stored)) if stored.ending => _ = ending.insert(name),
            Some(Record::Vhost(name, stored)) => {
                let restoring = Restoring::new(name.clone(), stored.settings, shared);
                vhosts.insert(name, restoring);
            }
            _ => {}
        }
    }
    if !counted {
        // A new data directory, or one of a version that knew no other vhost.
        let restoring = Restoring::new(MAIN.to_owned(), Settings::of_main(), shared);
        let mut records = Batch::default();
        records.put(record::HAS_VHOSTS, &record::has_vhosts_value());
        add(&mut records, &restoring.vhost);
        vhosts.entry(MAIN.to_owned()).or_insert(restoring);
        shared.log.append(&mut records, Urgency::Soon)?;
    }
    Ok((vhosts, ending))
}

fn add(records: &mut Batch, vhost: &Vhost) {
    let value = record::vhost_value(&vhost.settings(), false);
    records.put(&record::vhost_key(&vhost.name), &value);
}

fn unknown(key: &[u8]) {
    warn!(key = %String::from_utf8_lossy(key), "an entry of the log's table isn't known; it is skipped");
}

impl Restoring {
    fn new(name: String, settings: Settings, shared: &Arc<Shared>) -> Self {
        Self {
            vhost: Vhost::new(name, settings, shared),
            bindings: Vec::new(),
            policies: Policies::default(),
        }
    }

    /// An entry of the table. Puts entries that earlier versions kept otherwise into `renamed`.
    fn take(&mut self, key: &[u8], value: &[u8], renamed: &mut Batch) {
        match record::decode(key, value) {
            Some(Record::Vhost(..)) => {}
            Some(Record::Exchange(_, exchange)) => self.exchange(exchange),
            Some(Record::Queue(_, queue)) => self.queue(queue),
            Some(Record::Binding(vhost, binding)) => {
                // Earlier versions kept the arguments in the order in which they came.
                let name = record::binding_key(&vhost, &binding);
                if name != key {
                    renamed.delete(key);
                    renamed.put(&name, value);
                }
                self.bindings.push(binding);
            }
            Some(Record::Policy(_, class, policy)) => self.policy(class, policy),
            None => unknown(key),
        }
    }

    fn exchange(&self, exchange: record::Exchange) {
        let name = exchange.name.clone();
        let definition = Definition {
            name: exchange.name,
            kind: exchange.kind,
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
            arguments: exchange.arguments,
        };
        match Exchange::new(definition) {
            Ok(exchange) => {
                self.vhost.declared.add(&exchange.definition);
                self.vhost.topology.write().exchanges.insert(name, exchange);
            }
            Err(reason) => warn!(?name, reason, "an exchange in the log can't be had; it is left out"),
        }
    }

    fn queue(&self, queue: record::Queue) {
        let vhost = &self.vhost;
        let name = queue.name.clone();
        let definition = queue::Definition {
            name: queue.name,
            durable: true,
            auto_delete: queue.auto_delete,
            owner: None,
            arguments: Arguments::restored(queue.arguments),
        };
        vhost.declared.add(&definition);
        let queue = Arc::new(Queue::new(
            definition,
            queue.id,
            vhost.log.clone(),
            vhost.memory.clone(),
            vhost.upkeep.clone(),
        ));
        vhost.shared.queues.add(&queue);
        vhost.topology.write().queues.insert(name, queue);
    }

    fn policy(&mut self, class: Class, policy: Policy) {
        self.policies.put(class, policy);
    }

    fn finish(self) -> Arc<Vhost> {
        let mut topology = self.vhost.topology.write();
        for binding in self.bindings {
            let target = topology.target(&binding);
            let (Some(target), Some(exchange)) = (target, topology.exchanges.get_mut(&binding.source)) else {
                warn!(?binding, "a binding in the log leads nowhere; it is dropped");
                continue;
            };
            if let Some(binding) = exchange.bind(binding, target) {
                self.vhost.declared.add(&*binding);
                topology.note_incoming(binding);
            }
        }
        topology.apply_policies(self.policies);
        drop(topology);
        self.vhost
    }
}

#[cfg(test)]
mod tests;
