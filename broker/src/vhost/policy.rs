//! Policies made and removed, and applied to what there is.
//!
//! Comes in: policies from the HTTP API. Goes out: a record in the log, and other policies for the exchanges and queues
//! that they match. Patterns are matched, and queues gone through, without the topology's lock: objects that are
//! declared meanwhile know the new policies already. Does not know which of several policies counts.

use super::names::is_reply_queue;
use super::record;
use super::state::{Change, Topology, Vhost};
use crate::access::Actor;
use crate::error::Result;
use crate::events::Event;
use crate::limits::tables;
use crate::outbox::Work;
use crate::policy::{self, Applied, Class, Kind, Policies, Policy};
use crate::queue::Queue;
use crate::queue::arguments::QueueType;
use leveret_amqp::{RawTable, ShortString};
use leveret_store::{Batch, Urgency};
use std::sync::Arc;

/// Queues after which dead letters and records are passed on.
const PORTION: usize = 256;
/// Bytes of a policy without its texts, roughly: most of it is the compiled pattern.
const POLICY: usize = 4096;

/// A policy that was put: the change, and whether there was none of its name.
pub struct Put {
    /// The change.
    pub change: Change,
    /// True if there was none of its name.
    pub created: bool,
}

impl Vhost {
    /// Puts a policy in place of the one of its name, and applies it to what there is.
    ///
    /// # Errors
    /// 406 if it is too large, or memory is full; the log has failed.
    pub fn put_policy(&self, class: Class, policy: Policy, actor: &Actor) -> Result<Put> {
        let definition = RawTable::from(&policy.definition);
        tables::check(&definition, tables::ARGUMENTS).map_err(|wrong| wrong.of("values of a policy"))?;
        let bytes = POLICY + policy.name.len() + policy.pattern.text().len() + definition.octets().len();
        self.memory.admit(bytes as u64)?;
        let mut records = Batch::default();
        let key = record::policy_key(&self.name, class, &policy.name);
        records.put(&key, &record::policy_value(&policy));
        let event = Event::policy_set(&policy);
        let name = policy.name.clone();
        let mut created = false;
        let put = |policies: &mut Policies| {
            created = policies.get(class, &policy.name).is_none();
            policies.put(class, policy)
        };
        let change = self.change_policies(&mut records, (class, &name), put, &mut Work::default())?;
        if change.changed {
            self.tell(&actor.user, &[event]);
        }
        Ok(Put { change, created })
    }

    /// Removes a policy. `None` if there is none of this name.
    ///
    /// # Errors
    /// The log has failed.
    pub fn delete_policy(&self, class: Class, name: &str, actor: &Actor) -> Result<Option<Change>> {
        let mut records = Batch::default();
        records.delete(&record::policy_key(&self.name, class, name));
        let remove = |policies: &mut Policies| policies.remove(class, name).is_some();
        let change = self.change_policies(&mut records, (class, name), remove, &mut Work::default())?;
        if !change.changed {
            return Ok(None);
        }
        self.tell(&actor.user, &[Event::policy_cleared(class, name)]);
        Ok(Some(change))
    }

    /// Has the policies of an object that is to be declared looked for before the topology is locked: the patterns of
    /// many policies take their time. They are remembered until then.
    pub(super) fn look_for_policies(&self, kinds: &[Kind], name: &ShortString) {
        let policies = self.topology.read().policies.clone();
        for kind in kinds {
            let _ = policies.of(*kind, name.as_bytes());
        }
    }

    /// Makes a change of one policy, of which `records` are the record, unless there is nothing to change.
    pub(super) fn change_policies(
        &self,
        records: &mut Batch,
        (class, name): (Class, &str),
        change: impl FnOnce(&mut Policies) -> bool,
        work: &mut Work,
    ) -> Result<Change> {
        let _one_after_the_other = self.policy_changes.lock();
        let mut topology = self.topology_to_add_to()?;
        let mut policies = Policies::clone(&topology.policies);
        if !change(&mut policies) {
            return Ok(Change::default());
        }
        let old = topology.policies.get(class, name).cloned();
        topology.policies = Arc::new(policies);
        let change = self.commit(records, Urgency::Now)?;
        let of_policy = policy::Change::new(topology.policies.clone(), class, name, old);
        let (queues, exchanges) = (topology.all_queues(), topology.all_exchanges());
        drop(topology);
        for exchanges in exchanges.chunks(PORTION) {
            let applies = |(name, before): &(ShortString, Option<Arc<Applied>>)| {
                of_policy.applies(before.as_ref(), Kind::Exchange, name.as_bytes())
            };
            let applied: Vec<_> = exchanges.iter().map(applies).collect();
            let mut topology = self.topology.write();
            for ((name, _), applied) in exchanges.iter().zip(applied) {
                if let Some(exchange) = topology.exchanges.get_mut(name) {
                    exchange.apply(applied);
                }
            }
        }
        for queues in queues.chunks(PORTION) {
            for queue in queues {
                let mut more = apply_change(&of_policy, queue, work);
                while more {
                    work.finish(&self.log)?;
                    more = queue.trim(work);
                }
            }
            work.finish(&self.log)?;
        }
        // Routes know whether a queue limits the time of its messages.
        self.changed();
        Ok(change)
    }
}

impl Topology {
    fn all_queues(&self) -> Vec<Arc<Queue>> {
        self.queues.values().cloned().collect()
    }

    /// Their names, with the policies that apply to each.
    fn all_exchanges(&self) -> Vec<(ShortString, Option<Arc<Applied>>)> {
        let exchanges = self.exchanges.iter();
        exchanges
            .map(|(name, exchange)| (name.clone(), exchange.policies.clone()))
            .collect()
    }

    fn apply_to_exchanges(&mut self) {
        for (name, exchange) in &mut self.exchanges {
            exchange.apply(self.policies.of(Kind::Exchange, name.as_bytes()));
        }
    }

    /// Has the policies apply to everything, at start.
    pub(super) fn apply_policies(&mut self, policies: Policies) {
        self.policies = Arc::new(policies);
        self.apply_to_exchanges();
        // Queues have no messages yet: nothing follows.
        for queue in self.queues.values() {
            apply(&self.policies, queue, &mut Work::default());
        }
    }
}

/// Has those policies apply to a queue that match it. Queues for direct replies have none. True if there is more to
/// drop than was dropped at once.
pub(super) fn apply(policies: &Policies, queue: &Arc<Queue>, work: &mut Work) -> bool {
    let name = queue.name();
    if is_reply_queue(name) {
        return false;
    }
    queue.apply(policies.of(kind(queue), name.as_bytes()), work)
}

/// The same after a change of one policy.
fn apply_change(change: &policy::Change, queue: &Arc<Queue>, work: &mut Work) -> bool {
    let name = queue.name();
    if is_reply_queue(name) {
        return false;
    }
    let before = queue.policies();
    queue.apply(change.applies(before.as_ref(), kind(queue), name.as_bytes()), work)
}

fn kind(queue: &Queue) -> Kind {
    match queue.definition.arguments.values.queue_type() {
        QueueType::Classic => Kind::Classic,
        QueueType::Quorum => Kind::Quorum,
        QueueType::Stream => Kind::Stream,
    }
}

#[cfg(test)]
mod tests;
