//! Publisher confirms: each message is acknowledged once the broker is responsible for it.
//!
//! Comes in: messages that were handed on, and how far the log has come. Goes out: the tag up to which all messages are
//! safe. A persistent message in a durable queue is safe when it has been synced; any other one at once, but never
//! before those published earlier on the channel.
//! Does not know how a confirm looks on the wire.

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
}

/// Messages up to a tag, safe once the log is durable up to a position.
struct Pending {
    tag: u64,
    lsn: Lsn,
}

/// Messages that are safe since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Tag of the last one.
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

    /// The messages that have become safe; `None` if none has.
    pub fn take(&mut self, durable: Lsn) -> Option<Confirmed> {
        let mut up_to = self.confirmed;
        while let Some(safe) = self.pending.pop_front_if(|pending| pending.lsn <= durable) {
            up_to = safe.tag;
        }
        let messages = up_to - self.confirmed;
        self.confirmed = up_to;
        (messages > 0).then_some(Confirmed { up_to, messages })
    }

    /// True if a message waits for the log.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Messages published and not yet confirmed.
    pub fn unconfirmed(&self) -> u64 {
        self.published - self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
