//! What the deliveries of a channel come from: which queue and consumer a source's number stands for.
//!
//! Comes in: consumers and queues as they are first used. Goes out: the queue to settle with. Does not know about delivery tags.

use super::deliver::Deliveries;
use crate::queue::Queue;
use leveret_store::QueueId;
use std::collections::HashMap;
use std::sync::Arc;

/// Queue and consumer by source. A consumer's number is 0 for basic.get.
#[derive(Default)]
pub struct Sources {
    known: Vec<Option<(Arc<Queue>, u64)>>,
    gets: HashMap<QueueId, u32>,
}

impl Sources {
    /// A source for a new consumer.
    pub fn consumer(&mut self, deliveries: &Deliveries, queue: &Arc<Queue>, consumer: u64) -> u32 {
        let source = deliveries.add_source();
        let at = source as usize;
        if self.known.len() <= at {
            self.known.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.known.get_mut(at) {
            *slot = Some((queue.clone(), consumer));
        }
        source
    }

    /// The source of messages fetched from a queue.
    pub fn get(&mut self, deliveries: &Deliveries, queue: &Arc<Queue>) -> u32 {
        if let Some(source) = self.gets.get(&queue.id) {
            return *source;
        }
        let source = self.consumer(deliveries, queue, 0);
        self.gets.insert(queue.id, source);
        source
    }

    /// What a number stands for.
    pub fn find(&self, source: u32) -> Option<&(Arc<Queue>, u64)> {
        self.known.get(source as usize)?.as_ref()
    }
}
