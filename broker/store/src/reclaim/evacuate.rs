//! Carries forward what a segment holds and others still need.
//!
//! In: a sealed segment. Out: its live records at the end of the log, the owner told, the segment retired.
//! Rules: a settlement may be dropped only when the segment with its message is gone; the newest table entries and delivered
//! marks stay; tombstones stay while an older segment exists. Does not know which segment to choose.

use super::retire;
use crate::batch::Batch;
use crate::error::Error;
use crate::location::{Location, Relative, Urgency};
use crate::log::Log;
use crate::owner::Owner;
use crate::record::{Record, Run};
use crate::scan::{Found, Scanner};
use crate::segment::Segment;
use crate::shared::{Counters, Shared};
use crate::{MessageId, QueueId};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Bytes and messages that are moved at once.
const BYTES: usize = 1 << 20;
const MESSAGES: usize = 4096;

/// Moves what is needed and retires the segment. When references are left that the owner does not answer for, the
/// settlements are on their way; the segment then stays until they are durable, or the owner has had time enough.
///
/// # Errors
/// What waiting for the log, or the system, reports.
pub(super) fn evacuate(shared: &Shared, owner: &dyn Owner, number: u32) -> Result<(), Error> {
    let (appended, existing, has_older, copied_to, damage_known) = {
        let log = shared.log.lock();
        let existing: BTreeSet<u32> = log.ledger.accounts.keys().copied().collect();
        let copied_to = log
            .ledger
            .accounts
            .iter()
            .filter(|(_, account)| account.after.contains(&number));
        let copied_to: Vec<u32> = copied_to.map(|(&segment, _)| segment).collect();
        let damage_known = log.ledger.accounts.get(&number).is_some_and(|account| account.damaged);
        (
            log.appended,
            existing,
            log.ledger.has_older(number),
            copied_to,
            damage_known,
        )
    };
    shared.wait_durable(appended)?;
    let Some(segment) = shared.segments.read().get(&number).map(Arc::clone) else {
        return retire::retire(shared, number);
    };
    let mut moving = Moving {
        shared,
        owner,
        number,
        existing,
        has_older,
        damage_known,
        copied_before: copied_before(shared, number, &copied_to)?,
        marked: HashSet::new(),
        batch: Batch::new(),
        copies: Vec::new(),
        table: Vec::new(),
    };
    moving.segment(&segment)?;
    moving.flush()?;
    let blocked = {
        let mut log = shared.log.lock();
        let account = log.ledger.account(number);
        let waiting = account.refs > 0 && account.blocked.is_none();
        if waiting {
            account.blocked = Some(Instant::now());
        } else if account.refs > 0 {
            tracing::warn!(
                segment = number,
                references = account.refs,
                "nobody answers for messages of a segment"
            );
        }
        waiting
    };
    if blocked {
        Ok(())
    } else {
        retire::retire(shared, number)
    }
}

/// What a crash, or an error, left half done: the messages of this segment that have been copied already.
fn copied_before(shared: &Shared, number: u32, to: &[u32]) -> Result<HashSet<(QueueId, MessageId)>, Error> {
    let mut copied = HashSet::new();
    for other in to {
        let Some(segment) = shared.segments.read().get(other).map(Arc::clone) else {
            continue;
        };
        let failed = |source| Error::io("read", &segment.path, source);
        let mut scanner = Scanner::new(&*segment.file, segment.mask).map_err(failed)?;
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record {
                    record: Record::Copy { from, id, queues, .. },
                    ..
                } if from == number => {
                    copied.extend(queues.map(|(queue, _)| (queue, id)));
                }
                Found::End { .. } => break,
                Found::Record { .. } | Found::Damage { .. } => {}
            }
        }
    }
    Ok(copied)
}

/// A message on its way.
struct Moved {
    queue: QueueId,
    id: MessageId,
    deliveries: u32,
    from: Location,
    to: Relative,
}

/// A change of the table that may have to stay.
struct TableRecord {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    offset: u32,
}

struct Moving<'a> {
    shared: &'a Shared,
    owner: &'a dyn Owner,
    number: u32,
    existing: BTreeSet<u32>,
    has_older: bool,
    /// Recovery has put the damaged bytes aside.
    damage_known: bool,
    copied_before: HashSet<(QueueId, MessageId)>,
    marked: HashSet<QueueId>,
    batch: Batch,
    copies: Vec<Moved>,
    table: Vec<TableRecord>,
}

impl Moving<'_> {
    fn segment(&mut self, segment: &Segment) -> Result<(), Error> {
        let failed = |source| Error::io("read", &segment.path, source);
        let mut scanner = Scanner::new(&*segment.file, segment.mask).map_err(failed)?;
        loop {
            match scanner.next().map_err(failed)? {
                Found::Record {
                    offset, len, record, ..
                } => {
                    let from = Location {
                        segment: self.number,
                        offset: offset as u32,
                        len: len as u32,
                    };
                    self.record(from, record);
                }
                Found::Damage { offset, len } => self.damage(segment, offset, len),
                Found::End { .. } => return Ok(()),
            }
            if self.batch.len_bytes() >= BYTES || self.copies.len() >= MESSAGES || self.table.len() >= MESSAGES {
                self.flush()?;
            }
        }
    }

    fn record(&mut self, from: Location, record: Record<'_>) {
        match record {
            Record::Publish { id, queues, payload } => self.message(from, id, queues, payload),
            Record::Copy {
                id, queues, payload, ..
            } => self.message(from, id, queues.map(|(queue, _)| queue), payload),
            Record::Settle { queue, runs } => {
                let runs: Vec<Run> = runs.filter(|run| self.is_elsewhere(run.segment)).collect();
                self.batch.carry_settled(queue, &runs);
            }
            Record::Returned { queue, runs } => {
                let runs = runs.filter(|run| self.is_elsewhere(run.segment));
                let ids = runs.flat_map(|run| (run.first..=run.last()).map(move |id| (run.segment, id)));
                let counts = self.counts(queue, ids);
                self.batch.counted(queue, &counts);
            }
            Record::Counted { queue, counts } => {
                let ids = counts.map(|(segment, id, _)| (segment, id));
                let counts = self.counts(queue, ids.filter(|&(segment, _)| self.is_elsewhere(segment)));
                self.batch.counted(queue, &counts);
            }
            Record::Delivered { queue, .. } => {
                let mark = self.shared.log.lock().ledger.mark_in(queue, self.number);
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
                    offset: from.offset,
                });
            }
            Record::Delete { key } => {
                if self.has_older {
                    self.table.push(TableRecord {
                        key: key.to_vec(),
                        value: None,
                        offset: from.offset,
                    });
                }
            }
            Record::Mark { .. } => {}
        }
    }

    /// Whether the segment exists besides the one that is leaving.
    fn is_elsewhere(&self, segment: u32) -> bool {
        segment != self.number && self.existing.contains(&segment)
    }

    /// Absolute counts, as the owner knows them: added twice after a crash they still come out right.
    fn counts(&self, queue: QueueId, ids: impl Iterator<Item = (u32, MessageId)>) -> Vec<(u32, MessageId, u32)> {
        let counted = ids.filter_map(|(segment, id)| Some((segment, id, self.owner.live(queue, id)?)));
        counted.filter(|&(_, _, count)| count > 0).collect()
    }

    fn message(&mut self, from: Location, id: MessageId, queues: impl Iterator<Item = QueueId>, payload: &[u8]) {
        let live = queues.filter(|&queue| self.copied_before.is_empty() || !self.copied_before.contains(&(queue, id)));
        let live: Vec<(QueueId, u32)> = live
            .filter_map(|queue| Some((queue, self.owner.live(queue, id)?)))
            .collect();
        if live.is_empty() {
            return;
        }
        let to = self.batch.copy(self.number, id, &live, payload);
        self.copies.extend(live.into_iter().map(|(queue, deliveries)| Moved {
            queue,
            id,
            deliveries,
            from,
            to,
        }));
    }

    fn damage(&mut self, segment: &Segment, offset: u64, len: u64) {
        if self.damage_known {
            return;
        }
        self.shared.log.lock().ledger.account(self.number).damaged = true;
        self.shared.damaged(segment, offset, len);
    }

    /// Appends what has gathered, waits for the disk, tells the owner.
    fn flush(&mut self) -> Result<(), Error> {
        let table = std::mem::take(&mut self.table);
        let number = self.number;
        let mut copied = 0;
        let appended = self.shared.append_with(&mut self.batch, Urgency::Now, |log, batch| {
            carry_table(log, batch, number, table);
            batch.seal();
            copied = batch.len_bytes();
        })?;
        self.shared.wait_durable(appended.lsn)?;
        Counters::add(&self.shared.counters.copied_bytes, copied as u64);
        let mut left = Vec::with_capacity(self.copies.len());
        let mut uncovered = Vec::new();
        for moved in self.copies.drain(..) {
            let to = appended.location(moved.to);
            if self.owner.relocate(moved.queue, moved.id, to) {
                left.push(moved.from);
                // A return that was appended while the copy was on its way names the old place, and goes when that goes.
                match self.owner.live(moved.queue, moved.id) {
                    Some(count) if count > moved.deliveries => {
                        self.batch.counted(moved.queue, &[(to.segment, moved.id, count)]);
                    }
                    _ => {}
                }
            } else {
                uncovered.push((moved.queue, moved.id, to));
            }
        }
        let mut log = self.shared.log.lock();
        for from in left {
            log.ledger.released(from);
        }
        log.ledger.account(number).uncovered.append(&mut uncovered);
        drop(log);
        self.shared.append(&mut self.batch, Urgency::Now)?;
        Ok(())
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
