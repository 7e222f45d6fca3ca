//! Origins of a channel's deliveries: the queue and consumer that a source's number stands for.
//!
//! Comes in: consumers and queues as they are first used. Goes out: the queue to settle with. A queue that messages
//! were fetched from is forgotten some time after it has gone.
//! Does not know about delivery tags.

use super::deliver::Deliveries;
use crate::queue::Queue;
use leveret_store::QueueId;
use std::collections::HashMap;
use std::sync::Arc;

/// Queues fetched from, before the first look for those that have gone.
const FEW: usize = 16;

/// Origins of deliveries, by the number of their source.
#[derive(Default)]
pub struct Sources {
    known: Vec<Option<Origin>>,
    gets: HashMap<QueueId, u32>,
    /// Number of `gets` that were left by the last look for queues that have gone.
    left: usize,
}

/// The consumer that a delivery is for.
pub struct Origin {
    /// Its queue.
    pub queue: Arc<Queue>,
    /// Its number; 0 for basic.get.
    pub consumer: u64,
}

impl Sources {
    /// A source for a new consumer.
    pub fn consumer(&mut self, deliveries: &Deliveries, queue: &Arc<Queue>, consumer: u64) -> u32 {
        let source = deliveries.add_source(consumer == 0);
        let at = source as usize;
        if self.known.len() <= at {
            self.known.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.known.get_mut(at) {
            *slot = Some(Origin {
                queue: queue.clone(),
                consumer,
            });
        }
        source
    }

    /// The source of messages fetched from a queue.
    pub fn get(&mut self, deliveries: &Deliveries, queue: &Arc<Queue>) -> u32 {
        if let Some(source) = self.gets.get(&queue.id) {
            return *source;
        }
        if self.gets.len() >= 2 * self.left.max(FEW / 2) {
            self.forget_deleted(deliveries);
        }
        let source = self.consumer(deliveries, queue, 0);
        self.gets.insert(queue.id, source);
        source
    }

    /// Forgets queues that have gone. What was fetched from them can still be settled.
    fn forget_deleted(&mut self, deliveries: &Deliveries) {
        let known = &mut self.known;
        self.gets.retain(|_, source| {
            let Some(slot) = known.get_mut(*source as usize) else {
                return false;
            };
            let gone = slot.as_ref().is_none_or(|origin| origin.queue.is_deleted());
            if gone && deliveries.retire_source(*source) {
                *slot = None;
            }
            !gone
        });
        self.left = self.gets.len();
    }

    /// The origin that a number stands for.
    pub fn find(&self, source: u32) -> Option<&Origin> {
        self.known.get(source as usize)?.as_ref()
    }

    /// All queues that messages may have come from, each once.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        let known = self.known.iter().flatten();
        let queues: HashMap<QueueId, &Arc<Queue>> = known.map(|origin| (origin.queue.id, &origin.queue)).collect();
        queues.into_values().cloned().collect()
    }
}
