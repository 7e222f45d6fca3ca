//! The waiting messages of a queue with priorities: a run of them for each level at which some wait.
//!
//! Comes in: new entries, requeued ones, each with the level in its stamp. Goes out: the next one, which is the first
//! of the highest level. A level at which no message waits takes no memory and no time. Memory is for the highest
//! levels: what waits below gives it up first.
//! Does not know about consumers, or how a level comes from a priority.

use super::entry::Entry;
use super::run::{Cleared, KEPT, Run, Skipped, Sums};
use super::stamp::{self, Millis};
use super::tail::{Reader, Tail, Turn};
use leveret_store::{Backlog, Live, Location, MessageId, Page, StoredMessage};
use std::collections::BTreeMap;
use std::iter::Peekable;

#[cfg(test)]
mod tests;

/// Empty runs, kept for the next level at which a message waits: in a queue that is nearly empty, levels come and go
/// with every message. All together have room for as many messages as a queue without priorities keeps it for.
#[derive(Default)]
struct Spare {
    #[expect(clippy::vec_box, reason = "the boxes go back to a level as they are")]
    runs: Vec<Box<Run>>,
    room: usize,
}

impl Spare {
    fn keep(&mut self, run: Box<Run>) {
        if self.room + run.room() <= KEPT {
            self.room += run.room();
            self.runs.push(run);
        }
    }

    fn take(&mut self) -> Box<Run> {
        let run = self.runs.pop().unwrap_or_default();
        self.room -= run.room();
        run
    }
}

/// Waiting messages by level.
#[derive(Default)]
pub struct Levels {
    /// None of them is empty.
    runs: BTreeMap<u8, Box<Run>>,
    spare: Spare,
    /// Nothing below this level is in memory.
    warm_from: u8,
}

impl Levels {
    /// Adds a new message.
    pub fn push(&mut self, mut entry: Entry, reader: Reader<'_>, sums: &mut Sums) {
        let level = stamp::level(entry.stamp);
        if sums.resident.bytes >= reader.budget {
            self.make_room(level, reader.budget, sums);
        }
        let run = of_level(level, &mut self.runs, &mut self.spare);
        if run.keeps(&entry) {
            // What was read along with it leaves earlier, and it would hold the memory of all.
            entry.message = entry.message.map(|message| message.detached());
        }
        run.push(entry, reader, sums);
        if !run.is_cold() {
            self.warm_from = self.warm_from.min(level);
        }
    }

    /// Puts a message back to its old position in its level.
    pub fn insert(&mut self, entry: Entry, reader: Reader<'_>, sums: &mut Sums) {
        let level = stamp::level(entry.stamp);
        let run = of_level(level, &mut self.runs, &mut self.spare);
        run.insert(entry, reader, sums);
        if !run.is_cold() {
            self.warm_from = self.warm_from.min(level);
        }
    }

    /// Leaves levels below this one to the log, from the lowest on, until memory is within the budget.
    fn make_room(&mut self, level: u8, budget: u64, sums: &mut Sums) {
        while self.warm_from < level && sums.resident.bytes >= budget {
            let mut below = self.runs.range_mut(self.warm_from..level);
            match below.find(|(_, run)| !run.is_cold()) {
                Some((at, run)) => {
                    run.chill(sums);
                    self.warm_from = at + 1;
                }
                None => self.warm_from = level,
            }
        }
    }

    /// As [`Run::pop`], from the highest level.
    pub fn pop(
        &mut self,
        now: Option<Millis>,
        reader: Reader<'_>,
        skipped: &mut Skipped,
        sums: &mut Sums,
    ) -> Option<Entry> {
        loop {
            let mut highest = self.runs.last_entry()?;
            self.warm_from = self.warm_from.min(*highest.key());
            let run = highest.get_mut();
            let entry = run.pop(now, reader, skipped, sums);
            if run.is_empty() {
                self.spare.keep(highest.remove());
            }
            if entry.is_some() {
                return entry;
            }
        }
    }

    /// As [`Run::first`], of the highest level.
    pub fn first(&self) -> Option<&Entry> {
        self.runs.last_key_value().and_then(|(_, run)| run.first())
    }

    /// As [`Run::first_of`], in the highest level.
    pub fn first_of(&self, bytes: u64, most: usize) -> usize {
        self.runs
            .last_key_value()
            .map_or(1, |(_, run)| run.first_of(bytes, most))
    }

    /// Takes out the first messages, those of the highest level first.
    pub fn take_first(&mut self, count: usize, reader: Reader<'_>, sums: &mut Sums) -> Vec<Entry> {
        let mut first = Vec::new();
        while first.len() < count
            && let Some(mut highest) = self.runs.last_entry()
        {
            first.extend(highest.get_mut().take_first(count - first.len(), reader, sums));
            if highest.get().is_empty() {
                highest.remove();
            }
        }
        first
    }

    /// No message's time is over before.
    pub fn earliest(&self) -> Option<Millis> {
        self.runs.values().map(|run| run.earliest()).fold(None, stamp::earlier)
    }

    /// As [`Run::expire`], the highest level first.
    pub fn expire(&mut self, now: Millis, turn: &mut Turn, reader: Reader<'_>, sums: &mut Sums) -> Vec<Entry> {
        let mut expired = Vec::new();
        for run in self.runs.values_mut().rev() {
            if turn.is_over() {
                break;
            }
            expired.extend(run.expire(now, turn, reader, sums));
        }
        self.runs.retain(|_, run| !run.is_empty());
        expired
    }

    /// Adds what it holds, but for the number of messages.
    pub fn clear(self, cleared: &mut Cleared) {
        self.runs.into_values().for_each(|run| run.clear(cleared));
    }

    /// The delivery count and the stamp of a message that the log has, if it waits here. `stamp`: as its record has it;
    /// without it, all levels are looked through.
    pub fn live(&mut self, id: MessageId, stamp: Option<u64>, reader: Reader<'_>) -> Option<Live> {
        self.may_have(stamp).find_map(|run| run.live(id, reader))
    }

    /// Notes that a message's record has been moved. False if it doesn't wait here. `stamp`: as with [`Levels::live`].
    pub fn relocate(&mut self, id: MessageId, stamp: Option<u64>, to: Location, reader: Reader<'_>) -> bool {
        self.may_have(stamp).any(|run| run.relocate(id, to, reader))
    }

    /// The runs in which a message with this stamp may be.
    fn may_have(&mut self, stamp: Option<u64>) -> impl Iterator<Item = &mut Run> {
        let levels = stamp.map_or(0..=u8::MAX, |stamp| stamp::level(stamp)..=stamp::level(stamp));
        self.runs.range_mut(levels).map(|(_, run)| &mut **run)
    }

    /// Adds the messages that the log has. Pages of different levels lie beside each other.
    pub fn capture(&mut self, backlog: &mut Backlog) {
        self.runs.values_mut().for_each(|run| run.capture(backlog));
        backlog.pages.sort_unstable_by_key(Page::first);
    }

    /// Puts in what a start found. A page of one level stays as it is; others, as the store packs them when it has read
    /// the log, are taken apart.
    pub fn restore(&mut self, backlog: Backlog, reader: Reader<'_>, sums: &mut Sums) {
        let mut restoring = Restoring {
            tails: BTreeMap::new(),
            delivered: backlog.delivered,
            reader,
            sums,
        };
        let mut loose = backlog.loose.into_iter().peekable();
        for page in backlog.pages {
            restoring.singles(&mut loose, page.first());
            match level_of(&page) {
                Some(level) => restoring.page(level, page),
                None => {
                    let messages = reader.log.unpack(reader.queue, &page);
                    restoring.singles(&mut messages.into_iter().peekable(), MessageId::MAX);
                }
            }
        }
        restoring.singles(&mut loose, MessageId::MAX);
        let tails = restoring.tails.into_iter();
        self.runs = tails
            .map(|(level, tail)| (level, Box::new(Run::behind(tail))))
            .collect();
        self.warm_from = u8::MAX;
    }
}

/// The run of a level, for a message that is added.
fn of_level<'a>(level: u8, runs: &'a mut BTreeMap<u8, Box<Run>>, spare: &mut Spare) -> &'a mut Run {
    runs.entry(level).or_insert_with(|| spare.take())
}

/// The level of all messages of a page; `None` if there are several. In a queue with priorities each message has a
/// stamp, so that the page knows the lowest and the highest of all.
fn level_of(page: &Page) -> Option<u8> {
    let Some(stamps) = page.stamps() else {
        return Some(0);
    };
    let (lowest, highest) = (stamp::level(*stamps.start()), stamp::level(*stamps.end()));
    (lowest == highest).then_some(lowest)
}

/// Messages that a start found, on the way to their levels.
struct Restoring<'a> {
    tails: BTreeMap<u8, Tail>,
    delivered: MessageId,
    reader: Reader<'a>,
    sums: &'a mut Sums,
}

impl Restoring<'_> {
    /// Single messages, as long as their ids are below the given one.
    fn singles(&mut self, messages: &mut Peekable<impl Iterator<Item = StoredMessage>>, below: MessageId) {
        while let Some(message) = messages.next_if(|message| message.id < below) {
            self.found(1, u64::from(message.payload_len));
            let reader = self.reader;
            self.tail(stamp::level(message.stamp)).put(&message, reader);
        }
    }

    fn page(&mut self, level: u8, page: Page) {
        self.found(page.count() as usize, page.payload_bytes());
        let reader = self.reader;
        self.tail(level).put_page(page, reader);
    }

    fn tail(&mut self, level: u8) -> &mut Tail {
        let delivered = self.delivered;
        self.tails.entry(level).or_insert_with(|| Tail::since(delivered))
    }

    fn found(&mut self, count: usize, bytes: u64) {
        self.sums.count += count;
        self.sums.durable += count;
        self.sums.body_bytes += bytes;
        self.sums.durable_bytes += bytes;
    }
}
