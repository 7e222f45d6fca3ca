//! The time that a consumer may have each of its messages.
//!
//! Comes in: deliveries, in their order, with the time now. Goes out: those that have been out for too long, and the
//! time when the next one will have been. A delivery has ended when its message waits for no acknowledgement any more,
//! or has come back since: no note is taken of that, it is looked up when it is of interest.
//! Does not know what becomes of a consumer that is late.

use super::entry::Entry;
use super::subscriber::{Overdue, Subscriber};
use super::unsettled::Unsettled;
use crate::clock::Millis;
use leveret_store::MessageId;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Notes that are kept at least, whatever has ended.
const SLACK: usize = 1024;

/// The time limit of one consumer, with its deliveries.
#[derive(Debug)]
pub struct TimeLimit {
    length: Millis,
    /// In the order of their ends, as all have the same time.
    deliveries: VecDeque<Delivery>,
    /// The time for which it is among those of [`Timeouts`].
    watched: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    until: Millis,
    /// The delivery as its client knows it.
    number: u64,
    id: MessageId,
    /// The message's count of returns: it tells this delivery from later ones.
    count: u32,
}

impl Delivery {
    fn is_out(&self, unsettled: &Unsettled) -> bool {
        let live = unsettled.live(self.id);
        live.is_some_and(|live| live.delivery_count == self.count)
    }
}

impl TimeLimit {
    /// A limit of `length` for each delivery to come.
    pub fn new(length: Millis) -> Self {
        Self {
            length,
            deliveries: VecDeque::new(),
            watched: None,
        }
    }

    /// The time for each delivery.
    pub fn length(&self) -> Millis {
        self.length
    }

    /// Notes deliveries from number `first` on, before they are among the unsettled messages.
    pub fn note(&mut self, run: &[Entry], first: u64, now: Millis, unsettled: &Unsettled) {
        self.forget(unsettled);
        let until = now.saturating_add(self.length);
        self.deliveries
            .extend((first..).zip(run).map(|(number, entry)| Delivery {
                until,
                number,
                id: entry.id,
                count: entry.delivery_count,
            }));
        if self.deliveries.len() > 2 * (unsettled.len() + run.len()) + SLACK {
            self.deliveries
                .retain(|delivery| delivery.number >= first || delivery.is_out(unsettled));
        }
    }

    /// Drops the first deliveries, as far as they have ended. False if none is left.
    pub fn forget(&mut self, unsettled: &Unsettled) -> bool {
        while self.deliveries.pop_front_if(|first| !first.is_out(unsettled)).is_some() {}
        !self.deliveries.is_empty()
    }

    /// The end of the first delivery's time.
    pub fn next(&self) -> Option<Millis> {
        self.deliveries.front().map(|first| first.until)
    }

    /// Takes out deliveries whose time is over, `most` of them at most.
    pub fn overdue(&mut self, now: Millis, most: usize, unsettled: &Unsettled) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        while overdue.len() < most
            && let Some(first) = self.deliveries.pop_front_if(|first| first.until <= now)
        {
            if first.is_out(unsettled) {
                overdue.push(Overdue {
                    number: first.number,
                    id: first.id,
                });
            }
        }
        self.forget(unsettled);
        overdue
    }
}

/// The times of a queue's consumers, in their order, and the call of the clock. Each look is at those that are due.
#[derive(Default)]
pub struct Timeouts {
    /// When the clock will call.
    called_at: Option<Millis>,
    /// Consumers that have deliveries, by a time before which none of theirs ends: once each.
    next: BTreeSet<(Millis, u64)>,
    /// Those that have left the queue and have messages still.
    gone: HashMap<u64, Gone>,
    /// The number of those at which they are looked through.
    look_at: usize,
}

struct Gone {
    limit: Box<TimeLimit>,
    subscriber: Arc<dyn Subscriber>,
}

impl Timeouts {
    /// True if the clock must be asked to call at this time, as it will not before.
    pub fn to_call(&mut self, next: Millis) -> bool {
        let sooner = self.called_at.is_none_or(|at| next < at);
        if sooner {
            self.called_at = Some(next);
        }
        sooner
    }

    /// The clock has called for `at`. True if that may be for this.
    pub fn called(&mut self, at: Millis) -> bool {
        self.called_at.take_if(|called| *called <= at).is_some()
    }

    /// Adds a consumer that has got messages, unless it is there.
    pub fn watch(&mut self, consumer: u64, limit: &mut TimeLimit) {
        if limit.watched.is_none() {
            limit.watched = limit.next();
            self.next.extend(limit.watched.map(|next| (next, consumer)));
        }
    }

    /// Takes a consumer out that may have messages overdue at this time.
    pub fn next_due(&mut self, at: Millis) -> Option<u64> {
        self.next.first().filter(|(next, _)| *next <= at)?;
        self.next.pop_first().map(|(_, consumer)| consumer)
    }

    /// Takes what a consumer has had for too long, `most` of it at most. It has been taken out, and is added again if
    /// it has more.
    pub fn overdue(
        &mut self,
        (consumer, limit): (u64, &mut TimeLimit),
        at: Millis,
        most: usize,
        unsettled: &Unsettled,
    ) -> Vec<Overdue> {
        let overdue = limit.overdue(at, most, unsettled);
        limit.watched = None;
        self.watch(consumer, limit);
        overdue
    }

    /// The same for one that has gone: takes the messages back.
    pub fn take_back(&mut self, consumer: u64, at: Millis, most: usize, unsettled: &Unsettled) -> Vec<MessageId> {
        let Some(Gone { mut limit, subscriber }) = self.gone.remove(&consumer) else {
            return Vec::new();
        };
        let overdue = self.overdue((consumer, &mut limit), at, most, unsettled);
        let back = subscriber.take_back(overdue);
        if limit.watched.is_some() {
            self.gone.insert(consumer, Gone { limit, subscriber });
        }
        back
    }

    /// A consumer goes: it is kept as long as it has messages.
    pub fn keep(
        &mut self,
        consumer: u64,
        mut limit: Box<TimeLimit>,
        subscriber: Arc<dyn Subscriber>,
        unsettled: &Unsettled,
    ) {
        let next = &mut self.next;
        let mut has_some = |consumer: u64, limit: &mut TimeLimit| {
            let has_some = limit.forget(unsettled);
            if !has_some && let Some(watched) = limit.watched {
                next.remove(&(watched, consumer));
            }
            has_some
        };
        if !has_some(consumer, &mut limit) {
            return;
        }
        if self.gone.len() >= self.look_at {
            self.gone.retain(|consumer, gone| has_some(*consumer, &mut gone.limit));
            self.look_at = 2 * self.gone.len() + 16;
        }
        self.gone.insert(consumer, Gone { limit, subscriber });
    }

    /// No delivery's time ends before.
    pub fn next(&self) -> Option<Millis> {
        self.next.first().map(|(next, _)| *next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::NOWHERE;
    use super::*;
    use crate::message::Message;

    fn entry(id: MessageId, count: u32) -> Entry {
        Entry {
            delivery_count: count,
            ..Entry::new(id, NOWHERE, Message::new(b"", b"q", b"\0\0", b"body"))
        }
    }

    fn deliver(limit: &mut TimeLimit, unsettled: &mut Unsettled, id: MessageId, count: u32, now: Millis) {
        limit.note(&[entry(id, count)], now, now, unsettled);
        unsettled.insert(entry(id, count));
    }

    fn overdue(limit: &mut TimeLimit, now: Millis, most: usize, unsettled: &Unsettled) -> Vec<MessageId> {
        let overdue = limit.overdue(now, most, unsettled);
        overdue.into_iter().map(|overdue| overdue.id).collect()
    }

    #[test]
    fn what_is_still_out_is_overdue_in_its_time() {
        let (mut limit, mut unsettled) = (TimeLimit::new(10), Unsettled::default());
        deliver(&mut limit, &mut unsettled, 1, 0, 100);
        deliver(&mut limit, &mut unsettled, 2, 0, 101);
        deliver(&mut limit, &mut unsettled, 3, 0, 102);
        assert_eq!(limit.next(), Some(110));
        unsettled.remove(1);
        // Came back, and is out again.
        unsettled.remove(2);
        deliver(&mut limit, &mut unsettled, 2, 1, 105);
        assert!(overdue(&mut limit, 109, 9, &unsettled).is_empty());
        assert_eq!(overdue(&mut limit, 112, 9, &unsettled), [3]);
        assert_eq!(limit.next(), Some(115));
        assert_eq!(overdue(&mut limit, 115, 9, &unsettled), [2]);
        assert!(!limit.forget(&unsettled));
    }

    #[test]
    fn many_are_overdue_one_portion_after_the_other() {
        let (mut limit, mut unsettled) = (TimeLimit::new(10), Unsettled::default());
        (1..=5).for_each(|id| deliver(&mut limit, &mut unsettled, id, 0, 100));
        assert_eq!(overdue(&mut limit, 110, 2, &unsettled), [1, 2]);
        assert_eq!(
            (limit.next(), overdue(&mut limit, 110, 9, &unsettled)),
            (Some(110), vec![3, 4, 5])
        );
    }

    #[test]
    fn notes_of_what_has_ended_do_not_pile_up() {
        let (mut limit, mut unsettled) = (TimeLimit::new(1_000_000), Unsettled::default());
        deliver(&mut limit, &mut unsettled, 1, 0, 0);
        for id in 2..10 * SLACK as u64 {
            deliver(&mut limit, &mut unsettled, id, 0, id);
            unsettled.remove(id);
        }
        assert!(limit.deliveries.len() <= SLACK + 4);
        assert_eq!(limit.next(), Some(1_000_000), "the one that is out");
    }
}
