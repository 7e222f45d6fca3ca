//! The queues of all vhosts by their numbers in the log: the log asks for them by number, message by message.
//!
//! Comes in: queues as they come and go. Goes out: the queue of a number. Does not know about vhosts.

use crate::queue::Queue;
use leveret_store::QueueId;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Queues by number.
#[derive(Default)]
pub struct Directory(RwLock<HashMap<QueueId, Arc<Queue>>>);

impl Directory {
    /// The queue of this number.
    pub fn get(&self, id: QueueId) -> Option<Arc<Queue>> {
        self.0.read().get(&id).cloned()
    }

    /// All queues, those for direct replies included.
    pub fn all(&self) -> Vec<Arc<Queue>> {
        self.0.read().values().cloned().collect()
    }

    pub(super) fn add(&self, queue: &Arc<Queue>) {
        self.0.write().insert(queue.id, queue.clone());
    }

    pub(super) fn remove(&self, id: QueueId) {
        self.0.write().remove(&id);
    }
}
