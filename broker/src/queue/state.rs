//! One queue: waiting messages, delivered ones, consumers, all behind one short lock.
//!
//! Comes in: runs of new messages, settlements, consumers. Goes out: runs of messages to the consumers' subscribers,
//! and records for the log. An idle queue is this struct and nothing else: no task, no timer, no file.
//! Does not know about channels, connections and protocols, nor about exchanges, bindings or the vhost.

use super::arguments::{Arguments, QueueType, Values};
use super::bounds::Bounds;
use super::consumers::{Consumer, Consumers};
use super::delayed::Delayed;
use super::entry::Entry;
use super::flow::ConsumerFlow;
use super::held::Held;
use super::lease::Lease;
use super::policies::Policies;
use super::ready::Ready;
use super::run::{Cleared, Skipped};
use super::stamp::{self, Millis};
use super::tail::Reader;
use super::time_limit::{TimeLimit, Timeouts};
use super::time_to_live::TimeToLive;
use super::totals::{Deaths, Snapshot, Totals};
use super::unsettled::Unsettled;
use super::upkeep::Upkeep;
use crate::clock;
use crate::death::Reason;
use crate::limits::Memory;
use crate::message::{Footprint, Message};
use crate::outbox::Work;
use leveret_amqp::ShortString;
use leveret_store::{Backlog, Handle, Live, Location, MessageId, QueueId};
use parking_lot::{Mutex, MutexGuard};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory that the messages at the front of a queue may take, bytes: while there is plenty, and when all queues
/// together have come half way to the watermark. What is in the log is dropped from memory rather than have publishers
/// wait.
const BUDGET: u64 = 8 << 20;
const TIGHT_BUDGET: u64 = 128 << 10;
/// Waiting messages from which consumers may be behind.
const LONG: usize = 4096;

/// A queue as declared.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name.
    pub name: ShortString,
    /// Survives a restart.
    pub durable: bool,
    /// Goes when its last consumer goes.
    pub auto_delete: bool,
    /// The connection that it belongs to and goes with.
    pub owner: Option<u64>,
    /// Its `x-arguments`.
    pub arguments: Arguments,
}

impl Definition {
    /// True if the log knows it: durable, and not exclusive to a connection, which it would never outlive (RabbitMQ
    /// ignores the durability of exclusive queues too).
    pub fn logged(&self) -> bool {
        self.durable && self.owner.is_none()
    }
}

/// One queue.
pub struct Queue {
    /// Its declaration.
    pub definition: Definition,
    /// Its number in the log.
    pub id: QueueId,
    pub(super) log: Handle,
    pub(super) memory: Arc<Memory>,
    pub(super) upkeep: Upkeep,
    /// Milliseconds that a message may wait: read by publishers, before they come to the queue.
    pub(super) ttl: TimeToLive,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) ready: Ready,
    pub(super) unsettled: Unsettled,
    pub(super) consumers: Consumers,
    pub(super) totals: Totals,
    /// Highest id that was handed to a consumer that acknowledges, and the highest that the log knows of.
    pub(super) delivered_mark: MessageId,
    logged_mark: MessageId,
    pub(super) deleted: bool,
    /// Clients that are giving very many messages back: nothing is handed out until all are there.
    pub(super) returning: u32,
    had_consumer: bool,
    /// No waiting message's time is over before, and when the clock will call next.
    pub(super) deadline: Option<Millis>,
    pub(super) called_at: Option<Millis>,
    /// Its lease, if it has one.
    pub(super) lease: Option<Box<Lease>>,
    /// Its limits, if it has some.
    pub(super) bounds: Option<Bounds>,
    /// True while what is beyond a new limit is dropped by and by.
    pub(super) trimming: bool,
    /// Its policies, if some apply.
    pub(super) policies: Option<Box<Policies>>,
    /// Messages that wait for another attempt, if there are some.
    pub(super) delayed: Option<Box<Delayed>>,
    /// Time limits of deliveries, if consumers have had some.
    pub(super) timeouts: Option<Box<Timeouts>>,
    /// Flow control, while consumers are behind, or may be.
    flow: Option<Box<ConsumerFlow>>,
    /// The time for which its consumers could take no more.
    held: Held,
}

/// A reason for which a queue can't be deleted, consumed from or read.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has consumers.
    InUse,
    /// It has messages: how many.
    NotEmpty(usize),
    /// It has messages that wait, or that consumers have: how many of each.
    NotIdle {
        /// Messages that wait, for a consumer or for another attempt.
        ready: usize,
        /// Messages delivered and not acknowledged.
        unacked: usize,
    },
    /// One consumer has it for itself, or would and there are others.
    ExclusiveUse,
    /// It has been deleted meanwhile.
    Gone,
}

/// Remains of a deleted queue, for its vhost to deal with.
pub struct Deleted {
    /// Messages that were waiting.
    pub messages: usize,
    /// To be told (basic.cancel).
    pub consumers: Vec<Consumer>,
}

impl Queue {
    /// A queue without messages or consumers.
    pub fn new(definition: Definition, id: QueueId, log: Handle, memory: Arc<Memory>, upkeep: Upkeep) -> Self {
        let values = &definition.arguments.values;
        let single = values.single_active_consumer == Some(true);
        let state = State {
            ready: match values.priorities() {
                Some(_) => Ready::by_level(),
                None => Ready::default(),
            },
            consumers: Consumers::new(single),
            lease: Lease::of(values.expires, clock::now()),
            bounds: Bounds::of(values),
            ..State::default()
        };
        Self {
            ttl: TimeToLive::of(values),
            definition,
            id,
            log,
            memory,
            upkeep,
            state: Mutex::new(state),
        }
    }

    /// The state, for a change that may add or free messages: what it takes in memory is accounted for when the lock
    /// goes.
    pub(super) fn change(&self) -> Changing<'_> {
        let state = self.state.lock();
        let before = state.resident().own();
        Changing {
            state,
            before,
            memory: &self.memory,
        }
    }

    /// True while publishers are stopped for want of memory.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.alarm()
    }

    /// The values that count now.
    pub(super) fn values<'a>(&'a self, state: &'a State) -> &'a Values {
        self.values_under(&state.policies)
    }

    /// The same, for one who has taken the state apart.
    pub(super) fn values_under<'a>(&'a self, policies: &'a Option<Box<Policies>>) -> &'a Values {
        let declared = &*self.definition.arguments.values;
        policies.as_ref().map_or(declared, |policies| &policies.values)
    }

    /// A copy of the values that count now, for the HTTP API.
    pub fn values_now(&self) -> Values {
        self.values(&self.state.lock()).clone()
    }

    /// Its name.
    pub fn name(&self) -> &ShortString {
        &self.definition.name
    }

    /// True if the log knows it.
    pub fn logged(&self) -> bool {
        self.definition.logged()
    }

    /// True if the log has all of its messages, persistent or not.
    pub fn keeps_all(&self) -> bool {
        self.definition.arguments.values.queue_type() == QueueType::Quorum
    }

    /// True if the log is to have a message for this queue.
    pub fn keeps(&self, message: &Message) -> bool {
        self.logged() && (message.persistent() || self.keeps_all())
    }

    /// Puts back what the log had at start, before anything else is done with the queue. [`Queue::begin`] follows.
    pub fn restore(&self, mut backlog: Backlog) {
        let mut state = self.change();
        state.delayed = Delayed::found(&mut backlog, self.reader()).map(Box::new);
        state.ready.restore(backlog, self.reader());
        state.deadline = state.earliest();
    }

    /// Its messages that the log has, for a checkpoint. `None` if there are none.
    pub fn capture(&self) -> Option<Backlog> {
        if !self.logged() {
            return None;
        }
        let mut backlog = Backlog::default();
        let mut state = self.state.lock();
        state.unsettled.capture(&mut backlog);
        state.ready.capture(&mut backlog);
        if let Some(delayed) = &state.delayed {
            backlog.loose.extend(delayed.durable().map(Entry::stored));
        }
        drop(state);
        if !backlog.loose.is_sorted_by_key(|message| message.id) {
            backlog.loose.sort_by_key(|message| message.id);
        }
        (!backlog.is_empty()).then_some(backlog)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        let memory = &self.memory;
        let tight = memory.resident() > memory.watermark() / 2;
        Reader {
            log: &self.log,
            queue: self.id,
            budget: if tight { TIGHT_BUDGET } else { BUDGET },
        }
    }

    /// True if a consumer would be taken now.
    ///
    /// # Errors
    /// As [`Queue::consume`].
    pub fn may_consume(&self, exclusive: bool) -> Result<(), Refused> {
        self.state.lock().may_consume(exclusive)
    }

    /// Adds a consumer and hands it what it can take.
    ///
    /// # Errors
    /// [`Refused::ExclusiveUse`] as RabbitMQ has it for exclusive consumers; [`Refused::Gone`].
    pub fn consume(self: &Arc<Self>, mut consumer: Consumer, work: &mut Work) -> Result<(), Refused> {
        let mut state = self.change();
        state.may_consume(consumer.terms.exclusive)?;
        let timeout = consumer.terms.timeout.or(self.values(&state).consumer_timeout());
        consumer.time_limit = timeout.map(|length| Box::new(TimeLimit::new(length)));
        state.had_consumer = true;
        state.consumers.add(consumer);
        state.totals.touch(work.now());
        self.expire(&mut state, work);
        self.dispatch_locked(&mut state, work);
        Ok(())
    }

    /// True if one consumer at a time gets messages: when one has gone, the next must be handed its own.
    pub fn hands_over(&self) -> bool {
        self.definition.arguments.values.single_active_consumer == Some(true)
    }

    /// Removes a consumer. True if it was the last one of an auto-delete queue: the queue must go.
    pub fn cancel(self: &Arc<Self>, consumer: u64) -> bool {
        let mut state = self.state.lock();
        let mut removed = state.consumers.remove(consumer);
        if let Some(consumer) = &mut removed {
            state.consumer_has_gone(consumer);
            state.note_held(Instant::now);
        }
        self.renew(&mut state);
        state.totals.touch(Instant::now());
        removed.is_some() && self.ends_with_consumers(&state)
    }

    /// True if the queue must go because it has no consumers any more.
    pub(super) fn ends_with_consumers(&self, state: &State) -> bool {
        self.definition.auto_delete && state.had_consumer && state.consumers.is_empty() && !state.deleted
    }

    /// True if a consumer has not ended.
    pub fn has_consumer(&self, consumer: u64) -> bool {
        self.state.lock().consumers.has(consumer)
    }

    /// Takes the first waiting message for basic.get, with the number of those that remain.
    pub fn get(self: &Arc<Self>, no_ack: bool, work: &mut Work, deliver: impl FnOnce(&Entry, usize)) -> bool {
        let mut guard = self.change();
        let state = &mut *guard;
        let mut skipped = Skipped::default();
        self.renew(state);
        self.expire(state, work);
        let now = state.deadline.map(|_| work.millis());
        let entry = state.ready.pop(now, self.reader(), &mut skipped);
        self.end_skipped(skipped, state, work);
        state.totals.touch(work.now());
        let Some(entry) = entry else {
            state.totals.get_empty += 1;
            return false;
        };
        state.totals.redelivered += u64::from(entry.redelivered);
        match entry.redelivered && self.values(state).tell_returns() {
            true => deliver(&entry.told(), state.ready.len()),
            false => deliver(&entry, state.ready.len()),
        }
        if no_ack {
            state.totals.got_no_ack += 1;
            if entry.durable {
                work.records(&self.log).settle(self.id, &[(entry.id, entry.location)]);
            }
        } else {
            state.totals.got += 1;
            state.delivered_mark = state.delivered_mark.max(if entry.durable { entry.id } else { 0 });
            state.unsettled.insert(entry);
            self.log_mark(state, work);
        }
        true
    }

    /// Drops the waiting messages; returns how many (queue.purge).
    pub fn purge(&self, work: &mut Work) -> usize {
        let mut state = self.change();
        let cleared = state.clear();
        state.totals.touch(work.now());
        state.note_held(|| work.now());
        if !cleared.loose.is_empty() {
            work.records(&self.log).settle(self.id, &cleared.loose);
        }
        self.log.discard(self.id, cleared.pages);
        cleared.messages
    }

    /// Marks the queue as gone, if the conditions hold: from now on nothing can be added, atomically with the check.
    ///
    /// # Errors
    /// [`Refused::InUse`], [`Refused::NotEmpty`], [`Refused::Gone`].
    pub fn delete(&self, if_unused: bool, if_empty: bool) -> Result<Deleted, Refused> {
        let state = self.change();
        if state.deleted {
            return Err(Refused::Gone);
        }
        if if_unused && !state.consumers.is_empty() {
            return Err(Refused::InUse);
        }
        let (messages, _) = state.kept();
        if if_empty && messages > 0 {
            return Err(Refused::NotEmpty(messages as usize));
        }
        Ok(self.remove(state))
    }

    /// As [`Queue::delete`], if nobody has a message of it either: RabbitMQ calls a queue empty whose messages are all
    /// with consumers.
    ///
    /// # Errors
    /// [`Refused::InUse`], [`Refused::NotIdle`], [`Refused::Gone`].
    pub fn delete_idle(&self, if_unused: bool) -> Result<Deleted, Refused> {
        let state = self.change();
        if state.deleted {
            return Err(Refused::Gone);
        }
        if if_unused && !state.consumers.is_empty() {
            return Err(Refused::InUse);
        }
        let (ready, unacked) = (state.kept().0 as usize, state.unsettled.len());
        if ready + unacked > 0 {
            return Err(Refused::NotIdle { ready, unacked });
        }
        Ok(self.remove(state))
    }

    /// Ends the queue.
    pub(super) fn remove(&self, mut state: Changing<'_>) -> Deleted {
        state.deleted = true;
        let consumers = state.consumers.drain();
        let messages = state.ready.len();
        let waiting = state.clear();
        let unsettled = state.unsettled.clear();
        drop(state);
        let loose = waiting.loose.into_iter().chain(unsettled);
        let locations: Vec<Location> = loose.map(|(_, location)| location).collect();
        self.log.release(&locations);
        self.log.release_pages(&waiting.pages);
        Deleted { messages, consumers }
    }

    /// True if it has been deleted: references to it can be dropped.
    pub fn is_deleted(&self) -> bool {
        self.state.lock().deleted
    }

    /// Waiting messages and consumers, as queue.declare-ok tells them.
    pub fn counts(&self) -> (u32, u32) {
        let state = self.state.lock();
        (state.ready.len() as u32, state.consumers.len() as u32)
    }

    /// The delivery count and the stamp of a message that lives here, for the log's compaction.
    pub fn live(&self, id: MessageId, stamp: Option<u64>) -> Option<Live> {
        let mut state = self.state.lock();
        let delayed = state.delayed.as_ref().and_then(|delayed| delayed.live(id));
        let live = delayed.or_else(|| state.unsettled.live(id));
        live.or_else(|| state.ready.live(id, stamp, self.reader()))
    }

    /// A message's record has been moved. False if it doesn't live here any more.
    pub fn relocate(&self, id: MessageId, stamp: Option<u64>, to: Location) -> bool {
        let mut state = self.state.lock();
        let delayed = state.delayed.as_mut().is_some_and(|delayed| delayed.relocate(id, to));
        delayed || state.unsettled.relocate(id, to) || state.ready.relocate(id, stamp, to, self.reader())
    }

    /// Tells the log how far messages have been delivered, so that they come back with `redelivered` after a crash.
    pub(super) fn log_mark(&self, state: &mut State, work: &mut Work) {
        if state.delivered_mark > state.logged_mark {
            state.logged_mark = state.delivered_mark;
            work.records(&self.log).delivered(self.id, state.delivered_mark);
        }
    }

    /// Ends messages that have left on the way to the next one. Those that the log can't give back are settled, so that
    /// they don't come again.
    pub(super) fn end_skipped(&self, skipped: Skipped, state: &mut State, work: &mut Work) {
        if !skipped.lost.is_empty() {
            work.records(&self.log).settle(self.id, &skipped.lost);
        }
        state.totals.expired += skipped.expired.len() as u64;
        self.end(state, skipped.expired, Reason::Expired, work);
    }
}

/// The lock of a queue, and what its messages took in memory when it was taken.
pub(super) struct Changing<'a> {
    state: MutexGuard<'a, State>,
    before: u64,
    memory: &'a Memory,
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.memory.add(self.state.resident().own() as i64 - self.before as i64);
    }
}

impl State {
    fn resident(&self) -> Footprint {
        let mut resident = self.ready.resident();
        resident += self.unsettled.resident();
        if let Some(delayed) = &self.delayed {
            resident += delayed.resident();
        }
        resident
    }

    /// Nothing is to be done about a message that waits before.
    pub(super) fn earliest(&self) -> Option<Millis> {
        let delayed = self.delayed.as_ref().and_then(|delayed| delayed.earliest());
        stamp::earlier(self.ready.earliest(), delayed)
    }

    /// Removes what waits.
    fn clear(&mut self) -> Cleared {
        let mut cleared = self.ready.clear();
        if let Some(delayed) = self.delayed.take() {
            cleared.messages += delayed.len();
            cleared
                .loose
                .extend(delayed.durable().map(|entry| (entry.id, entry.location)));
        }
        cleared
    }

    /// Adds new messages.
    #[inline]
    pub(super) fn push(&mut self, entries: impl Iterator<Item = Entry>, reader: Reader<'_>) {
        let Self { ready, deadline, .. } = self;
        ready.extend(entries.inspect(|entry| note_deadline(deadline, entry)), reader);
    }

    /// Takes note of whether messages wait although there are consumers.
    #[inline]
    pub(super) fn note_held(&mut self, now: impl FnOnce() -> Instant) {
        let held = !self.ready.is_empty() && !self.consumers.is_empty();
        if held != self.held.is_on() {
            self.held.turn(held, now());
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let (persistent, persistent_bytes) = self.ready.durable();
        Snapshot {
            totals: self.totals,
            dead_lettered: Deaths::default(),
            ready: self.ready.len(),
            unacked: self.unsettled.len(),
            ready_bytes: self.ready.body_bytes(),
            unacked_bytes: self.unsettled.body_bytes(),
            persistent,
            persistent_bytes,
            delayed: self.delayed.as_ref().map_or(0, |delayed| delayed.len()),
            delayed_bytes: self.delayed.as_ref().map_or(0, |delayed| delayed.body_bytes()),
            memory: self.resident().bytes,
            consumers: self.consumers.len(),
            held: self.held.total(),
        }
    }

    /// The pause that the publisher of the last `count` messages should make.
    pub(super) fn pause(&mut self, count: usize, now: Instant) -> Duration {
        if self.consumers.is_empty() {
            self.flow = None;
            return Duration::ZERO;
        }
        let (published, taken, ready) = (self.totals.published, self.totals.handed_out(), self.ready.len());
        if self.flow.is_none() && ready < LONG {
            return Duration::ZERO;
        }
        let flow = self
            .flow
            .get_or_insert_with(|| Box::new(ConsumerFlow::new(now, published, taken)));
        flow.admit(now, count, published, taken, ready)
    }

    fn may_consume(&self, exclusive: bool) -> Result<(), Refused> {
        if self.deleted {
            return Err(Refused::Gone);
        }
        if self.consumers.has_exclusive() || (exclusive && (self.consumers.is_single() || !self.consumers.is_empty())) {
            return Err(Refused::ExclusiveUse);
        }
        Ok(())
    }
}

/// Notes that a message waits, if it waits for a limited time.
#[inline]
pub(super) fn note_deadline(earliest: &mut Option<Millis>, entry: &Entry) {
    if entry.stamp != stamp::NONE {
        *earliest = stamp::earlier(*earliest, stamp::deadline(entry.stamp));
    }
}
