//! The delivering side of a channel: gives delivery tags to messages, writes them as frames and remembers what must be
//! acknowledged.
//!
//! Comes in: entries from a queue, on whatever thread published or settled. Goes out: basic.deliver frames in the
//! connection's outbox; and, by delivery tag, which message of which queue was meant when the client settles. Does not
//! know about exchanges, the log, or which queue a source stands for.

use super::line::Line;
use crate::clients::DeliveryFigures;
use crate::limits::delivered::Delivered;
use crate::outbox::{Outbox, Stalled, Wakes};
use crate::queue::entry::Entry;
use crate::queue::subscriber::{Again, Overdue};
use leveret_amqp::encode;
use leveret_store::MessageId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{AddAssign, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The delivering side of one channel, shared with the queues that it consumes from.
pub struct Deliveries {
    outbox: Arc<Outbox>,
    channel: u16,
    frame_max: u32,
    /// Set while there is a limit of the channel. Beside what doesn't change: consumers ask for every round.
    limited: AtomicBool,
    /// Set while nothing is delivered, because a reply is to go first.
    held_back: AtomicBool,
    /// Set when a consumer has got no more for what is unacknowledged.
    paused: AtomicBool,
    /// Limit, unacknowledged messages and totals of the channel.
    pub(super) figures: Arc<DeliveryFigures>,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    /// Tag of the next delivery, from 1 (AMQP 0-9-1 basic.deliver).
    next_tag: u64,
    /// One entry per tag from `first_tag` on.
    pub(super) unacked: VecDeque<Unacked>,
    pub(super) first_tag: u64,
    sources: Vec<Source>,
    /// The first of the sources that can be given out again; each knows the next.
    free: u32,
    /// The memory of what is to be acknowledged.
    memory: Delivered,
    /// The source of messages that were taken back, if there ever were some.
    spent: u32,
    /// State that few channels have.
    pub(super) rare: Option<Box<Rare>>,
}

/// State of channels with a limit, or with transactions.
#[derive(Default)]
pub(super) struct Rare {
    /// Consumers that wait for room under the limit of the channel.
    line: Line,
    /// No tag below is outstanding but those that a transaction holds: what means all passes over them.
    pub(super) passed: u64,
    /// Set while consumers get nothing: queues that have something for them, by their addresses.
    held_back: Option<BTreeMap<usize, Arc<dyn Stalled>>>,
}

#[derive(Clone, Copy)]
pub(super) struct Unacked {
    pub(super) source: u32,
    id: MessageId,
}

/// Deliveries that are settled at a time, where a client means very many.
const PORTION: usize = 8192;
/// Deliveries for which a channel that has none outstanding keeps room.
const KEPT: usize = 4096;

/// Marks a tag that is settled already, or was delivered without acknowledgement.
pub(super) const SETTLED: u32 = u32::MAX;
/// Added to the source of a delivery that the open transaction will settle: nothing else can. All sources are below.
pub(super) const HELD: u32 = 1 << 31;

/// No source's number.
const NO_SOURCE: u32 = u32::MAX;

#[derive(Default)]
struct Source {
    outstanding: u32,
    retired: bool,
    /// While it is free.
    next_free: u32,
    /// Messages are fetched from it one by one: they don't count for the channel's limit.
    fetched: bool,
}

/// The consumer that messages are for.
pub struct Destination<'a> {
    /// Its source.
    pub source: u32,
    /// The tag that its client knows it by.
    pub tag: &'a [u8],
    /// True if it acknowledges nothing.
    pub no_ack: bool,
}

/// Messages that came from one source and that a client settled.
pub struct Settled {
    /// The source's number.
    pub source: u32,
    /// The messages in the order of their delivery tags.
    pub ids: Vec<MessageId>,
}

/// Deliveries that were taken out.
#[derive(Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) all: u32,
    /// Of those, messages that were fetched one by one.
    fetched: u32,
}

impl AddAssign for Taken {
    #[inline]
    fn add_assign(&mut self, more: Self) {
        self.all += more.all;
        self.fetched += more.fetched;
    }
}

/// The client named a delivery tag that isn't outstanding: 406 `unknown delivery tag N`.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownDeliveryTag(pub u64);

impl Deliveries {
    /// The delivering side of channel number `channel`.
    pub fn new(outbox: Arc<Outbox>, channel: u16, frame_max: u32) -> Self {
        let state = State {
            next_tag: 1,
            unacked: VecDeque::new(),
            first_tag: 1,
            sources: Vec::new(),
            free: NO_SOURCE,
            memory: outbox.memory().delivered(),
            spent: NO_SOURCE,
            rare: None,
        };
        Self {
            outbox,
            channel,
            frame_max,
            limited: AtomicBool::new(false),
            held_back: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            figures: Arc::default(),
            state: Mutex::new(state),
        }
    }

    /// Its connection's outgoing buffer.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The channel's number.
    pub fn channel(&self) -> u16 {
        self.channel
    }

    /// Its figures, which it keeps up to date.
    pub fn figures(&self) -> &Arc<DeliveryFigures> {
        &self.figures
    }

    /// The limit of basic.qos with global=true, 0 for none.
    pub fn channel_prefetch(&self) -> u32 {
        self.figures.prefetch.load(Ordering::Relaxed)
    }

    /// Sets the limit of basic.qos with global=true.
    pub fn set_channel_prefetch(&self, limit: u32) {
        self.figures.prefetch.store(limit, Ordering::Relaxed);
        self.limited.store(limit > 0, Ordering::Relaxed);
    }

    /// Messages for which the channel-wide limit leaves room; `None` without such a limit. What was fetched one by one
    /// doesn't count (RabbitMQ before 4.3).
    #[inline]
    pub fn channel_credit(&self) -> Option<u32> {
        if !self.limited.load(Ordering::Relaxed) {
            return None;
        }
        let (fetched, all) = (&self.figures.fetched, &self.figures.outstanding);
        let consumed = all
            .load(Ordering::Relaxed)
            .saturating_sub(fetched.load(Ordering::Relaxed));
        Some(self.channel_prefetch().saturating_sub(consumed))
    }

    /// Has a consumer of `queue` resumed in its turn, when the channel-wide limit leaves room. False if it does now.
    pub fn line_up(&self, queue: &Arc<dyn Stalled>, consumer: u64) -> bool {
        // What makes room does so under the same lock, and looks at the line then.
        let mut state = self.state.lock();
        let waits = self.channel_credit() == Some(0);
        if waits {
            state.rare.get_or_insert_default().line.push(queue, consumer);
        }
        waits
    }

    /// The consumer that has waited for the longest time, if the channel-wide limit leaves room and none is held back:
    /// it is to be resumed.
    pub fn next_in_line(&self) -> Option<(Arc<dyn Stalled>, u64)> {
        let mut state = self.state.lock();
        let rare = state.rare.as_mut()?;
        match self.channel_credit() {
            Some(0) => None,
            _ if rare.held_back.is_some() => None,
            _ => rare.line.pop(),
        }
    }

    /// Forgets consumers in line that have ended, where they have become many beside the channel's `consumers`.
    pub fn tidy_line(&self, consumers: impl ExactSizeIterator<Item = u64>) {
        let mut state = self.state.lock();
        if let Some(rare) = &mut state.rare
            && rare.line.is_long(consumers.len())
        {
            rare.line.retain(&consumers.collect());
        }
    }

    /// True if so much is unacknowledged here, and by all clients together, that no more is to be delivered.
    #[inline]
    pub fn has_enough(&self) -> bool {
        let unacknowledged = self.figures.outstanding.load(Ordering::SeqCst);
        self.outbox.memory().has_enough(unacknowledged)
    }

    /// Has consumers get nothing until [`Deliveries::let_go`]: what the client has asked for sets messages free, and
    /// the reply is to go before them.
    pub fn hold_back(&self) {
        let mut state = self.state.lock();
        state.rare.get_or_insert_default().held_back.get_or_insert_default();
        drop(state);
        self.held_back.store(true, Ordering::Relaxed);
    }

    /// True while consumers get nothing.
    #[inline]
    pub fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    /// Keeps `queue` in mind, which has something for a consumer. False if that may have it now.
    pub fn keep_waiting(&self, queue: &Arc<dyn Stalled>) -> bool {
        let mut state = self.state.lock();
        let held_back = state.rare.as_mut().and_then(|rare| rare.held_back.as_mut());
        let Some(queues) = held_back else {
            return false;
        };
        queues.insert(Arc::as_ptr(queue).addr(), queue.clone());
        true
    }

    /// The reply has gone. Gives the queues that have had something meanwhile, to be resumed.
    pub fn let_go(&self) -> Vec<Arc<dyn Stalled>> {
        self.held_back.store(false, Ordering::Relaxed);
        let mut state = self.state.lock();
        let queues = state.rare.as_mut().and_then(|rare| rare.held_back.take());
        drop(state);
        queues.map_or_else(Vec::new, |queues| queues.into_values().collect())
    }

    /// Has `queue` resumed when there is less. False if there is now.
    pub fn pause(&self, queue: &Arc<dyn Stalled>) -> bool {
        self.outbox.resume_later(queue);
        self.outbox.memory().wait_for_fewer(&self.outbox);
        self.paused.store(true, Ordering::SeqCst);
        self.has_enough()
    }

    #[cold]
    fn go_on(&self) {
        if !self.has_enough() {
            self.paused.store(false, Ordering::SeqCst);
            self.outbox.nudge();
        }
    }

    /// A number for something that messages will come from: a consumer, or basic.get of a queue. The channel knows what
    /// it stands for; here it goes with each delivery. `fetched`: they are asked for one by one.
    pub fn add_source(&self, fetched: bool) -> u32 {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let source = Source {
            fetched,
            ..Source::default()
        };
        let free = state.free;
        if let Some(slot) = state.sources.get_mut(free as usize) {
            state.free = slot.next_free;
            *slot = source;
            return free;
        }
        state.sources.push(source);
        (state.sources.len() - 1) as u32
    }

    /// The consumer was cancelled: the number may be given to another one once its messages are settled. True if they
    /// are.
    pub fn retire_source(&self, source: u32) -> bool {
        let mut state = self.state.lock();
        let Some(found) = state.sources.get_mut(source as usize) else {
            return true;
        };
        let (retired, settled) = (std::mem::replace(&mut found.retired, true), found.outstanding == 0);
        if settled && !retired {
            state.free(source);
        }
        settled
    }

    /// Writes a run of messages to the client. Called under the queue's lock, so that tags follow the queue's order.
    /// Gives the tag of the first.
    pub fn deliver(&self, wakes: &mut Wakes, to: Destination<'_>, entries: &[Entry], again: Again) -> u64 {
        let Destination { source, tag, no_ack } = to;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let first = state.next_tag;
        for entry in entries {
            state.note(if no_ack { SETTLED } else { source }, entry.id);
        }
        let count = entries.len() as u32;
        let delivered = match no_ack {
            true => &self.figures.delivered_no_ack,
            false => &self.figures.delivered,
        };
        delivered.fetch_add(u64::from(count), Ordering::Relaxed);
        if again.messages > 0 {
            let again = again.messages as u64;
            self.figures.redelivered.fetch_add(again, Ordering::Relaxed);
        }
        if !no_ack {
            self.figures.outstanding.fetch_add(count, Ordering::Relaxed);
            if let Some(source) = state.sources.get_mut(source as usize) {
                source.outstanding += count;
            }
            state.memory.set(state.unacked.len());
        }
        let (channel, frame_max) = (self.channel, self.frame_max);
        self.outbox.append(wakes, |out| {
            for (number, entry) in (first..).zip(entries) {
                let Some(message) = &entry.message else { continue };
                let (exchange, key) = (message.exchange(), message.routing_key());
                encode::put_deliver(out.encoded(), channel, tag, number, entry.redelivered, exchange, key);
                out.put_content(
                    channel,
                    frame_max,
                    &entry.properties(again.tell),
                    message.body(),
                    || self.outbox.refer_to(message.shared_body(), message.is_counted()),
                );
            }
        });
        first
    }

    /// Takes messages of a source back from the client, which has had them for too long. Gives those that it has not
    /// settled. It may settle their tags still: they go to a source that stands for nothing.
    pub fn take_back(&self, source: u32, overdue: &[Overdue]) -> Vec<MessageId> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.spent == NO_SOURCE {
            state.spent = state.sources.len() as u32;
            state.sources.push(Source::default());
        }
        let spent = state.spent;
        let mut taken = Vec::new();
        for Overdue { number, id } in overdue {
            let at = number.wrapping_sub(state.first_tag) as usize;
            let unacked = state.unacked.get_mut(at);
            if let Some(unacked) = unacked.filter(|unacked| (unacked.source, unacked.id) == (source, *id)) {
                unacked.source = spent;
                taken.push(*id);
            }
        }
        let count = taken.len() as u32;
        for (number, change) in [(source, count.wrapping_neg()), (spent, count)] {
            if let Some(of) = state.sources.get_mut(number as usize) {
                of.outstanding = of.outstanding.wrapping_add(change);
            }
        }
        let ended = |found: &Source| found.retired && found.outstanding == 0 && count > 0;
        if state.sources.get(source as usize).is_some_and(ended) {
            state.free(source);
        }
        taken
    }

    /// Gives a tag to a message fetched by basic.get; the caller writes it.
    pub fn note_get(&self, source: u32, no_ack: bool, id: MessageId) -> u64 {
        let mut state = self.state.lock();
        let tag = state.next_tag;
        state.note(if no_ack { SETTLED } else { source }, id);
        let got = match no_ack {
            true => &self.figures.got_no_ack,
            false => &self.figures.got,
        };
        got.fetch_add(1, Ordering::Relaxed);
        if !no_ack {
            self.figures.outstanding.fetch_add(1, Ordering::Relaxed);
            self.figures.fetched.fetch_add(1, Ordering::Relaxed);
            let state = &mut *state;
            state.memory.set(state.unacked.len());
            if let Some(source) = state.sources.get_mut(source as usize) {
                source.outstanding += 1;
            }
        }
        tag
    }

    /// Takes out what a client settles: one tag, all up to a tag (`multiple`), or all (`multiple` and tag 0), as AMQP
    /// 0-9-1 basic.ack has it. Appends to `settled`, in the order of tags, one item per run of the same source. True if
    /// that was a portion only, of very many: the rest comes with the next call.
    ///
    /// Deliveries that a transaction holds are passed over.
    ///
    /// # Errors
    /// The tag isn't outstanding; nothing is taken then.
    pub fn settle(&self, tag: u64, multiple: bool, settled: &mut Vec<Settled>) -> Result<bool, UnknownDeliveryTag> {
        let mut state = self.state.lock();
        let meant = state.meant(tag, multiple)?;
        let end = meant.end.min(meant.start + PORTION);
        self.take(&mut state, meant.start..end, settled);
        Ok(end < meant.end)
    }

    /// The places of all deliveries that may be outstanding.
    pub fn all(&self) -> Range<usize> {
        let state = self.state.lock();
        state.begin()..state.unacked.len()
    }

    /// The deliveries that a client means, as [`Deliveries::settle`] takes them, by their places.
    ///
    /// # Errors
    /// The tag isn't outstanding.
    pub fn meant(&self, tag: u64, multiple: bool) -> Result<Range<usize>, UnknownDeliveryTag> {
        self.state.lock().meant(tag, multiple)
    }

    /// Takes out the last deliveries of some places, as many as are gone through at a time. Gives the places that are
    /// left. Nothing else may be settled until all are.
    pub fn take_last(&self, places: Range<usize>, settled: &mut Vec<Settled>) -> Range<usize> {
        let mut state = self.state.lock();
        let from = places.end.saturating_sub(PORTION).max(places.start);
        self.take(&mut state, from..places.end, settled);
        places.start..from
    }

    /// The first delivery of each source that has some.
    pub fn firsts(&self) -> HashMap<u32, MessageId> {
        let state = self.state.lock();
        let mut firsts = HashMap::new();
        for unacked in state.unacked.iter().filter(|unacked| unacked.source < HELD) {
            firsts.entry(unacked.source).or_insert(unacked.id);
        }
        firsts
    }

    fn take(&self, state: &mut State, places: Range<usize>, settled: &mut Vec<Settled>) {
        let mut taken = Taken::default();
        for at in places.clone() {
            taken += state.end(at, 0, settled);
        }
        state.pass(&places);
        self.has_taken(state, taken);
    }

    #[inline]
    pub(super) fn has_taken(&self, state: &mut State, taken: Taken) {
        // In one order with the look of a queue that pauses.
        self.figures.outstanding.fetch_sub(taken.all, Ordering::SeqCst);
        if taken.fetched > 0 {
            self.figures.fetched.fetch_sub(taken.fetched, Ordering::Relaxed);
        }
        let all = u64::from(taken.all);
        self.figures.acknowledged.fetch_add(all, Ordering::Relaxed);
        state.trim();
        state.memory.set(state.unacked.len());
        if self.paused.load(Ordering::SeqCst) {
            self.go_on();
        }
    }
}

impl State {
    fn note(&mut self, source: u32, id: MessageId) {
        if source == SETTLED && self.unacked.is_empty() {
            self.first_tag += 1;
        } else {
            self.unacked.push_back(Unacked { source, id });
        }
        self.next_tag += 1;
    }

    /// The places that a tag means. Those in between may be settled or held.
    pub(super) fn meant(&self, tag: u64, multiple: bool) -> Result<Range<usize>, UnknownDeliveryTag> {
        let end = match tag.checked_sub(self.first_tag) {
            _ if multiple && tag == 0 => return Ok(self.begin()..self.unacked.len()),
            Some(offset) => match self.unacked.get(offset as usize) {
                Some(unacked) if unacked.source < HELD => offset as usize + 1,
                _ => return Err(UnknownDeliveryTag(tag)),
            },
            None => return Err(UnknownDeliveryTag(tag)),
        };
        Ok(if multiple { self.begin() } else { end - 1 }..end)
    }

    /// The first place that may be outstanding, for those who mean all.
    fn begin(&self) -> usize {
        let passed = self.rare.as_ref().map_or(0, |rare| rare.passed);
        let passed = passed.saturating_sub(self.first_tag) as usize;
        passed.min(self.unacked.len())
    }

    /// None of these places is outstanding any more but those that are held.
    pub(super) fn pass(&mut self, places: &Range<usize>) {
        let (begin, end) = (self.begin(), self.first_tag + places.end as u64);
        if let Some(rare) = &mut self.rare
            && places.start <= begin
        {
            rare.passed = rare.passed.max(end);
        }
    }

    /// Ends the delivery at a place, if it is outstanding; `held` is [`HELD`] if a transaction must have put it aside,
    /// else 0.
    pub(super) fn end(&mut self, at: usize, held: u32, settled: &mut Vec<Settled>) -> Taken {
        let mut taken = Taken::default();
        let Some(unacked) = self.unacked.get_mut(at) else {
            return taken;
        };
        let (source, id) = (unacked.source ^ held, unacked.id);
        if source >= HELD || unacked.source == SETTLED {
            return taken;
        }
        unacked.source = SETTLED;
        taken.all = 1;
        if let Some(found) = self.sources.get_mut(source as usize) {
            found.outstanding = found.outstanding.saturating_sub(1);
            taken.fetched = u32::from(found.fetched);
            if found.retired && found.outstanding == 0 {
                self.free(source);
            }
        }
        match settled.last_mut() {
            Some(last) if last.source == source => last.ids.push(id),
            _ => settled.push(Settled { source, ids: vec![id] }),
        }
        taken
    }

    /// The number of a source that has ended may be given out again.
    fn free(&mut self, source: u32) {
        let next = std::mem::replace(&mut self.free, source);
        if let Some(found) = self.sources.get_mut(source as usize) {
            found.next_free = next;
        }
    }

    fn trim(&mut self) {
        while self.unacked.front().is_some_and(|unacked| unacked.source == SETTLED) {
            self.unacked.pop_front();
            self.first_tag += 1;
        }
        if self.unacked.is_empty() && self.unacked.capacity() > KEPT {
            self.unacked = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests;
