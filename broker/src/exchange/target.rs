//! Destinations, as the types of exchanges keep them.
//!
//! Does not know about keys or headers.

use crate::queue::Queue;
use leveret_amqp::ShortString;
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

/// A destination with the number of bindings that lead to it by the same key.
struct Counted {
    target: Target,
    bindings: usize,
}

/// The destinations of one key, each once.
#[derive(Default)]
pub(super) struct Targets(Vec<Counted>);

impl Targets {
    pub(super) fn add(&mut self, target: Target) {
        match self.0.iter_mut().find(|counted| counted.target == target) {
            Some(counted) => counted.bindings += 1,
            None => self.0.push(Counted { target, bindings: 1 }),
        }
    }

    pub(super) fn remove(&mut self, target: &Target) {
        let Some(at) = self.0.iter().position(|counted| counted.target == *target) else {
            return;
        };
        let last = self.0.get_mut(at).is_some_and(|counted| {
            counted.bindings -= 1;
            counted.bindings == 0
        });
        if last {
            self.0.remove(at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter().map(|counted| &counted.target)
    }
}
