//! Origins of a channel's deliveries: the queue and consumer that a source's number stands for.
//!
//! Comes in: consumers and queues as they are first used. Goes out: the queue to settle with.
//! Does not know about delivery tags.

use super::deliver::Deliveries;
use crate::queue::Queue;
use leveret_store::QueueId;
use std::collections::HashMap;
use std::sync::Arc;

/// Origins of deliveries, by the number of their source.
#[derive(Default)]
pub struct Sources {
    known: Vec<Option<Origin>>,
    gets: HashMap<QueueId, u32>,
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
        let source = deliveries.add_source();
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
        let source = self.consumer(deliveries, queue, 0);
        self.gets.insert(queue.id, source);
        source
    }

    /// The origin that a number stands for.
    pub fn find(&self, source: u32) -> Option<&Origin> {
        self.known.get(source as usize)?.as_ref()
    }
}
