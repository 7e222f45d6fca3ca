//! The messages of a queue that wait for a consumer, in the order in which they leave: by id, or first by level in a
//! queue with priorities.
//!
//! Comes in: new entries, requeued ones. Goes out: the next one; sums over all. A queue without priorities pays for a
//! look at which of the two it is.
//! Does not know about consumers or channels.

use super::entries::Room;
use super::entry::Entry;
use super::levels::Levels;
use super::run::{Cleared, Run, Skipped, Sums};
use super::stamp::Millis;
use super::tail::{Reader, Turn};
use crate::message::Footprint;
use leveret_store::{Backlog, Live, Location, MessageId};

/// Waiting messages.
#[derive(Default)]
pub struct Ready {
    sums: Sums,
    form: Form,
}

enum Form {
    /// By id.
    Run(Run),
    /// By level, and then by id.
    Levels(Box<Levels>),
}

impl Default for Form {
    fn default() -> Self {
        Self::Run(Run::default())
    }
}

impl Ready {
    /// No messages, of a queue with priorities.
    pub fn by_level() -> Self {
        Self {
            form: Form::Levels(Box::default()),
            ..Self::default()
        }
    }

    /// Number of messages that wait.
    pub fn len(&self) -> usize {
        self.sums.count
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.sums.count == 0
    }

    /// Bodies of the waiting messages, bytes.
    pub fn body_bytes(&self) -> u64 {
        self.sums.body_bytes
    }

    /// Number and body bytes of those that the log has.
    pub fn durable(&self) -> (usize, u64) {
        (self.sums.durable, self.sums.durable_bytes)
    }

    /// Memory that the messages take.
    pub fn resident(&self) -> Footprint {
        self.sums.resident
    }

    /// Puts in what a start found. Nothing must be waiting yet.
    pub fn restore(&mut self, backlog: Backlog, reader: Reader<'_>) {
        match &mut self.form {
            Form::Run(run) => run.restore(backlog, reader, &mut self.sums),
            Form::Levels(levels) => levels.restore(backlog, reader, &mut self.sums),
        }
    }

    /// Adds new messages, each behind those that came before it.
    pub fn extend(&mut self, entries: impl Iterator<Item = Entry>, reader: Reader<'_>) {
        match &mut self.form {
            Form::Run(run) => entries.for_each(|entry| run.push(entry, reader, &mut self.sums)),
            Form::Levels(levels) => entries.for_each(|entry| levels.push(entry, reader, &mut self.sums)),
        }
    }

    /// Puts a message back to its old position.
    pub fn insert(&mut self, entry: Entry, reader: Reader<'_>) {
        match &mut self.form {
            Form::Run(run) => run.insert(entry, reader, &mut self.sums),
            Form::Levels(levels) => levels.insert(entry, reader, &mut self.sums),
        }
    }

    /// Takes the first message, in memory. Messages that the log can't give back any more, and those whose time is over
    /// by `now`, are handed to `skipped`.
    #[inline]
    pub fn pop(&mut self, now: Option<Millis>, reader: Reader<'_>, skipped: &mut Skipped) -> Option<Entry> {
        match &mut self.form {
            Form::Run(run) => run.pop(now, reader, skipped, &mut self.sums),
            Form::Levels(levels) => levels.pop(now, reader, skipped, &mut self.sums),
        }
    }

    /// The first message, if it is in memory.
    pub fn first(&self) -> Option<&Entry> {
        match &self.form {
            Form::Run(run) => run.first(),
            Form::Levels(levels) => levels.first(),
        }
    }

    /// Number of the first messages that have this many bytes together, or of some of them, `most` at most; at least
    /// one.
    pub fn first_of(&self, bytes: u64, most: usize) -> usize {
        match &self.form {
            Form::Run(run) => run.first_of(bytes, most),
            Form::Levels(levels) => levels.first_of(bytes, most),
        }
    }

    /// Takes out the first messages. Those that were not in memory come without the message.
    pub fn take_first(&mut self, count: usize, reader: Reader<'_>) -> Vec<Entry> {
        match &mut self.form {
            Form::Run(run) => run.take_first(count, reader, &mut self.sums),
            Form::Levels(levels) => levels.take_first(count, reader, &mut self.sums),
        }
    }

    /// No message's time is over before.
    pub fn earliest(&self) -> Option<Millis> {
        match &self.form {
            Form::Run(run) => run.earliest(),
            Form::Levels(levels) => levels.earliest(),
        }
    }

    /// Takes out messages whose time is over, wherever they wait: `most` or a few more, the rest at the next call.
    /// Those that were not in memory come without the message.
    pub fn expire(&mut self, now: Millis, most: usize, reader: Reader<'_>) -> Vec<Entry> {
        let mut turn = Turn::of(most);
        match &mut self.form {
            Form::Run(run) => run.expire(now, &mut turn, reader, &mut self.sums),
            Form::Levels(levels) => levels.expire(now, &mut turn, reader, &mut self.sums),
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) -> Cleared {
        let mut cleared = Cleared {
            messages: self.sums.count,
            ..Cleared::default()
        };
        self.sums = Sums::default();
        match &mut self.form {
            Form::Run(run) => std::mem::take(run).clear(&mut cleared),
            Form::Levels(levels) => std::mem::take(&mut **levels).clear(&mut cleared),
        }
        cleared
    }

    /// The delivery count and the stamp of a message that the log has, if it waits here. `stamp`: as its record has it.
    pub fn live(&mut self, id: MessageId, stamp: Option<u64>, reader: Reader<'_>) -> Option<Live> {
        match &mut self.form {
            Form::Run(run) => run.live(id, reader),
            Form::Levels(levels) => levels.live(id, stamp, reader),
        }
    }

    /// Notes that a message's record has been moved. False if it doesn't wait here. `stamp`: as with [`Ready::live`].
    pub fn relocate(&mut self, id: MessageId, stamp: Option<u64>, to: Location, reader: Reader<'_>) -> bool {
        match &mut self.form {
            Form::Run(run) => run.relocate(id, to, reader),
            Form::Levels(levels) => levels.relocate(id, stamp, to, reader),
        }
    }

    /// Memory that very many have left, for the place that they go to.
    #[inline]
    pub fn take_room(&mut self) -> Option<Room> {
        match &mut self.form {
            Form::Run(run) => run.take_room(),
            Form::Levels(_) => None,
        }
    }

    /// Memory of the place that very many come from.
    pub fn lend(&mut self, room: Room) {
        if let Form::Run(run) = &mut self.form {
            run.lend(room);
        }
    }

    /// Adds the messages that the log has.
    pub fn capture(&mut self, backlog: &mut Backlog) {
        match &mut self.form {
            Form::Run(run) => run.capture(backlog),
            Form::Levels(levels) => levels.capture(backlog),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels are in a box.
    #[test]
    fn a_queue_without_priorities_is_no_larger_for_them() {
        assert_eq!(size_of::<Ready>(), size_of::<Sums>() + size_of::<Run>());
    }
}
