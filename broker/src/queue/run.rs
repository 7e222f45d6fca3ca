//! Messages of a queue that wait for a consumer, in the order of their ids.
//!
//! Comes in: new entries at the end, requeued ones at their old position. Goes out: the next one. The front is kept in
//! memory; beyond a budget the durable messages behind it are only pointers into the log, read back in runs when their
//! turn comes. What all of a queue's runs sum up to is handed in.
//! Does not know about priorities, consumers or channels.

use super::deadlines::Deadlines;
use super::entries::{Entries, Room};
use super::entry::{self, Entry};
use super::stamp::{self, Millis};
use super::tail::{Cold, Reader, Tail, Turn};
use crate::message::Footprint;
use leveret_store::{Backlog, Live, Location, MessageId, Page};

/// Messages for which a queue that has run empty keeps room; the rest of a burst's is given back.
pub(super) const KEPT: usize = 4096;

/// Messages, and bytes of their bodies, read back from the log at a time. They share memory, so a message that stays
/// holds that much.
const REFILL_RUN: usize = 1024;
const REFILL_BYTES: u64 = 128 * 1024;

/// Messages that are many.
const LONG: usize = 1024;

/// Messages at the front that one which comes back before them leaves to the log, as far as they are there, if they
/// take more memory than they may. One that the log doesn't have is no reason: most likely it has none of them.
const MANY: usize = 16 * 1024;

/// Waiting messages, ascending by id.
#[derive(Default)]
pub struct Run {
    head: Entries,
    tail: Tail,
    /// Deadlines of the head's messages, if one ever had any.
    deadlines: Option<Box<Deadlines>>,
}

/// Sums over a queue's waiting messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Number of messages.
    pub count: usize,
    /// Their bodies, bytes.
    pub body_bytes: u64,
    /// Memory that they take.
    pub resident: Footprint,
    /// Number of those that the log has.
    pub durable: usize,
    /// Bodies of those, bytes.
    pub durable_bytes: u64,
}

/// Messages that have left on the way to the next one.
#[derive(Default)]
pub struct Skipped {
    /// Those that the log can't give back.
    pub lost: Vec<(MessageId, Location)>,
    /// Those whose time is over.
    pub expired: Vec<Entry>,
}

impl Skipped {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.expired.is_empty()
    }
}

/// Contents of a queue that was emptied.
#[derive(Default)]
pub struct Cleared {
    /// Number of messages.
    pub messages: usize,
    /// Those of them that the log has, except the ones in pages.
    pub loose: Vec<(MessageId, Location)>,
    /// Packed stretches, all of them in the log.
    pub pages: Vec<Page>,
}

impl Run {
    /// Messages of which the log had some at a start. `delivered`: everything at or below was delivered before.
    pub fn behind(tail: Tail) -> Self {
        Self {
            tail,
            ..Self::default()
        }
    }

    /// True if no message waits.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// The first message, if it is in memory.
    pub fn first(&self) -> Option<&Entry> {
        self.head.front()
    }

    /// True if its first message is not in memory, or there is none.
    pub fn is_cold(&self) -> bool {
        self.head.is_empty()
    }

    /// True if a new message would wait behind many others, in memory.
    pub fn keeps(&self, entry: &Entry) -> bool {
        match self.tail.is_empty() {
            true => self.head.len() > LONG,
            false => !entry.durable,
        }
    }

    /// Number of messages for which there is room without asking for memory.
    pub fn room(&self) -> usize {
        self.head.capacity()
    }

    /// Puts in what a start found. Nothing must be waiting yet.
    pub fn restore(&mut self, backlog: Backlog, reader: Reader<'_>, sums: &mut Sums) {
        let (count, bytes) = self.tail.restore(backlog, reader);
        sums.count += count;
        sums.durable += count;
        sums.body_bytes += bytes;
        sums.durable_bytes += bytes;
    }

    /// Adds a new message at the end. Two publishers that took their ids at once may come in the other order: then it
    /// goes to where its id belongs.
    #[inline]
    pub fn push(&mut self, entry: Entry, reader: Reader<'_>, sums: &mut Sums) {
        let last = self.tail.last().or_else(|| self.head.back().map(|entry| entry.id));
        if last.is_some_and(|last| last > entry.id) {
            return self.insert(entry, reader, sums);
        }
        sums.add(&entry);
        if self.tail.is_empty() && sums.resident.bytes < reader.budget {
            sums.resident += entry.resident();
            self.note(&entry);
            self.head.push_back(entry);
        } else {
            let cold = Cold::from(entry);
            sums.resident += cold.resident();
            self.tail.push(cold);
        }
    }

    /// Puts a message back to its old position (or where its id belongs, if others were requeued meanwhile).
    pub fn insert(&mut self, entry: Entry, reader: Reader<'_>, sums: &mut Sums) {
        sums.add(&entry);
        if entry.durable
            && self.head.len() >= MANY
            && sums.resident.bytes >= reader.budget
            && self.head.front().is_some_and(|first| entry.id < first.id)
        {
            self.chill(sums);
        }
        if self.tail.first().is_none_or(|first| entry.id < first) {
            sums.resident += entry.resident();
            self.note(&entry);
            self.head.insert(entry);
        } else {
            let cold = Cold::from(entry);
            sums.resident += cold.resident();
            self.tail.insert(cold, reader);
        }
    }

    /// Takes the first message, in memory. Messages that the log can't give back any more, and those whose time is over
    /// by `now`, are handed to `skipped`.
    #[inline]
    pub fn pop(
        &mut self,
        now: Option<Millis>,
        reader: Reader<'_>,
        skipped: &mut Skipped,
        sums: &mut Sums,
    ) -> Option<Entry> {
        loop {
            if self.head.is_empty() {
                self.warm(reader, sums);
            }
            let mut entry = self.head.pop_front()?;
            if self.head.is_empty() {
                self.ran_empty();
            }
            sums.subtract(&entry);
            if stamp::is_over(entry.stamp, now) {
                skipped.expired.push(entry);
                continue;
            }
            if entry.message.is_none() {
                match entry::read(reader.log, entry.location) {
                    Some(message) => entry.message = Some(message),
                    None => {
                        skipped.lost.push((entry.id, entry.location));
                        continue;
                    }
                }
            }
            return Some(entry);
        }
    }

    /// Gives back what a burst needed.
    fn ran_empty(&mut self) {
        if self.head.capacity() > KEPT {
            self.head = Entries::default();
        }
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.clear();
        }
    }

    /// Number of the first messages that have this many bytes together, or of those of them that are in memory, `most`
    /// at most; at least one.
    pub fn first_of(&self, bytes: u64, most: usize) -> usize {
        let mut sum = 0;
        let some = self.head.iter().take(most).take_while(|entry| {
            let before = sum;
            sum += u64::from(entry.body_len);
            before < bytes
        });
        some.count().max(1)
    }

    /// Takes out the first messages. Those that were not in memory come without the message.
    pub fn take_first(&mut self, count: usize, reader: Reader<'_>, sums: &mut Sums) -> Vec<Entry> {
        let from_head = count.min(self.head.len());
        let mut first = self.head.take_first(from_head);
        if count > from_head {
            let cold = self.tail.take(count - from_head, u64::MAX, reader);
            first.extend(cold.into_iter().map(Entry::from));
        }
        self.left(&first, sums);
        first
    }

    /// Counts out messages that have been taken from their places.
    fn left(&mut self, entries: &[Entry], sums: &mut Sums) {
        entries.iter().for_each(|entry| sums.subtract(entry));
        self.forget_deadlines();
    }

    /// Drops the notes of messages that have left.
    fn forget_deadlines(&mut self) {
        match (&mut self.deadlines, self.head.front()) {
            (Some(deadlines), Some(first)) => deadlines.forget_below(first.id, self.head.len()),
            (Some(deadlines), None) => deadlines.clear(),
            (None, _) => {}
        }
    }

    /// No message's time is over before.
    pub fn earliest(&self) -> Option<Millis> {
        let head = self.deadlines.as_ref().and_then(|deadlines| deadlines.earliest());
        stamp::earlier(head, self.tail.earliest())
    }

    /// Takes out messages whose time is over, wherever they wait: as many as the turn allows or a few more, the rest at
    /// the next turn. Those that were not in memory come without the message.
    pub fn expire(&mut self, now: Millis, turn: &mut Turn, reader: Reader<'_>, sums: &mut Sums) -> Vec<Entry> {
        let mut expired = Vec::new();
        // Some of those that are due may have left: their places are for others of the head, which are older than the
        // tail's.
        while !turn.is_over()
            && let Some(due) = self.due(now, turn.messages())
        {
            let before = expired.len();
            self.take_from_head(due, &mut expired);
            turn.took(expired.len() - before);
        }
        if !turn.is_over() {
            let cold = self.tail.expire(now, turn, reader);
            expired.extend(cold.into_iter().map(Entry::from));
        }
        self.left(&expired, sums);
        expired
    }

    /// Messages at the front whose time is over, `most` at most. Some may have left.
    fn due(&mut self, now: Millis, most: usize) -> Option<Vec<MessageId>> {
        let mut due = self.deadlines.as_mut()?.due(now, most);
        due.sort_unstable();
        (!due.is_empty()).then_some(due)
    }

    fn take_from_head(&mut self, due: Vec<MessageId>, expired: &mut Vec<Entry>) {
        let mut rest = due.iter().peekable();
        // Mostly they are the first ones, in order.
        while let Some(id) = rest.peek() {
            if self.head.front().is_some_and(|first| first.id < **id) {
                break;
            }
            expired.extend(self.head.pop_front_if(|first| first.id == **id));
            rest.next();
        }
        if rest.peek().is_some() {
            expired.extend(self.head.extract(|entry| due.binary_search(&entry.id).is_ok()));
        }
    }

    #[inline]
    fn note(&mut self, entry: &Entry) {
        if let Some(deadline) = stamp::deadline(entry.stamp) {
            self.note_deadline(deadline, entry.id);
        }
    }

    #[cold]
    fn note_deadline(&mut self, deadline: Millis, id: MessageId) {
        let deadlines = self.deadlines.get_or_insert_default();
        deadlines.note(deadline, id);
        if deadlines.are_too_many_for(self.head.len()) {
            self.forget_deadlines();
        }
    }

    /// Adds what it holds, but for the number of messages.
    pub fn clear(self, cleared: &mut Cleared) {
        let Self { head, mut tail, .. } = self;
        let (pages, cold) = tail.clear();
        let head = head.iter().filter(|entry| entry.durable);
        cleared.loose.extend(head.map(|entry| (entry.id, entry.location)));
        cleared.loose.extend(cold);
        cleared.pages.extend(pages);
    }

    /// The delivery count and the stamp of a message that the log has, if it waits here.
    pub fn live(&mut self, id: MessageId, reader: Reader<'_>) -> Option<Live> {
        if let Some(entry) = self.head.find(id) {
            return Some(entry.live());
        }
        self.tail.find(id, reader).map(|cold| cold.live())
    }

    /// Notes that a message's record has been moved. False if it doesn't wait here.
    pub fn relocate(&mut self, id: MessageId, to: Location, reader: Reader<'_>) -> bool {
        if let Some(entry) = self.head.find_mut(id) {
            entry.location = to;
            return true;
        }
        self.tail.find(id, reader).map(|cold| cold.location = to).is_some()
    }

    /// Adds the messages that the log has.
    pub fn capture(&mut self, backlog: &mut Backlog) {
        let head = self.head.iter().filter(|entry| entry.durable);
        backlog.loose.extend(head.map(Entry::stored));
        self.tail.capture(backlog);
    }

    /// Leaves the front to the log alone, as far as it is there: others need the memory more.
    pub fn chill(&mut self, sums: &mut Sums) {
        self.deadlines = None;
        let head = std::mem::take(&mut self.head);
        let cold = head.into_all().rev().map(|entry| {
            sums.resident -= entry.resident();
            let cold = Cold::from(entry);
            sums.resident += cold.resident();
            cold
        });
        self.tail.put_before(cold);
    }

    /// Memory that very many have left, for the place that they go to.
    #[inline]
    pub fn take_room(&mut self) -> Option<Room> {
        self.head.take_room()
    }

    /// Memory of the place that very many come from.
    pub fn lend(&mut self, room: Room) {
        self.head.lend(room);
    }

    /// Moves the next run from the tail to the head, with the messages. What can't be read now is tried again when it
    /// is popped.
    fn warm(&mut self, reader: Reader<'_>, sums: &mut Sums) {
        let run = self.tail.take(REFILL_RUN, REFILL_BYTES, reader);
        sums.resident -= run.iter().map(Cold::resident).sum();
        let mut run: Vec<Entry> = run.into_iter().map(Entry::from).collect();
        entry::read_back(reader.log, &mut run);
        for entry in run {
            sums.resident += entry.resident();
            self.note(&entry);
            self.head.push_back(entry);
        }
    }
}

impl Sums {
    /// A message more, but for the memory that it takes.
    #[inline]
    fn add(&mut self, entry: &Entry) {
        self.count += 1;
        self.body_bytes += u64::from(entry.body_len);
        if entry.durable {
            self.durable += 1;
            self.durable_bytes += u64::from(entry.body_len);
        }
    }

    #[inline]
    fn subtract(&mut self, entry: &Entry) {
        let len = u64::from(entry.body_len);
        self.count = self.count.saturating_sub(1);
        self.resident -= entry.resident();
        self.body_bytes = self.body_bytes.saturating_sub(len);
        if entry.durable {
            self.durable = self.durable.saturating_sub(1);
            self.durable_bytes = self.durable_bytes.saturating_sub(len);
        }
    }
}
