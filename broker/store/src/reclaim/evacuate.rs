//! Carries forward what a segment holds and others still need.
//!
//! In: sealed segments. Out: their live messages in a segment beside the log, what else is needed at the end of the
//! log, the owner told, the segments retired. Rules: a settlement may be dropped only when the segment with its message
//! is gone; the newest table entries and delivered marks stay; tombstones stay while an older segment exists. Does not
//! know which segments to choose.

use super::beside::Beside;
use super::postpone::put_off;
use super::{relocate, retire};
use crate::batch::Batch;
use crate::error::Error;
use crate::fs::Fs;
use crate::ids::{MessageId, QueueId};
use crate::location::Urgency;
use crate::log::Log;
use crate::owner::Owner;
use crate::record::{Count, Holder, Record, Run};
use crate::scan::{Found, Scanner};
use crate::segment::Segment;
use crate::shared::{Counters, Shared, settled_down};
use crate::stored::{Destination, Live};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of copies that are written at once.
const WRITE: usize = 256 << 10;
/// Keys of the table that are looked up under the log's lock at once.
const MOST_KEYS: usize = 1024;

/// Moves what is needed and retires the segments, which share the waits for the disk. Where references are left that
/// the owner does not answer for, the settlements are on their way; such a segment stays until they are durable, or the
/// owner has had time enough. One that cannot be read is left alone for a while. `portion`: bytes that go to the disk
/// at once.
///
/// # Errors
/// An error of the log, while waiting for it.
pub(super) fn evacuate(shared: &Shared, owner: &dyn Owner, numbers: &[u32], portion: usize) -> Result<(), Error> {
    let (appended, existing) = {
        let log = shared.log.lock();
        (log.appended, log.ledger.accounts.keys().copied().collect())
    };
    shared.wait_durable(appended)?;
    let mut round = Round {
        shared,
        owner,
        existing,
        portion,
        beside: None,
    };
    let mut emptied = Vec::new();
    for &number in numbers {
        match round.segment(number) {
            Ok(()) => emptied.push(number),
            Err(Trouble::Source(error)) => put_off(shared, &[number], error)?,
            Err(Trouble::Target(error)) => return put_off(shared, numbers, error),
        }
    }
    if let Err(error) = round.land() {
        return put_off(shared, numbers, error);
    }
    // A message that the owner called settled may have its settlement still on the way. What spoke of the message has
    // been left behind and may go only when that is durable.
    if !settled_down(shared.end_group()) {
        let mut log = shared.log.lock();
        for number in emptied {
            log.ledger.account(number).blocked = Some(Instant::now());
        }
        return Ok(());
    }
    emptied.retain(|&number| is_waited_out(shared, number));
    if emptied.is_empty() {
        return Ok(());
    }
    retire::retire(shared, &emptied)
}

/// An obstacle to emptying a segment.
enum Trouble {
    /// It cannot be read.
    Source(Error),
    /// Copies cannot be written, or the log has stopped.
    Target(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Target(error)
    }
}

/// True if all references to the segment are gone, or were waited for once already.
fn is_waited_out(shared: &Shared, number: u32) -> bool {
    let mut log = shared.log.lock();
    let account = log.ledger.account(number);
    let waiting = account.refs > 0 && account.blocked.is_none();
    if waiting {
        account.blocked = Some(Instant::now());
    } else if account.refs > 0 {
        tracing::warn!(
            segment = number,
            references = account.refs,
            "the owner does not know messages that a segment still holds"
        );
    }
    !waiting
}

/// The half of the work that a crash or an error has left: the messages of this segment that have been copied already.
fn copied_before(shared: &Shared, number: u32, to: &[u32]) -> Result<Copied, Error> {
    let mut copied = Copied::new();
    for &other in to {
        let Some(segment) = shared.segments.read().get(&other).map(Arc::clone) else {
            continue;
        };
        let failed = |source| Error::io("read", &segment.path, source);
        let file = shared.fs.open(&segment.path).map_err(failed)?;
        let mut scanner = Scanner::new(&*file, segment.mask).map_err(failed)?;
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record {
                    record: Record::Copy { from, id, queues, .. },
                    ..
                } if from == number => {
                    copied.extend(queues.map(|holder| {
                        let copy = EarlierCopy {
                            segment: other,
                            live: holder.live,
                        };
                        ((holder.queue, id), copy)
                    }));
                }
                Found::End { .. } => break,
                Found::Record { .. } | Found::Damage { .. } => {}
            }
        }
    }
    Ok(copied)
}

/// A copy that was made before.
struct EarlierCopy {
    segment: u32,
    /// As the copy tells it.
    live: Live,
}

/// Messages that have been copied.
type Copied = HashMap<(QueueId, MessageId), EarlierCopy>;

/// A change of the table that may have to stay.
struct TableRecord {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    offset: u32,
}

/// Segments that are emptied together.
struct Round<'a> {
    shared: &'a Shared,
    owner: &'a dyn Owner,
    existing: BTreeSet<u32>,
    /// Bytes that go to the disk at once.
    portion: usize,
    /// Where the messages go, once there is one.
    beside: Option<Beside<'a>>,
}

impl Round<'_> {
    /// Writes what of the segment is needed.
    fn segment(&mut self, number: u32) -> Result<(), Trouble> {
        let Some(segment) = self.shared.segments.read().get(&number).map(Arc::clone) else {
            return Ok(());
        };
        if segment.is_nameless() {
            // Emptied before: only the end of its name could not be made durable.
            return Ok(());
        }
        let (has_older, copied_to, damage_known) = {
            let log = self.shared.log.lock();
            let accounts = &log.ledger.accounts;
            let copied_to = accounts.iter().filter(|(_, account)| account.after.contains(&number));
            (
                log.ledger.has_older(number),
                copied_to.map(|(&segment, _)| segment).collect::<Vec<_>>(),
                accounts.get(&number).is_some_and(|account| account.damaged),
            )
        };
        let mut moving = Moving {
            copied_before: copied_before(self.shared, number, &copied_to).map_err(Trouble::Source)?,
            round: self,
            number,
            has_older,
            damage_known,
            marked: HashSet::new(),
            batch: Batch::new(),
            copies: Batch::new(),
            table: Vec::new(),
        };
        let read = moving.segment(&segment);
        // What was copied already, before something could not be read, is as good as the rest.
        moving.write()?;
        moving.append()?;
        read
    }

    /// Copies of messages.
    fn write(&mut self, copies: &mut Batch) -> Result<(), Error> {
        let beside = match &mut self.beside {
            Some(beside) => beside,
            none => none.insert(Beside::begin(self.shared)?),
        };
        beside.write(copies, self.portion)?;
        if beside.len() >= self.shared.options.segment_bytes {
            self.land()?;
        }
        Ok(())
    }

    /// Ends the segment with the copies, and tells the owner.
    fn land(&mut self) -> Result<(), Error> {
        let Some(beside) = self.beside.take() else {
            return Ok(());
        };
        let segment = beside.finish()?;
        relocate::relocate(self.shared, self.owner, &segment)
    }
}

/// One segment on its way.
struct Moving<'a, 'r> {
    round: &'a mut Round<'r>,
    number: u32,
    has_older: bool,
    /// Recovery has put the damaged bytes aside.
    damage_known: bool,
    copied_before: Copied,
    marked: HashSet<QueueId>,
    /// For the log.
    batch: Batch,
    copies: Batch,
    table: Vec<TableRecord>,
}

impl Moving<'_, '_> {
    fn segment(&mut self, segment: &Segment) -> Result<(), Trouble> {
        let failed = |source| Trouble::Source(Error::io("read", &segment.path, source));
        let file = self.round.shared.fs.open(&segment.path).map_err(failed)?;
        let mut scanner = Scanner::new(&*file, segment.mask).map_err(failed)?;
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record { offset, record, .. } => self.record(offset as u32, record),
                Found::Damage { offset, len } => self.damage(segment, offset, len),
                Found::End { .. } => return Ok(()),
            }
            if self.copies.len_bytes() >= WRITE {
                self.write()?;
            }
            if self.batch.len_bytes() >= self.round.portion || self.table.len() >= MOST_KEYS {
                self.append()?;
            }
        }
    }

    fn record(&mut self, offset: u32, record: Record<'_>) {
        match record {
            Record::Publish { id, queues, payload } => self.message(id, queues, payload),
            Record::Copy {
                id, queues, payload, ..
            } => self.message(id, queues.map(destination), payload),
            Record::Settle { queue, runs } => {
                let runs: Vec<Run> = runs.filter(|run| self.is_elsewhere(run.segment)).collect();
                self.batch.carry_settled(queue, &runs);
            }
            Record::Returned { queue, runs } => {
                let runs = runs.filter(|run| self.is_elsewhere(run.segment));
                let ids = runs.flat_map(|run| (run.first..=run.last()).map(move |id| (run.segment, id, None)));
                let counts = self.counts(queue, ids);
                self.batch.counted(queue, &counts);
            }
            Record::Counted { queue, counts } => {
                let ids = counts.map(|count| (count.segment, count.id, Some(count.live.stamp)));
                let counts = self.counts(queue, ids.filter(|&(segment, ..)| self.is_elsewhere(segment)));
                self.batch.counted(queue, &counts);
            }
            Record::Delivered { queue, .. } => {
                let mark = self.round.shared.log.lock().ledger.mark_in(queue, self.number);
                if let Some(mark) = mark
                    && self.marked.insert(queue)
                {
                    self.batch.delivered(queue, mark);
                }
            }
            Record::QueueDeleted { queue } => {
                if self.has_older {
                    self.batch.queue_deleted(queue);
                }
            }
            Record::Put { key, value } => {
                self.table.push(TableRecord {
                    key: key.to_vec(),
                    value: Some(value.to_vec()),
                    offset,
                });
            }
            Record::Delete { key } => {
                if self.has_older {
                    self.table.push(TableRecord {
                        key: key.to_vec(),
                        value: None,
                        offset,
                    });
                }
            }
            Record::Mark { .. } => {}
        }
    }

    /// True if the segment exists and isn't the one that is leaving.
    fn is_elsewhere(&self, segment: u32) -> bool {
        segment != self.number && self.round.existing.contains(&segment)
    }

    /// Absolute counts and stamps, as the owner knows them: read twice after a crash they still come out right.
    fn counts(&self, queue: QueueId, ids: impl Iterator<Item = (u32, MessageId, Option<u64>)>) -> Vec<Count> {
        let counted = ids.filter_map(|(segment, id, stamp)| {
            let live = self.round.owner.live(queue, id, stamp)?;
            Some(Count { segment, id, live })
        });
        counted.filter(|count| count.live.delivery_count > 0).collect()
    }

    fn message(&mut self, id: MessageId, queues: impl Iterator<Item = Destination>, payload: &[u8]) {
        let mut live = Vec::new();
        for Destination { queue, stamp } in queues {
            let Some(now) = self.round.owner.live(queue, id, Some(stamp)) else {
                continue;
            };
            match self.copied_before.get(&(queue, id)) {
                None => live.push(Holder { queue, live: now }),
                // A return that named this segment goes with it.
                Some(copy) if now != copy.live => {
                    let segment = copy.segment;
                    self.batch.counted(queue, &[Count { segment, id, live: now }]);
                }
                Some(_) => {}
            }
        }
        if live.is_empty() {
            return;
        }
        self.copies.copy(self.number, id, &live, payload);
    }

    fn damage(&mut self, segment: &Segment, offset: u64, len: u64) {
        if self.damage_known {
            return;
        }
        let shared = self.round.shared;
        shared.log.lock().ledger.account(self.number).damaged = true;
        shared.damaged(segment, offset, len);
    }

    fn write(&mut self) -> Result<(), Error> {
        if self.copies.is_empty() {
            return Ok(());
        }
        self.round.write(&mut self.copies)
    }

    /// Appends to the log what has gathered for it, and waits for the disk when that was much.
    fn append(&mut self) -> Result<(), Error> {
        let (table, number, shared) = (std::mem::take(&mut self.table), self.number, self.round.shared);
        let mut bytes = 0;
        let appended = shared.append_with(&mut self.batch, Urgency::Soon, |log, batch| {
            carry_table(log, batch, number, table);
            bytes = batch.len_bytes();
        })?;
        Counters::add(&shared.counters.copied_bytes, bytes as u64);
        if bytes >= self.round.portion {
            shared.wait_durable(appended.lsn)?;
        }
        Ok(())
    }
}

/// The queue that a copy went to.
fn destination(holder: Holder) -> Destination {
    Destination {
        queue: holder.queue,
        stamp: holder.live.stamp,
    }
}

/// Decided under the lock of the log: a newer value may have been appended a moment ago, and must stay the newest.
fn carry_table(log: &Log, batch: &mut Batch, number: u32, records: Vec<TableRecord>) {
    for record in records {
        if log.ledger.is_newest(&record.key, number, record.offset) {
            match record.value {
                Some(value) => batch.put(&record.key, &value),
                None => batch.delete(&record.key),
            }
        }
    }
}
