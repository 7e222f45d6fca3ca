//! Consumers that wait for room under the limit of their channel (basic.qos with global=true), in a line.
//!
//! Comes in: consumers that had a message and no room. Goes out: the one that has waited for the longest time. None is
//! looked at for whom there is no room: each step takes the same time however many wait.
//! Does not know the limit.

use crate::outbox::Stalled;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};

/// Consumers in line beside those of the channel, before those that have ended are looked for.
const SLACK: usize = 16;

/// The consumers in line. Each is in it once: its queue sees to that.
#[derive(Default)]
pub struct Line {
    first_to_last: VecDeque<Waiting>,
}

/// A consumer that waits.
struct Waiting {
    queue: Weak<dyn Stalled>,
    consumer: u64,
}

impl Line {
    /// Adds a consumer of a queue at the end.
    pub fn push(&mut self, queue: &Arc<dyn Stalled>, consumer: u64) {
        let queue = Arc::downgrade(queue);
        self.first_to_last.push_back(Waiting { queue, consumer });
    }

    /// Takes out the first one whose queue is still there.
    pub fn pop(&mut self) -> Option<(Arc<dyn Stalled>, u64)> {
        while let Some(Waiting { queue, consumer }) = self.first_to_last.pop_front() {
            if let Some(queue) = queue.upgrade() {
                return Some((queue, consumer));
            }
        }
        self.first_to_last = VecDeque::new();
        None
    }

    /// True if those that have ended are to be dropped: there are more in line than the channel has.
    pub fn is_long(&self, consumers: usize) -> bool {
        self.first_to_last.len() > 2 * consumers + SLACK
    }

    /// Drops all but these consumers.
    pub fn retain(&mut self, consumers: &HashSet<u64>) {
        self.first_to_last
            .retain(|waiting| consumers.contains(&waiting.consumer));
    }
}
