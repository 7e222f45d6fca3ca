//! Publisher confirms: each message is acknowledged once the broker is responsible for it.
//!
//! Comes in: messages that were handed on or refused, and how far the log has come. Goes out: the tag up to which all
//! messages are safe; the tags of those that were refused, at once. A persistent message in a durable queue is safe
//! when it has been synced; any other one at once, but never before those published earlier on the channel. Does not
//! know how a confirm looks on the wire.

use super::stage::HandedOn;
use leveret_store::Lsn;
use std::collections::VecDeque;

/// The confirms of one channel.
#[derive(Default)]
pub struct Confirms {
    /// Tag of the last message published; the first has tag 1 (RabbitMQ's confirms).
    published: u64,
    /// Tag up to which everything is confirmed.
    confirmed: u64,
    /// Messages that wait for the log; tags and positions ascending.
    pending: VecDeque<Pending>,
    /// Tags beyond `confirmed` of messages that were refused, ascending; and those that the client hasn't been told.
    refused: VecDeque<u64>,
    untold: Vec<u64>,
    /// The channel is on its connection's list of those that wait.
    enlisted: bool,
}

/// Messages up to a tag, safe once the log is durable up to a position.
struct Pending {
    tag: u64,
    lsn: Lsn,
}

/// Messages that are safe since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Tag of the last one. Those of refused messages before it don't count: the client has been told.
    pub up_to: u64,
    /// Number of messages.
    pub messages: u64,
}

impl Confirms {
    /// Counts a published message; returns its tag.
    pub fn next_tag(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// Takes note of messages that have been handed on: they are safe once the log is durable up to their position, or
    /// already.
    pub fn note(&mut self, &HandedOn { tag, lsn, .. }: &HandedOn) {
        let lsn = lsn
            .or_else(|| self.pending.back().map(|last| last.lsn))
            .unwrap_or_default();
        match self.pending.back_mut() {
            Some(last) if last.lsn >= lsn => last.tag = tag.max(last.tag),
            _ => self.pending.push_back(Pending { tag, lsn }),
        }
    }

    /// Takes note of a message that was refused: the next one, in the order of tags.
    pub fn refuse(&mut self, tag: u64) {
        self.refused.push_back(tag);
        self.untold.push(tag);
    }

    /// The tags of messages that were refused, to be told before anything else is confirmed.
    pub fn take_refused(&mut self) -> std::vec::Drain<'_, u64> {
        self.untold.drain(..)
    }

    /// The messages that have become safe; `None` if none has.
    pub fn take(&mut self, durable: Lsn) -> Option<Confirmed> {
        let mut up_to = self.confirmed;
        while let Some(safe) = self.pending.pop_front_if(|pending| pending.lsn <= durable) {
            up_to = safe.tag;
        }
        let mut messages = up_to - self.confirmed;
        self.confirmed = up_to;
        if !self.refused.is_empty() {
            let refused = self.refused.partition_point(|tag| *tag <= up_to);
            messages -= refused as u64;
            for tag in self.refused.drain(..refused).rev() {
                if tag == up_to {
                    up_to -= 1;
                }
            }
        }
        (messages > 0).then_some(Confirmed { up_to, messages })
    }

    /// Puts the channel on its connection's list of those that wait. False if it is there.
    pub fn enlist(&mut self) -> bool {
        !std::mem::replace(&mut self.enlisted, true)
    }

    /// True if it stays on that list.
    pub fn stays(&mut self) -> bool {
        self.enlisted = self.waits();
        self.enlisted
    }

    /// True if a message waits for the log.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Messages published and not yet confirmed.
    pub fn unconfirmed(&self) -> u64 {
        self.published - self.confirmed - self.refused.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::is_linear;

    fn note(confirms: &mut Confirms, tag: u64, lsn: Option<Lsn>) {
        confirms.note(&HandedOn { channel: 1, tag, lsn });
    }

    #[test]
    fn messages_that_are_not_logged_wait_for_those_published_before_them() {
        let mut confirms = Confirms::default();
        assert_eq!(
            (confirms.next_tag(), confirms.next_tag(), confirms.next_tag()),
            (1, 2, 3)
        );
        note(&mut confirms, 1, None);
        let first = Some(Confirmed { up_to: 1, messages: 1 });
        assert_eq!(confirms.take(Lsn(0)), first);
        note(&mut confirms, 2, Some(Lsn(10)));
        note(&mut confirms, 3, None);
        assert_eq!(confirms.take(Lsn(9)), None);
        assert!(confirms.waits());
        let others = Some(Confirmed { up_to: 3, messages: 2 });
        assert_eq!(confirms.take(Lsn(10)), others);
        assert_eq!(confirms.unconfirmed(), 0);
    }

    #[test]
    fn a_refused_message_is_told_apart_from_those_around_it() {
        let mut confirms = Confirms::default();
        (1..=6).for_each(|tag| assert_eq!(confirms.next_tag(), tag));
        for tag in [2, 5, 6] {
            confirms.refuse(tag);
        }
        note(&mut confirms, 3, Some(Lsn(10)));
        note(&mut confirms, 6, Some(Lsn(20)));
        assert_eq!(confirms.take_refused().collect::<Vec<_>>(), [2, 5, 6]);
        assert_eq!(confirms.unconfirmed(), 3);
        let first = Some(Confirmed { up_to: 3, messages: 2 });
        assert_eq!(confirms.take(Lsn(10)), first);
        assert_eq!((confirms.unconfirmed(), confirms.take_refused().count()), (1, 0));
        let second = Some(Confirmed { up_to: 4, messages: 1 });
        assert_eq!(confirms.take(Lsn(20)), second);
        assert_eq!((confirms.unconfirmed(), confirms.take(Lsn(20))), (0, None));
        assert_eq!(confirms.next_tag(), 7);
        confirms.refuse(7);
        note(&mut confirms, 7, None);
        assert_eq!((confirms.take(Lsn(20)), confirms.unconfirmed()), (None, 0));
    }

    #[test]
    fn each_is_confirmed_or_refused_in_the_same_time() {
        let confirm = |confirms: &mut Confirms, n: usize| {
            let n = n as u64;
            for tag in 1..=n {
                confirms.next_tag();
                match tag % 3 {
                    0 => confirms.refuse(tag),
                    _ => note(confirms, tag, Some(Lsn(tag))),
                }
            }
            let safe: u64 = (1..=n)
                .filter_map(|lsn| confirms.take(Lsn(lsn)))
                .map(|c| c.messages)
                .sum();
            assert_eq!((safe, confirms.unconfirmed()), (n - n / 3, 0));
        };
        is_linear("confirms", 9_000, |_| Confirms::default(), confirm);
    }

    #[test]
    fn a_channel_is_on_the_list_once_as_long_as_it_waits() {
        let mut confirms = Confirms::default();
        assert_eq!(
            (confirms.next_tag(), confirms.enlist(), confirms.enlist()),
            (1, true, false)
        );
        note(&mut confirms, 1, Some(Lsn(3)));
        assert!(confirms.stays() && !confirms.enlist());
        assert!(confirms.take(Lsn(3)).is_some());
        assert!(!confirms.stays() && confirms.enlist());
    }
}
