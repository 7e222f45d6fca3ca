//! Replies that must not be sent before the log is durable up to some point: queue.declare-ok of a durable queue and
//! the like.
//!
//! Comes in: encoded replies with a position. Goes out: those whose position has been reached, in order. Nothing
//! waits here but the reply: so pipelined declarations share a sync.

use leveret_store::Lsn;
use std::collections::VecDeque;

/// Replies of one connection that wait for the log.
#[derive(Default)]
pub struct Replies {
    waiting: VecDeque<Reply>,
}

struct Reply {
    lsn: Lsn,
    channel: u16,
    frames: Vec<u8>,
}

impl Replies {
    /// Keeps the frames that `encode` writes until the log is durable up to `lsn`.
    pub fn push(&mut self, lsn: Lsn, channel: u16, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = Vec::new();
        encode(&mut frames);
        // Positions only grow: a reply never overtakes one that came before it.
        let lsn = self.waiting.back().map_or(lsn, |last| last.lsn.max(lsn));
        self.waiting.push_back(Reply { lsn, channel, frames });
    }

    /// The position that the last reply of a channel waits for.
    pub fn last_of(&self, channel: u16) -> Option<Lsn> {
        self.waiting
            .iter()
            .rev()
            .find(|reply| reply.channel == channel)
            .map(|reply| reply.lsn)
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes those that may be sent now.
    pub fn take(&mut self, durable: Lsn, out: &mut Vec<u8>) {
        while let Some(reply) = self.waiting.pop_front_if(|reply| reply.lsn <= durable) {
            out.extend_from_slice(&reply.frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_order_and_not_before_their_position() {
        let mut replies = Replies::default();
        replies.push(Lsn(5), 1, |out| out.push(b'a'));
        replies.push(Lsn(3), 2, |out| out.push(b'b'));
        replies.push(Lsn(9), 1, |out| out.push(b'c'));
        let mut out = Vec::new();
        replies.take(Lsn(4), &mut out);
        assert!(out.is_empty());
        replies.take(Lsn(5), &mut out);
        assert_eq!(out, b"ab");
        assert_eq!((replies.last_of(1), replies.last_of(2)), (Some(Lsn(9)), None));
        replies.take(Lsn(9), &mut out);
        assert_eq!(out, b"abc");
        assert!(replies.is_empty());
    }
}
