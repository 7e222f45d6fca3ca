//! Destinations, as the types of exchanges keep them.
//!
//! Does not know about keys or headers.

use super::row::Row;
use crate::queue::Queue;
use leveret_amqp::ShortString;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The destination of a binding.
#[derive(Clone)]
pub enum Target {
    /// A queue.
    Queue(Arc<Queue>),
    /// Another exchange of the vhost.
    Exchange(ShortString),
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Queue(a), Self::Queue(b)) => Arc::ptr_eq(a, b),
            (Self::Exchange(a), Self::Exchange(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Queue(queue) => queue.id.hash(state),
            Self::Exchange(name) => name.hash(state),
        }
    }
}

/// The destinations of one key, each once, with the number of bindings that lead to it.
#[derive(Default)]
pub(super) struct Targets(Row<Target, usize>);

impl Targets {
    pub(super) fn add(&mut self, target: Target) {
        match self.0.get_mut(&target) {
            Some(bindings) => *bindings += 1,
            None => self.0.add(target, 1),
        }
    }

    pub(super) fn remove(&mut self, target: &Target) {
        let Some(bindings) = self.0.get_mut(target) else { return };
        *bindings -= 1;
        if *bindings == 0 {
            self.0.remove(target);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().map(|(target, _)| target)
    }
}
