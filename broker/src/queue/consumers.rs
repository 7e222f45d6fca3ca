//! Who may get the next message of a queue: consumers with credit and room, highest priority first, in turn within a priority.
//!
//! Comes in: consumers from `channel/consume.rs`. Goes out: the index of the one whose turn it is.
//! Does not know about messages.

use super::entry::Entry;
use crate::channel::deliver::Deliveries;
use leveret_amqp::{FieldTable, ShortString};
use std::sync::Arc;

/// The channel of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelId {
    /// Number of the connection, never used again.
    pub connection: u64,
    /// Number of the channel on it.
    pub number: u16,
}

/// One consumer of a queue.
pub struct Consumer {
    /// Unique over the broker's life.
    pub id: u64,
    /// The tag that its client knows it by.
    pub tag: ShortString,
    /// Its channel.
    pub channel: ChannelId,
    /// Its channel's delivering side.
    pub deliveries: Arc<Deliveries>,
    /// Where the channel notes what it got (see `channel/sources.rs`).
    pub source: u32,
    /// No acknowledgements: a message is done with when it is written.
    pub no_ack: bool,
    /// It alone may consume.
    pub exclusive: bool,
    /// Most unacknowledged messages at a time; 0 is no limit (basic.qos with global=false).
    pub prefetch: u32,
    /// `x-priority`; 0 if none.
    pub priority: i32,
    /// The arguments of basic.consume.
    pub arguments: FieldTable,
    unacked: u32,
    /// Bytes that it may still get in this round of dispatch.
    room: usize,
    /// What it got in this round.
    pub(super) batch: Vec<Entry>,
}

impl Consumer {
    /// A consumer without messages.
    #[expect(clippy::too_many_arguments, reason = "the fields of basic.consume")]
    pub fn new(
        id: u64,
        tag: ShortString,
        channel: ChannelId,
        deliveries: Arc<Deliveries>,
        source: u32,
        (no_ack, exclusive): (bool, bool),
        prefetch: u32,
        priority: i32,
        arguments: FieldTable,
    ) -> Self {
        Self {
            id,
            tag,
            channel,
            deliveries,
            source,
            no_ack,
            exclusive,
            prefetch,
            priority,
            arguments,
            unacked: 0,
            room: 0,
            batch: Vec::new(),
        }
    }

    /// Messages that it has to acknowledge.
    pub fn unacked(&self) -> u32 {
        self.unacked
    }

    fn has_credit(&self) -> bool {
        if self.no_ack {
            return true;
        }
        (self.prefetch == 0 || self.unacked < self.prefetch) && self.deliveries.has_channel_credit(self.batch.len())
    }
}

/// Why nobody could be picked.
#[derive(Debug, PartialEq, Eq)]
pub enum Pick {
    /// The consumer at this index is next.
    Consumer(usize),
    /// Somebody has credit, but its connection's buffer is full.
    Stalled(usize),
    /// Nobody has credit.
    Nobody,
}

/// The consumers of one queue.
#[derive(Default)]
pub struct Consumers {
    /// Descending by priority.
    list: Vec<Consumer>,
    /// Whose turn it is, as an index.
    next: usize,
    mixed_priorities: bool,
}

impl Consumers {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Consumer> {
        self.list.get_mut(index)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.list.iter_mut()
    }

    /// Adds one, behind those of the same priority.
    pub fn add(&mut self, consumer: Consumer) {
        let at = self.list.partition_point(|other| other.priority >= consumer.priority);
        self.list.insert(at, consumer);
        self.turn_over();
    }

    /// Removes one.
    pub fn remove(&mut self, id: u64) -> Option<Consumer> {
        let at = self.list.iter().position(|consumer| consumer.id == id)?;
        let consumer = self.list.remove(at);
        self.turn_over();
        Some(consumer)
    }

    /// Removes all.
    pub fn drain(&mut self) -> Vec<Consumer> {
        self.next = 0;
        std::mem::take(&mut self.list)
    }

    fn turn_over(&mut self) {
        let first = self.list.first().map(|consumer| consumer.priority);
        self.mixed_priorities = self.list.iter().any(|consumer| Some(consumer.priority) != first);
        if self.next >= self.list.len() {
            self.next = 0;
        }
    }

    /// Starts a round: looks up how much each connection takes.
    pub(super) fn begin_round(&mut self) {
        for consumer in &mut self.list {
            consumer.room = consumer.deliveries.outbox().room();
        }
    }

    /// Whose turn it is.
    pub(super) fn pick(&mut self) -> Pick {
        if self.mixed_priorities {
            return self.pick_by_priority();
        }
        self.pick_in(0, self.list.len(), self.next)
    }

    fn pick_by_priority(&mut self) -> Pick {
        let mut start = 0;
        let mut stalled = Pick::Nobody;
        while let Some(first) = self.list.get(start) {
            let priority = first.priority;
            let end = start
                + self
                    .list
                    .iter()
                    .skip(start)
                    .take_while(|c| c.priority == priority)
                    .count();
            let from = if (start..end).contains(&self.next) {
                self.next
            } else {
                start
            };
            match self.pick_in(start, end, from) {
                Pick::Nobody => {}
                Pick::Stalled(at) => stalled = Pick::Stalled(at),
                pick @ Pick::Consumer(_) => return pick,
            }
            start = end;
        }
        stalled
    }

    /// The first with credit and room among `start..end`, from `from` on, around the end.
    fn pick_in(&mut self, start: usize, end: usize, from: usize) -> Pick {
        let mut stalled = Pick::Nobody;
        for step in 0..end - start {
            let at = if from + step < end {
                from + step
            } else {
                from + step - end + start
            };
            let Some(consumer) = self.list.get(at) else { break };
            if !consumer.has_credit() {
                continue;
            }
            if consumer.room == 0 {
                stalled = Pick::Stalled(at);
                continue;
            }
            self.next = if at + 1 < self.list.len() { at + 1 } else { 0 };
            return Pick::Consumer(at);
        }
        stalled
    }

    /// Gives the consumer a message of this round. True if the round must end here: its channel has a limit of its own, which other
    /// consumers share, so the delivery must be counted before the next look.
    pub(super) fn assign(&mut self, index: usize, entry: Entry) -> bool {
        /// What a delivery's frames cost beside body and properties.
        const FRAMES: usize = 64;
        let Some(consumer) = self.list.get_mut(index) else {
            return true;
        };
        let cost = entry
            .message
            .as_ref()
            .map_or(0, |m| m.body().len() + m.properties().len())
            + FRAMES;
        consumer.room = consumer.room.saturating_sub(cost);
        if !consumer.no_ack {
            consumer.unacked += 1;
        }
        consumer.batch.push(entry);
        !consumer.no_ack && consumer.deliveries.channel_prefetch() > 0
    }

    /// A consumer's messages were settled: it has credit again.
    pub(super) fn credit(&mut self, id: u64, count: u32) {
        if let Some(consumer) = self.list.iter_mut().find(|consumer| consumer.id == id) {
            consumer.unacked = consumer.unacked.saturating_sub(count);
        }
    }
}
