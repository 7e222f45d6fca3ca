//! A line of things that wait for the same, each in it once, the first to come in front.
//!
//! Comes in: shared things. Goes out: the first one. Each step takes the same time however many wait.
//! Does not know what they wait for.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Things that are found by a look at each.
const FEW: usize = 16;

/// A line.
pub struct Line<T: ?Sized> {
    waiting: VecDeque<Arc<T>>,
    /// Addresses of all that wait, once they are more than a few.
    addresses: HashSet<usize, foldhash::fast::FixedState>,
}

impl<T: ?Sized> Default for Line<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            addresses: HashSet::default(),
        }
    }
}

impl<T: ?Sized> Line<T> {
    /// Adds one at the end, unless it waits already.
    pub fn push(&mut self, one: &Arc<T>) {
        if self.addresses.is_empty() {
            if self.waiting.iter().any(|other| address(other) == address(one)) {
                return;
            }
            self.waiting.push_back(one.clone());
            if self.waiting.len() > FEW {
                self.addresses = self.waiting.iter().map(address).collect();
            }
        } else if self.addresses.insert(address(one)) {
            self.waiting.push_back(one.clone());
        }
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<Arc<T>> {
        let first = self.waiting.pop_front()?;
        self.addresses.remove(&address(&first));
        Some(first)
    }

    /// Number of those that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The mark that tells one from the others.
fn address<T: ?Sized>(one: &Arc<T>) -> usize {
    Arc::as_ptr(one).cast::<()>().addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::is_linear;

    #[test]
    fn each_is_in_it_once_and_the_first_to_come_leaves_first() {
        let all: Vec<Arc<usize>> = (0..3 * FEW).map(Arc::new).collect();
        let mut line = Line::default();
        for one in all.iter().chain(&all) {
            line.push(one);
        }
        assert_eq!(line.len(), all.len());
        let (first, others) = all.split_first().expect("some");
        assert_eq!(line.pop().as_ref(), Some(first));
        line.push(first);
        for expected in others.iter().chain([first]) {
            line.push(expected);
            assert_eq!(line.pop().as_ref(), Some(expected));
        }
        assert!(line.is_empty() && line.pop().is_none() && line.addresses.is_empty());
    }

    #[test]
    fn each_comes_and_goes_in_the_same_time() {
        let come_and_go = |all: &mut Vec<Arc<usize>>, n| {
            let mut line = Line::default();
            for _ in 0..2 {
                all.iter().for_each(|one| line.push(one));
            }
            assert_eq!(line.len(), n);
            while line.pop().is_some() {}
        };
        is_linear("a line", 10_000, |n| (0..n).map(Arc::new).collect(), come_and_go);
    }
}
