//! Publisher confirms: after confirm.select every message is acknowledged once the broker is responsible for it.
//!
//! Comes in: how far the client has published and what the log must reach for it. Goes out: one basic.ack for all messages up to
//! the last one that is safe. A persistent message in a durable queue is safe when it has been synced; any other one at once,
//! but never before those published earlier on the channel.

use leveret_amqp::put_ack;
use leveret_store::Lsn;
use std::collections::VecDeque;

/// The confirms of one channel.
#[derive(Default)]
pub struct Confirms {
    /// Tag of the last message published; the first has tag 1 (RabbitMQ's confirms).
    published: u64,
    /// Tag up to which everything is confirmed.
    confirmed: u64,
    /// What must be durable before the messages up to a tag are confirmed; both ascending.
    pending: VecDeque<(Lsn, u64)>,
}

impl Confirms {
    /// Counts a published message; returns its tag.
    pub fn next_tag(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// The messages up to `tag` have been handed on; they are safe once the log is durable up to `lsn`, or already.
    pub fn note(&mut self, tag: u64, lsn: Option<Lsn>) {
        let lsn = lsn
            .or_else(|| self.pending.back().map(|(lsn, _)| *lsn))
            .unwrap_or_default();
        match self.pending.back_mut() {
            Some((last, up_to)) if *last >= lsn => *up_to = tag.max(*up_to),
            _ => self.pending.push_back((lsn, tag)),
        }
    }

    /// Writes the acknowledgement of what is safe now.
    pub fn take(&mut self, channel: u16, durable: Lsn, out: &mut Vec<u8>) {
        let mut up_to = self.confirmed;
        while let Some((_, tag)) = self.pending.pop_front_if(|(lsn, _)| *lsn <= durable) {
            up_to = tag;
        }
        if up_to > self.confirmed {
            put_ack(out, channel, up_to, up_to - self.confirmed > 1);
            self.confirmed = up_to;
        }
    }

    /// Whether something waits for the log.
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
    use leveret_amqp::{FrameView, next_frame, parse_ack};

    fn acks(bytes: &[u8]) -> Vec<(u64, bool)> {
        let mut acks = Vec::new();
        let mut rest = bytes;
        while let Ok(Some(FrameView { payload, .. })) = next_frame(rest, 0) {
            acks.push(parse_ack(payload).expect("basic.ack").expect("well formed"));
            rest = &rest[payload.len() + 8..];
        }
        acks
    }

    #[test]
    fn what_is_not_logged_waits_for_what_was_published_before_it() {
        let mut confirms = Confirms::default();
        let mut out = Vec::new();
        assert_eq!(
            (confirms.next_tag(), confirms.next_tag(), confirms.next_tag()),
            (1, 2, 3)
        );
        confirms.note(1, None);
        confirms.take(1, Lsn(0), &mut out);
        assert_eq!(acks(&out), [(1, false)]);
        confirms.note(2, Some(Lsn(10)));
        confirms.note(3, None);
        confirms.take(1, Lsn(9), &mut out);
        assert!(confirms.waits());
        assert_eq!(acks(&out).len(), 1);
        confirms.take(1, Lsn(10), &mut out);
        assert_eq!(acks(&out), [(1, false), (3, true)]);
        assert_eq!(confirms.unconfirmed(), 0);
    }
}
