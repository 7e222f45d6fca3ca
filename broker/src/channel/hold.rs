//! Replies that must not be sent before the log is durable up to some point: queue.declare-ok of a durable queue and the like.
//!
//! Comes in: encoded replies with a position. Goes out: those whose position has been reached, in order. So that pipelined
//! declarations share a sync, nothing waits here but the reply.

use leveret_store::Lsn;
use std::collections::VecDeque;

/// Replies of one connection that wait for the log.
#[derive(Default)]
pub struct Held {
    replies: VecDeque<Reply>,
}

struct Reply {
    lsn: Lsn,
    channel: u16,
    frames: Vec<u8>,
}

impl Held {
    /// Holds what `encode` writes until the log is durable up to `lsn`.
    pub fn push(&mut self, lsn: Lsn, channel: u16, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = Vec::new();
        encode(&mut frames);
        // Positions only grow: a reply never overtakes one that was held before.
        let lsn = self.replies.back().map_or(lsn, |last| last.lsn.max(lsn));
        self.replies.push_back(Reply { lsn, channel, frames });
    }

    /// The position that the last reply of a channel waits for.
    pub fn last_of(&self, channel: u16) -> Option<Lsn> {
        self.replies
            .iter()
            .rev()
            .find(|reply| reply.channel == channel)
            .map(|reply| reply.lsn)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Takes what may be sent now.
    pub fn take(&mut self, durable: Lsn, out: &mut Vec<u8>) {
        while let Some(reply) = self.replies.pop_front_if(|reply| reply.lsn <= durable) {
            out.extend_from_slice(&reply.frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_order_and_not_before_their_position() {
        let mut held = Held::default();
        held.push(Lsn(5), 1, |out| out.push(b'a'));
        held.push(Lsn(3), 2, |out| out.push(b'b'));
        held.push(Lsn(9), 1, |out| out.push(b'c'));
        let mut out = Vec::new();
        held.take(Lsn(4), &mut out);
        assert!(out.is_empty());
        held.take(Lsn(5), &mut out);
        assert_eq!(out, b"ab");
        assert_eq!((held.last_of(1), held.last_of(2)), (Some(Lsn(9)), None));
        held.take(Lsn(9), &mut out);
        assert_eq!(out, b"abc");
        assert!(held.is_empty());
    }
}
