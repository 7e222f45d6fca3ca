//! The ledger: counters per segment, the newest place of each table key and delivered mark.
//!
//! In: tallies of appended batches, settlements. Out: which segments are dead, which nearly so.
//! Does not know about single messages (their owner does), files or threads.

use crate::backlog::Backlog;
use crate::batch::Tally;
use crate::ids::{MessageId, QueueId};
use crate::location::Location;
use crate::page::Page;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Estimated size of a delivered record.
const MARK_BYTES: u64 = 24;

/// The counters of one segment. All sizes in bytes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Account {
    /// End of the records.
    pub(crate) used: u64,
    /// Size of publish records.
    pub(crate) published: u64,
    /// Size of publish records times their queues, and what of it is not settled yet.
    pub(crate) weight: u64,
    pub(crate) live_weight: u64,
    /// Pairs of message and queue that are not settled yet.
    pub(crate) refs: u64,
    /// Settlements and counts in this segment, by the segment that they speak of.
    pub(crate) foreign: BTreeMap<u32, u64>,
    /// Newest table entries.
    pub(crate) table: u64,
    /// Newest delivered marks, in number.
    pub(crate) marks: u64,
    /// Deleted queues and keys.
    pub(crate) tombstones: u64,
    /// Older segments whose messages were copied here: they must go first.
    pub(crate) after: BTreeSet<u32>,
    /// Damage that is known and quarantined.
    pub(crate) damaged: bool,
    /// When reclaim found nothing alive although references were left.
    pub(crate) blocked: Option<Instant>,
    /// Copies of messages of this segment that were settled while they were copied. Their settlement names this
    /// segment, so they need one that names theirs before this segment goes; not earlier than the owner's own, which
    /// may be part of a larger batch.
    pub(crate) uncovered: Vec<Uncovered>,
    /// Reclaim met an error of the system.
    pub(crate) failing: bool,
}

impl Account {
    /// True if reclaim should leave the segment alone: for `patience` after its last try.
    pub(crate) fn rests(&self, patience: Duration) -> bool {
        (self.refs > 0 || self.failing) && self.blocked.is_some_and(|since| since.elapsed() < patience)
    }
}

impl Account {
    /// Size of the messages that are still alive, estimated.
    pub(crate) fn live(&self) -> u64 {
        let share = u128::from(self.published) * u128::from(self.live_weight);
        share.checked_div(u128::from(self.weight)).map_or(0, |live| live as u64)
    }
}

/// A copy of a message that was settled while it was copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uncovered {
    pub(crate) queue: QueueId,
    pub(crate) id: MessageId,
    /// Where the copy lies.
    pub(crate) location: Location,
}

/// The newest delivered mark of a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeliveredMark {
    /// Everything at or below was delivered before.
    pub(crate) up_to: MessageId,
    /// Where its record lies.
    pub(crate) segment: u32,
}

/// The newest change of a key of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// Length of the record.
    pub(crate) len: u64,
    /// `None` if the key was removed.
    pub(crate) value: Option<Arc<[u8]>>,
}

/// Keys to their newest changes.
pub(crate) type Table = HashMap<Arc<[u8]>, Entry>;

/// The accounts of all segments.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) accounts: BTreeMap<u32, Account>,
    pub(crate) table: Table,
    /// Grows with every change of the table.
    pub(crate) table_changes: u64,
    pub(crate) marks: HashMap<QueueId, DeliveredMark>,
    /// The segment being filled.
    pub(crate) current: u32,
    /// Another segment lost its last reference since this was cleared.
    pub(crate) emptied: bool,
}

impl Ledger {
    pub(crate) fn account(&mut self, segment: u32) -> &mut Account {
        self.accounts.entry(segment).or_default()
    }

    /// Accounts for a batch that was placed at `offset`.
    pub(crate) fn apply(&mut self, segment: u32, offset: u32, bytes: &[u8], tally: &Tally) {
        let Tally {
            published,
            refs,
            weight,
            settled,
            foreign,
            table,
            delivered,
            deleted,
            copied_from,
        } = tally;
        let account = self.account(segment);
        account.used = account.used.max(u64::from(offset) + bytes.len() as u64);
        account.published += published;
        account.weight += weight;
        account.live_weight += weight;
        account.refs += refs;
        if let Some(from) = *copied_from {
            account.after.insert(from);
        }
        for &(target, len) in foreign {
            if target != segment {
                *account.foreign.entry(target).or_default() += len;
            }
        }
        for settled in settled {
            self.settled(settled.segment, settled.refs, settled.weight);
        }
        for change in table {
            let key = bytes.get(change.key.0..change.key.1).unwrap_or_default();
            let end = change.start + change.len as usize;
            let value = bytes.get(change.key.1..end).filter(|_| !change.deleted);
            self.table_changed(key, segment, offset + change.start as u32, change.len, value);
        }
        for &(queue, up_to) in delivered {
            self.delivered(queue, up_to, segment);
        }
        for &(queue, len) in deleted {
            self.queue_deleted(queue, segment, len);
        }
    }

    /// A message record of `len` bytes for `queues` queues.
    pub(crate) fn published(&mut self, segment: u32, len: u64, queues: u64) {
        let account = self.account(segment);
        account.published += len;
        account.weight += len * queues;
        account.live_weight += len * queues;
        account.refs += queues;
    }

    /// `refs` pairs of message and queue ended.
    pub(crate) fn settled(&mut self, segment: u32, refs: u64, weight: u64) {
        if let Some(account) = self.accounts.get_mut(&segment) {
            account.refs = account.refs.saturating_sub(refs);
            account.live_weight = if account.refs == 0 {
                0
            } else {
                account.live_weight.saturating_sub(weight)
            };
            self.emptied |= account.refs == 0 && segment != self.current;
        }
    }

    /// One pair of message and queue ended.
    pub(crate) fn released(&mut self, location: Location) {
        self.settled(location.segment, 1, u64::from(location.len));
    }

    /// All messages of a packed page ended.
    pub(crate) fn released_page(&mut self, page: &Page) {
        for share in &page.summary().shares {
            self.settled(share.segment, u64::from(share.count), share.bytes);
        }
    }

    /// Bytes in `segment` that speak of messages in `target`.
    pub(crate) fn speaks_of(&mut self, segment: u32, target: u32, len: u64) {
        if segment != target {
            *self.account(segment).foreign.entry(target).or_default() += len;
        }
    }

    /// A key got a value, or lost it (`None`).
    pub(crate) fn table_changed(&mut self, key: &[u8], segment: u32, offset: u32, len: u64, value: Option<&[u8]>) {
        let entry = Entry {
            segment,
            offset,
            len,
            value: value.map(Arc::from),
        };
        self.table_changes += 1;
        let account = self.account(segment);
        if value.is_none() {
            account.tombstones += len;
        } else {
            account.table += len;
        }
        // Only the first time does a key cost an allocation.
        let before = match self.table.get_mut(key) {
            Some(known) => Some(std::mem::replace(known, entry)),
            None => {
                self.table.insert(key.into(), entry);
                None
            }
        };
        if let Some(before) = before
            && let Some(account) = self.accounts.get_mut(&before.segment)
        {
            if before.value.is_none() {
                account.tombstones = account.tombstones.saturating_sub(before.len);
            } else {
                account.table = account.table.saturating_sub(before.len);
            }
        }
    }

    /// True if the change of the key at this place is the newest.
    pub(crate) fn is_newest(&self, key: &[u8], segment: u32, offset: u32) -> bool {
        self.table
            .get(key)
            .is_some_and(|entry| entry.segment == segment && entry.offset == offset)
    }

    pub(crate) fn delivered(&mut self, queue: QueueId, up_to: MessageId, segment: u32) {
        let mark = self.marks.entry(queue).or_default();
        if up_to < mark.up_to {
            return;
        }
        let before = std::mem::replace(mark, DeliveredMark { up_to, segment });
        if before.segment != segment {
            self.account(segment).marks += 1;
            if let Some(account) = self.accounts.get_mut(&before.segment) {
                account.marks = account.marks.saturating_sub(1);
            }
        }
    }

    /// The mark of the queue, when its newest record lies in this segment.
    pub(crate) fn mark_in(&self, queue: QueueId, segment: u32) -> Option<MessageId> {
        self.marks
            .get(&queue)
            .filter(|mark| mark.segment == segment)
            .map(|mark| mark.up_to)
    }

    /// The mark of the queue.
    pub(crate) fn mark(&self, queue: QueueId) -> MessageId {
        self.marks.get(&queue).map_or(0, |mark| mark.up_to)
    }

    pub(crate) fn queue_deleted(&mut self, queue: QueueId, segment: u32, len: u64) {
        self.account(segment).tombstones += len;
        if let Some(before) = self.marks.remove(&queue)
            && let Some(account) = self.accounts.get_mut(&before.segment)
        {
            account.marks = account.marks.saturating_sub(1);
        }
    }

    /// True if an older segment exists, so that tombstones in this one still have work to do.
    pub(crate) fn has_older(&self, segment: u32) -> bool {
        self.accounts.range(..segment).next().is_some()
    }

    /// Size of what must be carried forward before the segment may go, besides live messages; estimated.
    pub(crate) fn carried(&self, segment: u32) -> u64 {
        let Some(account) = self.accounts.get(&segment) else {
            return 0;
        };
        let foreign: u64 = account
            .foreign
            .iter()
            .filter(|(target, _)| self.accounts.contains_key(target))
            .map(|(_, len)| len)
            .sum();
        let tombstones = if self.has_older(segment) { account.tombstones } else { 0 };
        account.table + account.marks * MARK_BYTES + foreign + tombstones
    }

    /// Size of all that must stay, estimated.
    pub(crate) fn needed(&self, segment: u32) -> u64 {
        self.accounts.get(&segment).map_or(0, Account::live) + self.carried(segment)
    }

    /// Forgets a segment that is gone.
    pub(crate) fn remove(&mut self, segment: u32) {
        if let Some(account) = self.accounts.remove(&segment) {
            if account.tombstones > 0 {
                self.table_changes += 1;
                self.table
                    .retain(|_, entry| !(entry.value.is_none() && entry.segment == segment));
            }
            for account in self.accounts.values_mut() {
                account.after.remove(&segment);
                account.foreign.remove(&segment);
            }
        }
    }

    /// Forgets what refers to segments that are gone: facts of a checkpoint whose records have been reclaimed since.
    pub(crate) fn keep_existing(&mut self, existing: &BTreeSet<u32>) {
        let gone: Vec<u32> = self
            .accounts
            .keys()
            .copied()
            .filter(|number| !existing.contains(number))
            .collect();
        gone.into_iter().for_each(|number| self.remove(number));
        self.table.retain(|_, entry| existing.contains(&entry.segment));
        self.marks.retain(|_, mark| existing.contains(&mark.segment));
    }

    /// Counts the references again, from the messages that there are.
    pub(crate) fn recount<'a>(&mut self, queues: impl Iterator<Item = &'a Backlog>) {
        for account in self.accounts.values_mut() {
            (account.refs, account.live_weight) = (0, 0);
        }
        for queue in queues {
            queue.each_share(|share| {
                let account = self.account(share.segment);
                account.refs += u64::from(share.count);
                account.live_weight += share.bytes;
            });
        }
    }

    /// The values of the table.
    pub(crate) fn values(&self) -> impl Iterator<Item = (Arc<[u8]>, Arc<[u8]>)> {
        self.table
            .iter()
            .filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?)))
    }

    /// Live bytes over all segments, estimated.
    pub(crate) fn live(&self) -> u64 {
        self.accounts.keys().map(|&segment| self.needed(segment)).sum()
    }
}
