//! The consumers of a queue, and the one that gets the next message: among those with credit and room, highest priority
//! first, in turn within a priority.
//!
//! A consumer that can't take a message doesn't take part until it can, so that no look passes others that can't.
//!
//! Comes in: consumers, messages to be assigned, credit. Goes out: the place of the consumer whose turn it is.
//! Does not know about channels: a consumer's client is a `Subscriber`.

use super::entry::Entry;
use super::subscriber::{Allowance, Subscriber};
use super::time_limit::TimeLimit;
use super::turns::{Place, Turns};
use crate::message::Message;
use crate::outbox::Wakes;
use leveret_amqp::{RawTable, ShortString};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
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
    part: Part,
    /// It waits for its turn under a limit that it shares.
    in_line: bool,
    /// Limits of its client that are left of a round of dispatch, and which round that is.
    allowance: Allowance,
    round: u64,
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
    pub arguments: RawTable,
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
            part: Part::Takes,
            in_line: false,
            allowance: Allowance::default(),
            round: 0,
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

    /// True if it has as many messages as it may have without acknowledging them.
    pub fn is_blocked(&self) -> bool {
        !self.has_credit()
    }

    /// Its standing.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Messages that it may get now, if that depends on nothing but its prefetch and nobody measures their time.
    pub(super) fn credit_alone(&self, allowance: Allowance) -> Option<usize> {
        if allowance.shared_credit.is_some() || self.time_limit.is_some() {
            return None;
        }
        match self.terms.prefetch {
            _ if self.terms.no_ack => Some(usize::MAX),
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

    /// True if its own limit leaves room.
    fn has_credit(&self) -> bool {
        self.terms.no_ack || self.terms.prefetch == 0 || self.unacked < self.terms.prefetch
    }

    /// True if a limit that it shares with others left no room in this round.
    pub(super) fn lacks_share(&self) -> bool {
        self.allowance.shared_credit == Some(0)
    }

    /// Its part in this round.
    #[inline]
    fn look(&mut self, round: u64) -> Part {
        if self.round != round {
            self.round = round;
            self.allowance = self.subscriber.allowance();
        }
        if !self.has_credit() {
            Part::LacksCredit
        } else if self.lacks_share() {
            Part::LacksShare
        } else if self.allowance.room == 0 {
            Part::LacksRoom
        } else {
            Part::Takes
        }
    }
}

/// The part of a consumer in the turns. Where only one at a time gets messages there are none, and it is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It takes messages, as far as is known.
    Takes,
    /// It has as many as it may have: a settlement ends that.
    LacksCredit,
    /// The limit that it shares leaves no room: its turn will come when there is some.
    LacksShare,
    /// Its client has no room, and is to say when it has.
    LacksRoom,
    /// Its client will say when it has room again.
    Away,
}

/// Tells the clients of consumers that they have ended.
pub fn cancelled(consumers: &[Consumer], wakes: &mut Wakes) {
    for consumer in consumers {
        consumer.subscriber.cancelled(wakes);
    }
}

/// The consumers of one queue.
#[derive(Default)]
pub struct Consumers {
    /// Only one at a time gets messages.
    single: bool,
    /// `None` while there are none: most queues are idle.
    all: Option<Box<All>>,
}

/// Consumers, of which there is at least one.
#[derive(Default)]
struct All {
    /// By place.
    list: Vec<Option<Box<Consumer>>>,
    free: Vec<Place>,
    /// The places by id, once there are more than a few.
    places: HashMap<u64, Place, foldhash::fast::FixedState>,
    /// Where only one gets messages: the highest priority first, and then the oldest. And the one that gets them.
    line: BTreeMap<(Reverse<i32>, u64), Place>,
    active: Option<Place>,
    /// Where all do: those that take part.
    turns: Turns,
    /// Those that don't until their clients say that they do.
    away: Vec<Place>,
    /// Those whose clients have had no room in this round, or whose shared limits had none.
    stalled: Vec<Place>,
    /// Those that got messages in this round.
    served: Vec<Place>,
    round: u64,
    exclusive: usize,
}

/// Consumers that are found by a look at each.
const FEW: usize = 8;

impl Consumers {
    /// None yet. `single`: only one at a time gets messages.
    pub fn new(single: bool) -> Self {
        Self { single, all: None }
    }

    /// True if only one at a time gets messages.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// True if one of them is to be the only one.
    pub fn has_exclusive(&self) -> bool {
        self.all.as_ref().is_some_and(|all| all.exclusive > 0)
    }

    /// True if this one is among them.
    pub fn has(&self, id: u64) -> bool {
        self.all.as_ref().is_some_and(|all| all.place(id).is_some())
    }

    /// All of them, the highest priority first, and then the oldest.
    pub fn iter(&self) -> impl Iterator<Item = &Consumer> {
        let all = self.all.iter().flat_map(|all| &all.list);
        let mut sorted: Vec<&Consumer> = all.flatten().map(|consumer| &**consumer).collect();
        sorted.sort_unstable_by_key(|consumer| (Reverse(consumer.terms.priority), consumer.id));
        sorted.into_iter()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.all.as_ref().map_or(0, |all| all.len())
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_none()
    }

    /// The only one, if there is no other and it takes part.
    pub(super) fn only(&mut self) -> Option<&mut Consumer> {
        let all = self.all.as_mut().filter(|all| all.len() == 1)?;
        let place = all.turns.next().or(all.active)?;
        all.get_mut(place)
    }

    /// True if the consumer at this place acknowledges what it gets.
    #[inline]
    pub(super) fn acknowledges(&self, place: Place) -> bool {
        let consumer = self.all.as_ref().and_then(|all| all.get(place));
        consumer.is_some_and(|consumer| !consumer.terms.no_ack)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Consumer> {
        self.all.as_mut()?.get_mut(place)
    }

    /// The one with this number.
    pub(super) fn find_mut(&mut self, id: u64) -> Option<&mut Consumer> {
        let all = self.all.as_mut()?;
        all.get_mut(all.place(id)?)
    }

    /// Adds one: its turn comes after those of the same priority.
    pub fn add(&mut self, consumer: Consumer) {
        let all = self.all.get_or_insert_default();
        all.exclusive += usize::from(consumer.terms.exclusive);
        let (id, priority) = (consumer.id, consumer.terms.priority);
        let place = all.put(consumer);
        if !self.single {
            all.turns.join(priority, place);
            return;
        }
        all.line.insert((Reverse(priority), id), place);
        if all.active.is_none() {
            all.active = Some(place);
        }
        all.set_standing(place);
    }

    /// Removes one. The turn of the others stays whose it was.
    pub fn remove(&mut self, id: u64) -> Option<Consumer> {
        let all = self.all.as_mut()?;
        let place = all.place(id)?;
        let consumer = all.take(place)?;
        all.exclusive -= usize::from(consumer.terms.exclusive);
        if self.single {
            all.line.remove(&(Reverse(consumer.terms.priority), id));
            if all.active == Some(place) {
                // The next one: of the highest priority the oldest.
                all.active = all.line.first_key_value().map(|(_, place)| *place);
                all.active.into_iter().for_each(|place| all.set_standing(place));
            }
        } else if consumer.part == Part::Takes {
            all.turns.leave(consumer.terms.priority, place);
        }
        if all.len() == 0 {
            self.all = None;
        }
        Some(consumer)
    }

    /// Removes all.
    pub fn drain(&mut self) -> Vec<Consumer> {
        let all = self.all.take().map(|all| all.list);
        let mut all: Vec<Consumer> = all.into_iter().flatten().flatten().map(|consumer| *consumer).collect();
        all.sort_unstable_by_key(|consumer| (Reverse(consumer.terms.priority), consumer.id));
        all
    }

    /// Starts a round: each client will be asked how much it takes.
    #[inline]
    pub(super) fn begin_round(&mut self) {
        if let Some(all) = &mut self.all {
            all.round += 1;
        }
    }

    /// The consumer whose turn it is: of the highest priority of which one can take a message.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<Place> {
        let all = self.all.as_mut()?;
        if self.single {
            return all.pick_active();
        }
        while let Some(place) = all.turns.next() {
            let round = all.round;
            let part = all.get_mut(place)?.look(round);
            if part == Part::Takes {
                all.turns.pass();
                return Some(place);
            }
            all.step_aside(place, part);
        }
        None
    }

    /// Gives the consumer a message of this round. True if the round must end here: its client has a limit that other
    /// consumers share, so the delivery must be counted before the next look.
    #[inline]
    pub(super) fn assign(&mut self, place: Place, entry: Entry) -> bool {
        let Some(all) = &mut self.all else { return true };
        let Some(Some(consumer)) = all.list.get_mut(place as usize) else {
            return true;
        };
        consumer.allowance.room = consumer.allowance.room.saturating_sub(cost(&entry));
        if !consumer.terms.no_ack {
            consumer.unacked += 1;
        }
        if consumer.batch.is_empty() {
            all.served.push(place);
        }
        consumer.batch.push(entry);
        !consumer.terms.no_ack && consumer.allowance.shared_credit.is_some()
    }

    /// Those that got messages in this round. To be given back for the next.
    pub(super) fn take_served(&mut self) -> Vec<Place> {
        self.all
            .as_mut()
            .map(|all| std::mem::take(&mut all.served))
            .unwrap_or_default()
    }

    /// Room for the places of the next round.
    pub(super) fn give_back(&mut self, mut served: Vec<Place>) {
        served.clear();
        if let Some(all) = &mut self.all {
            all.served = served;
        }
    }

    /// The end of a round: has those without room resumed when they have some. True if one has after all. `stalls`: it
    /// will be resumed.
    pub(super) fn stall(&mut self, stalls: impl Fn(&Consumer) -> bool) -> bool {
        let Some(all) = self.all.as_mut().filter(|all| !all.stalled.is_empty()) else {
            return false;
        };
        let mut has_room = false;
        for place in std::mem::take(&mut all.stalled) {
            let Some(consumer) = all.get_mut(place) else { continue };
            let lacks_share = consumer.lacks_share();
            if !(lacks_share && consumer.in_line || stalls(consumer)) {
                has_room = true;
                all.come_back(place);
                continue;
            }
            consumer.in_line |= lacks_share;
            if consumer.part == Part::LacksRoom {
                consumer.part = Part::Away;
                all.away.push(place);
            }
        }
        has_room
    }

    /// A client has said that it takes messages again, maybe for all of its consumers.
    pub(super) fn come_back(&mut self) {
        let Some(all) = &mut self.all else { return };
        for place in std::mem::take(&mut all.away) {
            all.come_back(place);
        }
    }

    /// The limit that a consumer shares with others has left room, and it is its turn.
    pub(super) fn has_share(&mut self, id: u64) {
        let Some(all) = &mut self.all else { return };
        let Some(place) = all.place(id) else { return };
        let Some(consumer) = all.get_mut(place) else { return };
        consumer.in_line = false;
        if consumer.part == Part::LacksShare {
            all.come_back(place);
        }
    }

    /// A consumer's messages were settled: it has credit again.
    pub(super) fn credit(&mut self, id: u64, count: u32) {
        let Some(all) = &mut self.all else { return };
        let Some(place) = all.place(id) else { return };
        let Some(consumer) = all.get_mut(place) else { return };
        consumer.unacked = consumer.unacked.saturating_sub(count);
        if consumer.part == Part::LacksCredit && consumer.has_credit() {
            all.come_back(place);
        }
    }
}

impl All {
    fn len(&self) -> usize {
        self.list.len() - self.free.len()
    }

    fn place(&self, id: u64) -> Option<Place> {
        if !self.places.is_empty() {
            return self.places.get(&id).copied();
        }
        let is = |consumer: &Option<Box<Consumer>>| consumer.as_ref().is_some_and(|consumer| consumer.id == id);
        self.list.iter().position(is).map(|place| place as Place)
    }

    #[inline]
    fn get(&self, place: Place) -> Option<&Consumer> {
        self.list.get(place as usize)?.as_deref()
    }

    #[inline]
    fn get_mut(&mut self, place: Place) -> Option<&mut Consumer> {
        self.list.get_mut(place as usize)?.as_deref_mut()
    }

    fn put(&mut self, consumer: Consumer) -> Place {
        let id = consumer.id;
        let consumer = Some(Box::new(consumer));
        let place = match self.free.pop() {
            Some(free) => free,
            None => {
                self.list.push(None);
                (self.list.len() - 1) as Place
            }
        };
        if let Some(slot) = self.list.get_mut(place as usize) {
            *slot = consumer;
        }
        if !self.places.is_empty() {
            self.places.insert(id, place);
        } else if self.list.len() > FEW {
            let ids = (0..)
                .zip(&self.list)
                .filter_map(|(place, slot)| Some((slot.as_ref()?.id, place)));
            self.places = ids.collect();
        }
        place
    }

    fn take(&mut self, place: Place) -> Option<Consumer> {
        let consumer = self.list.get_mut(place as usize)?.take()?;
        self.places.remove(&consumer.id);
        self.free.push(place);
        Some(*consumer)
    }

    fn set_standing(&mut self, place: Place) {
        let active = self.active == Some(place);
        if let Some(consumer) = self.get_mut(place) {
            consumer.standing = match active {
                true => Standing::SingleActive,
                false => Standing::Waiting,
            };
        }
    }

    fn pick_active(&mut self) -> Option<Place> {
        let (place, round) = (self.active?, self.round);
        match self.get_mut(place)?.look(round) {
            Part::Takes => Some(place),
            Part::LacksRoom | Part::LacksShare => {
                if !self.stalled.contains(&place) {
                    self.stalled.push(place);
                }
                None
            }
            Part::LacksCredit | Part::Away => None,
        }
    }

    #[cold]
    fn step_aside(&mut self, place: Place, part: Part) {
        let Some(consumer) = self.get_mut(place) else { return };
        consumer.part = part;
        let priority = consumer.terms.priority;
        self.turns.leave(priority, place);
        match part {
            Part::LacksRoom | Part::LacksShare => self.stalled.push(place),
            Part::Takes | Part::LacksCredit | Part::Away => {}
        }
    }

    fn come_back(&mut self, place: Place) {
        let Some(consumer) = self.get_mut(place) else { return };
        // Another one may have the place by now, which takes part.
        if consumer.part == Part::Takes {
            return;
        }
        consumer.part = Part::Takes;
        let priority = consumer.terms.priority;
        self.turns.join(priority, place);
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
