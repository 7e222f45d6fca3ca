//! Carries forward what a segment holds and others still need.
//!
//! In: sealed segments. Out: their live records at the end of the log, the owner told, the segments retired.
//! Rules: a settlement may be dropped only when the segment with its message is gone; the newest table entries and delivered
//! marks stay; tombstones stay while an older segment exists. Does not know which segments to choose.

use super::{put_off, retire};
use crate::batch::Batch;
use crate::error::Error;
use crate::location::{Appended, Location, Relative, Urgency};
use crate::log::Log;
use crate::owner::Owner;
use crate::record::{Record, Run};
use crate::scan::{Found, Scanner};
use crate::segment::Segment;
use crate::shared::{Counters, Shared, settled_down};
use crate::{MessageId, QueueId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Messages that are under way for so many bytes, at most: small ones cost the owner more than the disk.
const PER_MESSAGE: usize = 256;

/// Moves what is needed and retires the segments, which share the waits for the disk. Where references are left that the owner
/// does not answer for, the settlements are on their way; such a segment stays until they are durable, or the owner has had time
/// enough. One that cannot be read is left alone for a while. `portion`: bytes that are under way at once.
///
/// # Errors
/// What waiting for the log reports.
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
        flights: Vec::new(),
        portion,
        bytes: 0,
        messages: 0,
    };
    let mut emptied = Vec::new();
    for &number in numbers {
        match round.segment(number) {
            Ok(()) => emptied.push(number),
            Err(error) => put_off(shared, number, error)?,
        }
    }
    round.land()?;
    // A message that the owner called settled may have its settlement still on the way. What spoke of the message has been left behind
    // and may go only when that is durable.
    if !settled_down(shared.end_group()) {
        let mut log = shared.log.lock();
        for number in emptied {
            log.ledger.account(number).blocked = Some(Instant::now());
        }
        return Ok(());
    }
    emptied.retain(|&number| nobody_waits(shared, number));
    if emptied.is_empty() {
        return Ok(());
    }
    retire::retire(shared, &emptied)
}

/// Whether all references to the segment are gone, or were waited for once already.
fn nobody_waits(shared: &Shared, number: u32) -> bool {
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
    !waiting
}

/// What a crash, or an error, left half done: the messages of this segment that have been copied already, with the segment of the copy
/// and the delivery count that it tells.
fn copied_before(shared: &Shared, number: u32, to: &[u32]) -> Result<Copied, Error> {
    let mut copied = Copied::new();
    for &other in to {
        let Some(segment) = shared.segments.read().get(&other).map(Arc::clone) else {
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
                    copied.extend(queues.map(|(queue, deliveries)| ((queue, id), (other, deliveries))));
                }
                Found::End { .. } => break,
                Found::Record { .. } | Found::Damage { .. } => {}
            }
        }
    }
    Ok(copied)
}

/// Messages that have been copied, with the segments and the delivery counts of their copies.
type Copied = HashMap<(QueueId, MessageId), (u32, u32)>;

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

/// Copies that are appended and not known to be durable.
struct Flight {
    from: u32,
    appended: Appended,
    copies: Vec<Moved>,
}

/// Segments that are emptied together.
struct Round<'a> {
    shared: &'a Shared,
    owner: &'a dyn Owner,
    existing: BTreeSet<u32>,
    flights: Vec<Flight>,
    /// Bytes that may be under way.
    portion: usize,
    /// Under way.
    bytes: usize,
    messages: usize,
}

impl Round<'_> {
    /// Appends what of the segment is needed.
    fn segment(&mut self, number: u32) -> Result<(), Error> {
        let Some(segment) = self.shared.segments.read().get(&number).map(Arc::clone) else {
            return Ok(());
        };
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
            copied_before: copied_before(self.shared, number, &copied_to)?,
            round: self,
            number,
            has_older,
            damage_known,
            marked: HashSet::new(),
            batch: Batch::new(),
            copies: Vec::new(),
            table: Vec::new(),
        };
        moving.segment(&segment)?;
        moving.append()
    }

    /// Waits for the disk, and tells the owner.
    fn land(&mut self) -> Result<(), Error> {
        let Some(last) = self.flights.last() else { return Ok(()) };
        self.shared.wait_durable(last.appended.lsn)?;
        (self.bytes, self.messages) = (0, 0);
        let mut late = Batch::new();
        for flight in std::mem::take(&mut self.flights) {
            self.relocate(flight, &mut late);
        }
        self.shared.append(&mut late, Urgency::Now).map(|_| ())
    }

    fn relocate(&self, flight: Flight, late: &mut Batch) {
        let mut left = Vec::with_capacity(flight.copies.len());
        let mut uncovered = Vec::new();
        for moved in flight.copies {
            let to = flight.appended.location(moved.to);
            if self.owner.relocate(moved.queue, moved.id, to) {
                left.push(moved.from);
                // A return that was appended while the copy was on its way names the old place, and goes when that goes.
                match self.owner.live(moved.queue, moved.id) {
                    Some(count) if count > moved.deliveries => {
                        late.counted(moved.queue, &[(to.segment, moved.id, count)]);
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
        log.ledger.account(flight.from).uncovered.append(&mut uncovered);
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
    batch: Batch,
    copies: Vec<Moved>,
    table: Vec<TableRecord>,
}

impl Moving<'_, '_> {
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
            let (bytes, messages) = (self.round.bytes, self.round.messages);
            let most = self.round.portion / PER_MESSAGE;
            if bytes + self.batch.len_bytes() >= self.round.portion
                || messages + self.copies.len() >= most
                || self.table.len() >= most
            {
                self.append()?;
                self.round.land()?;
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
        segment != self.number && self.round.existing.contains(&segment)
    }

    /// Absolute counts, as the owner knows them: added twice after a crash they still come out right.
    fn counts(&self, queue: QueueId, ids: impl Iterator<Item = (u32, MessageId)>) -> Vec<(u32, MessageId, u32)> {
        let counted = ids.filter_map(|(segment, id)| Some((segment, id, self.round.owner.live(queue, id)?)));
        counted.filter(|&(_, _, count)| count > 0).collect()
    }

    fn message(&mut self, from: Location, id: MessageId, queues: impl Iterator<Item = QueueId>, payload: &[u8]) {
        let mut live = Vec::new();
        for queue in queues {
            let Some(count) = self.round.owner.live(queue, id) else {
                continue;
            };
            match self.copied_before.get(&(queue, id)) {
                None => live.push((queue, count)),
                // A return that named this segment goes with it.
                Some(&(segment, known)) if count > known => self.batch.counted(queue, &[(segment, id, count)]),
                Some(_) => {}
            }
        }
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
        let shared = self.round.shared;
        shared.log.lock().ledger.account(self.number).damaged = true;
        shared.damaged(segment, offset, len);
    }

    /// Appends what has gathered.
    fn append(&mut self) -> Result<(), Error> {
        let (table, number, shared) = (std::mem::take(&mut self.table), self.number, self.round.shared);
        let mut bytes = 0;
        let appended = shared.append_with(&mut self.batch, Urgency::Soon, |log, batch| {
            carry_table(log, batch, number, table);
            batch.seal();
            bytes = batch.len_bytes();
        })?;
        Counters::add(&shared.counters.copied_bytes, bytes as u64);
        self.round.bytes += bytes;
        self.round.messages += self.copies.len();
        self.round.flights.push(Flight {
            from: number,
            appended,
            copies: std::mem::take(&mut self.copies),
        });
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
