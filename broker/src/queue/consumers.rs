//! The consumers of a queue, and the one that gets the next message: among those with credit and room, highest priority
//! first, in turn within a priority.
//!
//! Comes in: consumers, messages to be assigned, credit. Goes out: the index of the consumer whose turn it is.
//! Does not know about channels: a consumer's client is a `Subscriber`.

use super::entry::Entry;
use super::subscriber::{Allowance, Subscriber};
use super::time_limit::TimeLimit;
use crate::message::Message;
use crate::outbox::Wakes;
use leveret_amqp::{FieldTable, ShortString};
use std::cmp::Ordering;
use std::sync::Arc;

/// Messages handed out in one round: bounds how long the queue is locked and how unfair a full outbox can make it.
pub(super) const ROUND: usize = 1024;

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
    /// Its terms.
    pub terms: Terms,
    /// Its client.
    pub(super) subscriber: Arc<dyn Subscriber>,
    standing: Standing,
    unacked: u32,
    /// Limits of its client that are left of this round of dispatch.
    allowance: Allowance,
    /// Its time for each message, if that is limited.
    pub(super) time_limit: Option<Box<TimeLimit>>,
    /// Messages that it got in this round.
    pub(super) batch: Vec<Entry>,
}

/// The standing of a consumer among those of its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It gets messages, in turn with the others.
    #[default]
    Up,
    /// It alone gets messages, until it goes.
    SingleActive,
    /// It gets none while another one is there.
    Waiting,
}

/// Terms on which a consumer gets messages.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// No acknowledgements: a message is done with when it is written.
    pub no_ack: bool,
    /// It alone may consume.
    pub exclusive: bool,
    /// Most unacknowledged messages at a time; 0 is no limit (basic.qos with global=false).
    pub prefetch: u32,
    /// `x-priority`; 0 if none.
    pub priority: i32,
    /// `x-consumer-timeout`: milliseconds that it may have a message, if it says so itself.
    pub timeout: Option<u64>,
    /// The arguments of basic.consume.
    pub arguments: FieldTable,
}

impl Consumer {
    /// A consumer without messages.
    pub fn new(id: u64, tag: ShortString, channel: ChannelId, terms: Terms, subscriber: Arc<dyn Subscriber>) -> Self {
        Self {
            id,
            tag,
            channel,
            terms,
            subscriber,
            standing: Standing::Up,
            unacked: 0,
            allowance: Allowance::default(),
            time_limit: None,
            batch: Vec::new(),
        }
    }

    /// Messages that it has to acknowledge.
    pub fn unacked(&self) -> u32 {
        self.unacked
    }

    /// Milliseconds that it may have a message.
    pub fn timeout(&self) -> Option<u64> {
        self.time_limit.as_ref().map(|limit| limit.length())
    }

    /// Its standing.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Messages that it may get now, if that depends on nothing but its prefetch and nobody measures their time.
    pub(super) fn credit_alone(&self, allowance: Allowance) -> Option<usize> {
        if self.terms.no_ack {
            return Some(usize::MAX);
        }
        if allowance.shared_credit.is_some() || self.time_limit.is_some() {
            return None;
        }
        match self.terms.prefetch {
            0 => Some(usize::MAX),
            most => Some(most.saturating_sub(self.unacked) as usize),
        }
    }

    /// It has got messages.
    pub(super) fn got(&mut self, count: usize) {
        if !self.terms.no_ack {
            self.unacked += count as u32;
        }
    }

    fn has_credit(&self) -> bool {
        if self.terms.no_ack {
            return true;
        }
        (self.terms.prefetch == 0 || self.unacked < self.terms.prefetch) && self.allowance.shared_credit != Some(0)
    }
}

/// Tells the clients of consumers that they have ended.
pub fn cancelled(consumers: &[Consumer], wakes: &mut Wakes) {
    for consumer in consumers {
        consumer.subscriber.cancelled(wakes);
    }
}

/// The result of a look for the next consumer.
#[derive(Debug, PartialEq, Eq)]
pub enum Pick {
    /// The consumer at this index is next.
    Consumer(usize),
    /// None has both; this one has credit, but its client has no room.
    Stalled(usize),
    /// None has credit.
    NoCredit,
}

/// The consumers of one queue.
#[derive(Default)]
pub struct Consumers {
    /// Descending by priority.
    list: Vec<Consumer>,
    /// The same, priority by priority.
    classes: Vec<Class>,
    single: Option<Single>,
}

/// Consumers of one priority, who take turns.
struct Class {
    priority: i32,
    len: usize,
    /// The one whose turn it is, counted from the first of them.
    next: usize,
}

/// The one consumer that gets messages where only one may; an index, 0 if there is none.
#[derive(Clone, Copy, Default)]
struct Single {
    active: usize,
}

impl Consumers {
    /// None yet. `single`: only one at a time gets messages.
    pub fn new(single: bool) -> Self {
        Self {
            single: single.then(Single::default),
            ..Self::default()
        }
    }

    /// True if only one at a time gets messages.
    pub fn is_single(&self) -> bool {
        self.single.is_some()
    }

    /// True if this one is among them.
    pub fn has(&self, id: u64) -> bool {
        self.list.iter().any(|consumer| consumer.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.list.iter()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The only one, if there is no other.
    pub(super) fn only(&mut self) -> Option<&mut Consumer> {
        match self.list.as_mut_slice() {
            [consumer] => Some(consumer),
            _ => None,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Consumer> {
        self.list.get(index)
    }

    /// True if the consumer at this index acknowledges what it gets.
    pub(super) fn acknowledges(&self, index: usize) -> bool {
        self.list.get(index).is_some_and(|consumer| !consumer.terms.no_ack)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.list.iter_mut()
    }

    /// Adds one, behind those of the same priority.
    pub fn add(&mut self, consumer: Consumer) {
        let priority = consumer.terms.priority;
        let class = self.classes.partition_point(|class| class.priority > priority);
        match self.classes.get_mut(class) {
            Some(class) if class.priority == priority => class.len += 1,
            _ => self.classes.insert(
                class,
                Class {
                    priority,
                    len: 1,
                    next: 0,
                },
            ),
        }
        let at = self.list.partition_point(|other| other.terms.priority >= priority);
        self.list.insert(at, consumer);
        if let Some(single) = self
            .single
            .as_mut()
            .filter(|single| at <= single.active && self.list.len() > 1)
        {
            single.active += 1;
        }
        self.set_standings();
    }

    /// Removes one. The turn of the others stays whose it was.
    pub fn remove(&mut self, id: u64) -> Option<Consumer> {
        let at = self.list.iter().position(|consumer| consumer.id == id)?;
        let consumer = self.list.remove(at);
        self.leave_class(at, consumer.terms.priority);
        if let Some(single) = &mut self.single {
            single.active = match at.cmp(&single.active) {
                Ordering::Less => single.active - 1,
                // The next one: of the highest priority the oldest.
                Ordering::Equal => 0,
                Ordering::Greater => single.active,
            };
        }
        self.set_standings();
        Some(consumer)
    }

    fn leave_class(&mut self, at: usize, priority: i32) {
        let mut start = 0;
        self.classes.retain_mut(|class| {
            if class.priority == priority {
                class.len -= 1;
                if at < start + class.next {
                    class.next -= 1;
                } else if class.next >= class.len {
                    class.next = 0;
                }
            }
            start += class.len;
            class.len > 0
        });
    }

    /// Removes all.
    pub fn drain(&mut self) -> Vec<Consumer> {
        self.classes.clear();
        self.single = self.single.map(|_| Single::default());
        std::mem::take(&mut self.list)
    }

    fn set_standings(&mut self) {
        let Some(Single { active }) = self.single else { return };
        for (at, consumer) in self.list.iter_mut().enumerate() {
            consumer.standing = match at == active {
                true => Standing::SingleActive,
                false => Standing::Waiting,
            };
        }
    }

    /// Starts a round: asks each client how much it takes.
    pub(super) fn begin_round(&mut self) {
        for consumer in &mut self.list {
            consumer.allowance = consumer.subscriber.allowance();
        }
    }

    /// The consumer whose turn it is: of the highest priority of which one can take a message.
    #[inline]
    pub(super) fn pick(&mut self) -> Pick {
        if let Some(Single { active }) = self.single {
            return pick_in(&self.list, active, active + 1, active);
        }
        let mut start = 0;
        let mut stalled = Pick::NoCredit;
        for class in &mut self.classes {
            let end = start + class.len;
            match pick_in(&self.list, start, end, start + class.next) {
                Pick::NoCredit => {}
                Pick::Stalled(at) => stalled = Pick::Stalled(at),
                Pick::Consumer(at) => {
                    class.next = if at + 1 < end { at + 1 - start } else { 0 };
                    return Pick::Consumer(at);
                }
            }
            start = end;
        }
        stalled
    }

    /// Gives the consumer a message of this round. True if the round must end here: its client has a limit that other
    /// consumers share, so the delivery must be counted before the next look.
    #[inline]
    pub(super) fn assign(&mut self, index: usize, entry: Entry) -> bool {
        let Some(consumer) = self.list.get_mut(index) else {
            return true;
        };
        consumer.allowance.room = consumer.allowance.room.saturating_sub(cost(&entry));
        if !consumer.terms.no_ack {
            consumer.unacked += 1;
        }
        consumer.batch.push(entry);
        !consumer.terms.no_ack && consumer.allowance.shared_credit.is_some()
    }

    /// A consumer's messages were settled: it has credit again.
    pub(super) fn credit(&mut self, id: u64, count: u32) {
        if let Some(consumer) = self.list.iter_mut().find(|consumer| consumer.id == id) {
            consumer.unacked = consumer.unacked.saturating_sub(count);
        }
    }
}

/// Bytes that a delivery takes of a client's room.
#[inline]
pub(super) fn cost(entry: &Entry) -> usize {
    /// Bytes of a delivery beside body and properties.
    const ENVELOPE: usize = 64;
    let content = |message: &Message| message.body().len() + message.properties().len();
    entry.message.as_ref().map_or(0, content) + ENVELOPE
}

/// The first with credit and room among `start..end`, from `from` on, around the end.
#[inline]
fn pick_in(consumers: &[Consumer], start: usize, end: usize, from: usize) -> Pick {
    let mut stalled = Pick::NoCredit;
    for at in (from..end).chain(start..from) {
        let Some(consumer) = consumers.get(at) else { break };
        if !consumer.has_credit() {
            continue;
        }
        if consumer.allowance.room == 0 {
            stalled = Pick::Stalled(at);
            continue;
        }
        return Pick::Consumer(at);
    }
    stalled
}
