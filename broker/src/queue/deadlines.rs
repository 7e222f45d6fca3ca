//! The ends of time of messages in memory, the earliest first.
//!
//! Comes in: deadlines with the ids of their messages, mostly ascending. Goes out: the ids whose time is over. A
//! message that leaves by another way is not taken out at once: its note goes when the last message goes, or when notes
//! have become many more than messages. Does not know about messages.

use super::stamp::{self, Millis};
use leveret_store::MessageId;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A message and the end of its time; ordered by that.
type Note = (Millis, MessageId);

/// Notes that are kept at least, whatever has left.
const SLACK: usize = 1024;

/// Notes for which room is kept when all messages have left.
const KEPT: usize = 128;

/// Deadlines of some messages.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// Notes that came in order, as those of messages with the same time to live do: no search, no sorting.
    run: VecDeque<Note>,
    /// The others.
    heap: BinaryHeap<Reverse<Note>>,
}

impl Deadlines {
    /// Notes a message.
    #[inline]
    pub fn note(&mut self, deadline: Millis, id: MessageId) {
        let note = (deadline, id);
        if self.run.back().is_none_or(|last| *last <= note) {
            self.run.push_back(note);
        } else {
            self.heap.push(Reverse(note));
        }
    }

    /// The earliest deadline. Its message may have left.
    pub fn earliest(&self) -> Option<Millis> {
        let run = self.run.front().map(|note| note.0);
        let heap = self.heap.peek().map(|note| note.0.0);
        stamp::earlier(run, heap)
    }

    /// Takes out the messages whose time is over, the earliest first, `most` of them at most, those that have left
    /// included.
    pub fn due(&mut self, now: Millis, most: usize) -> Vec<MessageId> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(id) = self.next_due(now)
        {
            due.push(id);
        }
        due
    }

    fn next_due(&mut self, now: Millis) -> Option<MessageId> {
        let (run, heap) = (self.run.front().copied(), self.heap.peek().map(|note| note.0));
        let (deadline, id) = run.into_iter().chain(heap).min()?;
        if deadline > now {
            return None;
        }
        if run == Some((deadline, id)) {
            self.run.pop_front();
        } else {
            self.heap.pop();
        }
        Some(id)
    }

    /// True if most of them must be notes of messages that have left. `messages`: the number of those that wait.
    pub fn are_too_many_for(&self, messages: usize) -> bool {
        self.run.len() + self.heap.len() > 2 * messages + SLACK
    }

    /// Drops notes of messages that have left: all below `first`. `messages`: the number of those that wait.
    pub fn forget_below(&mut self, first: MessageId, messages: usize) {
        while self.run.pop_front_if(|note| note.1 < first).is_some() {}
        if self.are_too_many_for(messages) {
            self.run.retain(|note| note.1 >= first);
            self.heap.retain(|note| note.0.1 >= first);
        }
    }

    /// Drops all notes, and the memory that many of them took.
    pub fn clear(&mut self) {
        if self.run.capacity() + self.heap.capacity() > KEPT {
            *self = Self::default();
        } else {
            self.run.clear();
            self.heap.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_earliest_comes_first_in_whatever_order_they_came() {
        let mut deadlines = Deadlines::default();
        for (id, deadline) in [(1, 50), (2, 60), (3, 10), (4, 70), (5, 55)] {
            deadlines.note(deadline, id);
        }
        assert_eq!(deadlines.earliest(), Some(10));
        assert!(deadlines.due(9, 9).is_empty());
        assert_eq!(deadlines.due(55, 2), [3, 1]);
        assert_eq!(deadlines.due(55, 2), [5]);
        assert_eq!(deadlines.earliest(), Some(60));
        deadlines.forget_below(4, 1);
        assert_eq!(deadlines.earliest(), Some(70));
        deadlines.clear();
        assert_eq!(deadlines.earliest(), None);
    }

    #[test]
    fn notes_of_messages_that_have_left_do_not_pile_up() {
        let mut deadlines = Deadlines::default();
        for id in 0..10 * SLACK as u64 {
            deadlines.note(1_000_000 - id, id);
            deadlines.forget_below(id, 1);
        }
        assert!(deadlines.run.len() + deadlines.heap.len() <= SLACK + 2);
    }

    proptest! {
        #[test]
        fn every_note_is_due_once_and_not_early(notes in proptest::collection::vec(0u64..100, 0..200), step in 1u64..20) {
            let mut deadlines = Deadlines::default();
            for (id, deadline) in notes.iter().enumerate() {
                deadlines.note(*deadline, id as u64);
            }
            let mut seen = Vec::new();
            let mut now = 0;
            while now < 100 + step {
                let earliest = deadlines.earliest();
                let due = deadlines.due(now, usize::MAX);
                prop_assert_eq!(earliest.is_some_and(|earliest| earliest <= now), !due.is_empty());
                for id in &due {
                    let deadline = notes.get(*id as usize).copied().unwrap_or_default();
                    prop_assert!(deadline <= now && deadline + step > now);
                }
                seen.extend(due);
                now += step;
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..notes.len() as u64).collect::<Vec<_>>());
        }
    }
}
