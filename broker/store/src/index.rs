//! The messages of each queue while recovery reads the log: inserted, settled, moved, by id.
//!
//! In: what records say. Out: the live messages of each queue, sorted. Does not know about files.

use crate::backlog::Backlog;
use crate::ids::{MessageId, QueueId};
use crate::location::Location;
use crate::page::Page;
use crate::stored::{Live, StoredMessage};
use std::collections::{BTreeMap, HashMap};

/// Stretches of a checkpoint.
mod stretches;

#[cfg(test)]
mod tests;

use stretches::Stretches;

/// All queues.
#[derive(Debug, Default)]
pub(crate) struct Index {
    queues: HashMap<QueueId, Messages>,
    /// A page could not be unpacked: what is here is not complete.
    pub(crate) broken: bool,
}

/// One queue. Ids mostly arrive in ascending order; the others wait in `late`.
#[derive(Debug, Default)]
struct Messages {
    /// Those that a checkpoint knew. No message is here and in the others.
    stretches: Stretches,
    ordered: Vec<StoredMessage>,
    late: BTreeMap<MessageId, StoredMessage>,
    /// Where the last search ended: settlements mostly go on from there.
    hint: usize,
    dead: usize,
}

/// A settled message keeps its place until enough of them have gathered. No record has the length 0.
const DEAD: u32 = 0;

impl Index {
    /// Puts in what a checkpoint knew of a queue, before anything else.
    pub(crate) fn preload(&mut self, queue: QueueId, backlog: Backlog) {
        let messages = self.queues.entry(queue).or_default();
        messages.stretches = Stretches::of(backlog.pages);
        messages.ordered = backlog.loose;
    }

    /// Adds a message, or moves it: of two records with the same id the later wins. Returns the place that it had
    /// before.
    pub(crate) fn insert(&mut self, queue: QueueId, message: StoredMessage) -> Option<Location> {
        let messages = self.queues.entry(queue).or_default();
        if let Some(known) = messages.get_mut(message.id) {
            let before = known.location;
            known.location = message.location;
            known.payload_len = message.payload_len;
            update(known, message.live());
            return Some(before);
        }
        let at = messages.position(message.id);
        if let Some(settled) = messages.ordered.get_mut(at).filter(|settled| settled.id == message.id) {
            *settled = message;
            messages.dead = messages.dead.saturating_sub(1);
            return None;
        }
        match messages.ordered.last() {
            Some(last) if last.id >= message.id => {
                messages.late.insert(message.id, message);
            }
            _ => messages.ordered.push(message),
        }
        None
    }

    /// True if the message is there.
    pub(crate) fn contains(&mut self, queue: QueueId, id: MessageId) -> bool {
        self.queues
            .get_mut(&queue)
            .is_some_and(|messages| messages.get_mut(id).is_some())
    }

    /// Removes the messages with ids from `first` to `last`, telling id and place of each.
    pub(crate) fn settle(
        &mut self,
        queue: QueueId,
        first: MessageId,
        last: MessageId,
        mut gone: impl FnMut(MessageId, Location),
    ) {
        let Some(messages) = self.queues.get_mut(&queue) else {
            return;
        };
        messages.each(first, last, |message| {
            gone(message.id, message.location);
            message.location.len = DEAD;
        });
        messages.prune(first, last);
    }

    /// Counts one more delivery of the messages with ids from `first` to `last`.
    pub(crate) fn returned(&mut self, queue: QueueId, first: MessageId, last: MessageId) {
        if let Some(messages) = self.queues.get_mut(&queue) {
            messages.each(first, last, |message| {
                message.delivery_count = message.delivery_count.saturating_add(1)
            });
        }
    }

    /// The message was returned at least this often, and has had this stamp since.
    pub(crate) fn counted(&mut self, queue: QueueId, id: MessageId, live: Live) {
        if let Some(message) = self.queues.get_mut(&queue).and_then(|messages| messages.get_mut(id)) {
            update(message, live);
        }
    }

    /// Drops the queue, telling the place of each message that is not packed. (The references of the others are counted
    /// again.)
    pub(crate) fn delete(&mut self, queue: QueueId, mut gone: impl FnMut(Location)) {
        if let Some(mut messages) = self.queues.remove(&queue) {
            messages.stretches.drop_packed();
            messages.each(0, MessageId::MAX, |message| gone(message.location));
        }
    }

    /// The live messages of each queue that has any, and lie in a segment of which `exists` says so. `mark` tells the
    /// delivered mark of a queue.
    pub(crate) fn finish(
        &mut self,
        mark: impl Fn(QueueId) -> MessageId,
        exists: impl Fn(u32) -> bool,
    ) -> HashMap<QueueId, Backlog> {
        let mut all = HashMap::with_capacity(self.queues.len());
        for (queue, messages) in std::mem::take(&mut self.queues) {
            self.broken |= messages.stretches.broken;
            match messages.finish(mark(queue), &exists) {
                Some(backlog) if backlog.is_empty() => {}
                Some(backlog) => {
                    all.insert(queue, backlog);
                }
                None => self.broken = true,
            }
        }
        all
    }
}

/// Takes over what is said of a message, unless a later report is known: records may be read over a state that is ahead
/// of them.
fn update(message: &mut StoredMessage, live: Live) {
    if live.delivery_count >= message.delivery_count {
        let Live { delivery_count, stamp } = live;
        (message.delivery_count, message.stamp) = (delivery_count, stamp);
    }
}

/// Messages in a page that is packed here.
const PACKED: usize = 4096;

impl Messages {
    /// `None` if a page cannot be unpacked.
    fn finish(self, delivered: MessageId, exists: impl Fn(u32) -> bool) -> Option<Backlog> {
        let mut backlog = Backlog {
            delivered,
            ..Backlog::default()
        };
        let mut live = self.ordered;
        live.retain(|message| message.location.len != DEAD);
        live.extend(self.late.into_values());
        let whole = |page: &Page| page.summary().shares.iter().all(|share| exists(share.segment));
        backlog.pages = self.stretches.finish(whole, &mut live)?;
        live.retain(|message| message.location.len != DEAD && exists(message.location.segment));
        if !live.is_sorted_by_key(|message| message.id) {
            live.sort_by_key(|message| message.id);
        }
        for message in &mut live {
            message.redelivered |= message.delivery_count > 0 || message.id <= delivered;
        }
        // What follows the pages is packed, but for the end, where more will be added.
        let last = backlog.pages.iter().map(Page::last).max();
        let from = last.map_or(0, |last| live.partition_point(|message| message.id < last));
        let behind = live.split_off(from);
        let packed = (behind.len() / PACKED).saturating_sub(1) * PACKED;
        let (packed, end) = behind.split_at_checked(packed).unwrap_or((&[], &behind));
        backlog.pages.extend(packed.chunks(PACKED).filter_map(Page::pack));
        live.extend_from_slice(end);
        live.shrink_to_fit();
        backlog.loose = live;
        Some(backlog)
    }

    fn get_mut(&mut self, id: MessageId) -> Option<&mut StoredMessage> {
        let at = self.position(id);
        let known = self.stretches.get_mut(id);
        let found = known
            .filter(|message| message.location.len != DEAD)
            .or_else(|| match self.ordered.get_mut(at) {
                Some(message) if message.id == id => Some(message),
                _ => self.late.get_mut(&id),
            });
        found.filter(|message| message.location.len != DEAD)
    }

    /// Where the id is or would be in `ordered`.
    fn position(&self, id: MessageId) -> usize {
        let at = |index: usize| self.ordered.get(index).map(|message| message.id);
        if at(self.hint) == Some(id) {
            return self.hint;
        }
        match self.ordered.last() {
            Some(last) if last.id < id => self.ordered.len(),
            _ => self.ordered.partition_point(|message| message.id < id),
        }
    }

    fn each(&mut self, first: MessageId, last: MessageId, mut change: impl FnMut(&mut StoredMessage)) {
        self.stretches.each(first, last, |message| {
            if message.location.len != DEAD {
                change(message);
            }
        });
        let from = self.position(first);
        let mut to = from;
        while let Some(message) = self.ordered.get_mut(to).filter(|message| message.id <= last) {
            if message.location.len != DEAD {
                change(message);
                self.dead += usize::from(message.location.len == DEAD);
            }
            to += 1;
        }
        self.hint = to;
        if first <= last && !self.late.is_empty() {
            for (_, message) in self
                .late
                .range_mut(first..=last)
                .filter(|(_, message)| message.location.len != DEAD)
            {
                change(message);
            }
        }
    }

    fn prune(&mut self, first: MessageId, last: MessageId) {
        if !self.late.is_empty() && first <= last {
            while let Some((&id, _)) = self
                .late
                .range(first..=last)
                .find(|(_, message)| message.location.len == DEAD)
            {
                self.late.remove(&id);
            }
        }
        if self.dead > 1024 && self.dead > self.ordered.len() / 2 {
            self.ordered.retain(|message| message.location.len != DEAD);
            self.dead = 0;
            self.hint = 0;
        }
    }
}
