//! Messages that have come back and wait for another attempt.
//!
//! Comes in: entries with the stamp of one that waits, at a start those that the log has. Goes out: the same, once they
//! are ready again, or once their time is over, whichever is first; by id for the log. Ordered by that time, so that
//! one look tells those that are due.
//! Does not know why a message waits, or who gets it then.

use super::entry::Entry;
use super::stamp::{self, Millis};
use super::tail::Reader;
use crate::message::Footprint;
use leveret_store::{Backlog, Live, Location, MessageId, StoredMessage};
use std::collections::{BTreeMap, HashMap};

/// Memory that their messages may take before durable ones are only kept in the log.
const RESIDENT_BUDGET: u64 = 4 << 20;
/// Memory of one of them beside its message, bytes: what two maps take for it. It counts, so that publishers are
/// stopped before many of them take all that there is.
const WAITING_BYTES: u64 = 250;

/// The messages of one queue that wait.
#[derive(Debug, Default)]
pub struct Delayed {
    /// By the time when something is to be done about them.
    waiting: BTreeMap<(Millis, MessageId), Waiting>,
    /// Those times.
    times: HashMap<MessageId, Millis>,
    body_bytes: u64,
    resident: Footprint,
    /// The queue hands out nothing because of them, and the clock will call.
    holding_back: bool,
}

/// One of them.
#[derive(Debug)]
pub struct Waiting {
    /// The message. Its stamp says when it is ready again.
    pub entry: Entry,
    /// The end of its time.
    pub deadline: Deadline,
}

/// The end of a message's time while its stamp says something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// None, or at this time.
    Known(Option<Millis>),
    /// It had one before the last start, which the log does not know: its time begins again.
    Lost,
}

impl Delayed {
    /// Those that a start has found, taken out of the others.
    pub fn found(backlog: &mut Backlog, reader: Reader<'_>) -> Option<Self> {
        let waits = |message: &StoredMessage| stamp::ready_at(message.stamp).is_some();
        let (mut found, loose) = std::mem::take(&mut backlog.loose).into_iter().partition(waits);
        backlog.loose = loose;
        let (mixed, pages): (Vec<_>, Vec<_>) = std::mem::take(&mut backlog.pages).into_iter().partition(|page| {
            page.stamps()
                .is_some_and(|stamps| stamp::ready_at(*stamps.end()).is_some())
        });
        backlog.pages = pages;
        for page in &mixed {
            for message in reader.log.unpack(reader.queue, page) {
                let to = if waits(&message) {
                    &mut found
                } else {
                    &mut backlog.loose
                };
                to.push(message);
            }
        }
        if !mixed.is_empty() {
            backlog.loose.sort_unstable_by_key(|message| message.id);
        }
        let mut delayed = Self::default();
        for message in &found {
            let deadline = match stamp::expires_later(message.stamp) {
                true => Deadline::Lost,
                false => Deadline::Known(None),
            };
            delayed.insert(Entry::found(message), deadline);
        }
        (!found.is_empty()).then_some(delayed)
    }

    /// Adds a message. Its stamp says when it is ready again; without such a stamp that is at once.
    pub fn insert(&mut self, mut entry: Entry, deadline: Deadline) {
        if entry.durable && self.resident.bytes > RESIDENT_BUDGET {
            entry.message = None;
        }
        let ready = stamp::ready_at(entry.stamp).unwrap_or_default();
        let at = match deadline {
            Deadline::Known(Some(deadline)) => deadline.min(ready),
            _ => ready,
        };
        self.body_bytes += u64::from(entry.body_len);
        self.resident += entry.resident();
        self.times.insert(entry.id, at);
        self.waiting.insert((at, entry.id), Waiting { entry, deadline });
    }

    /// Takes out messages that are due by `now`, `most` of them at most, ascending by id.
    pub fn due(&mut self, now: Millis, most: usize) -> Vec<Waiting> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now)
        {
            let waiting = first.remove();
            self.times.remove(&waiting.entry.id);
            self.body_bytes -= u64::from(waiting.entry.body_len);
            self.resident -= waiting.entry.resident();
            due.push(waiting);
        }
        due.sort_unstable_by_key(|waiting| waiting.entry.id);
        due
    }

    /// The time when the first one is due.
    pub fn earliest(&self) -> Option<Millis> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Their bodies, bytes.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Memory that they take.
    pub fn resident(&self) -> Footprint {
        let mut resident = self.resident;
        resident.bytes += WAITING_BYTES * self.waiting.len() as u64;
        resident
    }

    /// Notes that the queue hands out nothing for now. True if it did before.
    pub fn hold_back(&mut self) -> bool {
        std::mem::replace(&mut self.holding_back, true)
    }

    /// Notes that the queue may hand out messages again. True if it did not.
    pub fn let_go(&mut self) -> bool {
        std::mem::take(&mut self.holding_back)
    }

    /// Those that the log has.
    pub fn durable(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.waiting.values().map(|waiting| &waiting.entry);
        entries.filter(|entry| entry.durable)
    }

    /// The delivery count and the stamp of a message, if it waits here.
    pub fn live(&self, id: MessageId) -> Option<Live> {
        let at = self.times.get(&id)?;
        self.waiting.get(&(*at, id)).map(|waiting| waiting.entry.live())
    }

    /// Notes that a message's record has been moved. False if it doesn't wait here.
    pub fn relocate(&mut self, id: MessageId, to: Location) -> bool {
        let at = self.times.get(&id).copied();
        match at.and_then(|at| self.waiting.get_mut(&(at, id))) {
            Some(waiting) => {
                waiting.entry.location = to;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::NOWHERE;
    use super::*;
    use crate::growth::is_linear;
    use crate::message::Message;

    #[test]
    fn each_waits_is_found_and_leaves_in_the_same_time() {
        let wait = |delayed: &mut Delayed, n: usize| {
            let n = n as MessageId;
            for id in 0..n {
                delayed.insert(entry(id, id * 7919 % n), Deadline::Known(None));
            }
            assert!((0..n).all(|id| delayed.live(id).is_some()));
            let left: usize = (0..n).map(|now| delayed.due(now, 9).len()).sum();
            assert_eq!((left, delayed.len()), (n as usize, 0));
        };
        is_linear("delayed messages", 3_000, |_| Delayed::default(), wait);
    }

    fn entry(id: MessageId, ready: Millis) -> Entry {
        Entry {
            stamp: stamp::waiting(stamp::NONE, ready),
            ..Entry::new(id, NOWHERE, Message::new(b"", b"q", b"\0\0", b"body"))
        }
    }

    #[test]
    fn what_is_due_comes_by_id_and_what_expires_comes_when_it_does() {
        let mut delayed = Delayed::default();
        delayed.insert(entry(3, 50), Deadline::Known(None));
        delayed.insert(entry(2, 60), Deadline::Known(Some(55)));
        delayed.insert(entry(1, 55), Deadline::Lost);
        delayed.insert(entry(4, 70), Deadline::Known(Some(90)));
        assert!(delayed.resident().bytes > 4 * WAITING_BYTES, "not only the messages");
        assert_eq!(
            (delayed.len(), delayed.body_bytes(), delayed.earliest()),
            (4, 16, Some(50))
        );
        assert!(delayed.due(49, 9).is_empty());
        let ids = |due: Vec<Waiting>| due.iter().map(|waiting| waiting.entry.id).collect::<Vec<_>>();
        assert_eq!(ids(delayed.due(55, 2)), [1, 3]);
        assert_eq!(ids(delayed.due(55, 2)), [2]);
        assert_eq!(delayed.earliest(), Some(70));
        assert_eq!(delayed.live(4).map(|live| stamp::ready_at(live.stamp)), Some(Some(70)));
        assert!(delayed.live(3).is_none());
        assert_eq!(ids(delayed.due(70, 9)), [4]);
        assert_eq!(
            (delayed.is_empty(), delayed.body_bytes(), delayed.resident().bytes),
            (true, 0, 0)
        );
    }
}
