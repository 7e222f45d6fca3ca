//! The messages of each queue while recovery reads the log: inserted, settled, moved, by id.
//!
//! In: what records say. Out: the live messages of each queue, sorted. Does not know about files.

use crate::location::Location;
use crate::{MessageId, QueueId, StoredMessage};
use std::collections::{BTreeMap, HashMap};

#[cfg(test)]
mod tests;

/// All queues.
#[derive(Debug, Default)]
pub(crate) struct Index {
    queues: HashMap<QueueId, Messages>,
}

/// One queue. Ids mostly arrive in ascending order; the others wait in `late`.
#[derive(Debug, Default)]
struct Messages {
    ordered: Vec<StoredMessage>,
    late: BTreeMap<MessageId, StoredMessage>,
    /// Where the last search ended: settlements mostly go on from there.
    hint: usize,
    dead: usize,
}

/// A settled message keeps its place until enough of them have gathered. No record has the length 0.
const DEAD: u32 = 0;

impl Index {
    /// Adds a message, or moves it: of two records with the same id the later wins. Returns the place that it had before.
    pub(crate) fn insert(&mut self, queue: QueueId, message: StoredMessage) -> Option<Location> {
        let messages = self.queues.entry(queue).or_default();
        if let Some(known) = messages.get_mut(message.id) {
            let before = known.location;
            known.location = message.location;
            known.payload_len = message.payload_len;
            known.delivery_count = known.delivery_count.max(message.delivery_count);
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

    /// Whether the message is there.
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

    /// The message was delivered at least so often.
    pub(crate) fn counted(&mut self, queue: QueueId, id: MessageId, count: u32) {
        if let Some(message) = self.queues.get_mut(&queue).and_then(|messages| messages.get_mut(id)) {
            message.delivery_count = message.delivery_count.max(count);
        }
    }

    /// Drops the queue, telling the place of each message.
    pub(crate) fn delete(&mut self, queue: QueueId, mut gone: impl FnMut(Location)) {
        if let Some(mut messages) = self.queues.remove(&queue) {
            messages.each(0, MessageId::MAX, |message| gone(message.location));
        }
    }

    /// The live messages of each queue that has any. `mark` tells the delivered mark of a queue.
    pub(crate) fn finish(self, mark: impl Fn(QueueId) -> MessageId) -> HashMap<QueueId, Vec<StoredMessage>> {
        let mut all = HashMap::with_capacity(self.queues.len());
        for (queue, messages) in self.queues {
            let mut live = messages.ordered;
            live.retain(|message| message.location.len != DEAD);
            let late = messages
                .late
                .into_values()
                .filter(|message| message.location.len != DEAD);
            let ordered = live.len();
            live.extend(late);
            if live.len() > ordered {
                live.sort_by_key(|message| message.id);
            }
            let mark = mark(queue);
            for message in &mut live {
                message.redelivered = message.delivery_count > 0 || message.id <= mark;
            }
            if !live.is_empty() {
                live.shrink_to_fit();
                all.insert(queue, live);
            }
        }
        all
    }
}

impl Messages {
    fn get_mut(&mut self, id: MessageId) -> Option<&mut StoredMessage> {
        let at = self.position(id);
        let found = match self.ordered.get_mut(at) {
            Some(message) if message.id == id => Some(message),
            _ => self.late.get_mut(&id),
        };
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
