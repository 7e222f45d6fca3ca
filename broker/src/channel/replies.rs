//! Replies that must not be sent before the log is durable up to some point: queue.declare-ok of a durable queue and
//! the like.
//!
//! Comes in: encoded replies with a position. Goes out: those whose position has been reached, in order. Nothing
//! waits here but the reply: so pipelined declarations share a sync.

use leveret_store::Lsn;
use std::collections::{HashMap, VecDeque};

/// Bytes of replies above which a client's requests are not carried out.
const MANY: usize = 1024 * 1024;
/// Memory of a reply beside its frames.
const REPLY: usize = 64;

/// Replies of one connection that wait for the log.
#[derive(Default)]
pub struct Replies {
    /// `None` while there are none: most connections are idle.
    waiting: Option<Box<Waiting>>,
}

/// Replies, of which there is at least one.
#[derive(Default)]
struct Waiting {
    replies: VecDeque<Reply>,
    /// Memory that they take.
    bytes: usize,
    /// The position of each channel's last reply. Those that have been reached mean nothing.
    last: HashMap<u16, Lsn>,
}

struct Reply {
    lsn: Lsn,
    frames: Vec<u8>,
    /// The channel whose deliveries must come after it.
    held_back: Option<u16>,
}

impl Replies {
    /// Keeps the frames that `encode` writes until the log is durable up to `lsn`.
    pub fn push(&mut self, lsn: Lsn, channel: u16, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = Vec::new();
        encode(&mut frames);
        let waiting = self.waiting.get_or_insert_default();
        // Positions only grow: a reply never overtakes one that came before it.
        let lsn = waiting.replies.back().map_or(lsn, |last| last.lsn.max(lsn));
        waiting.bytes += REPLY + frames.len();
        waiting.last.insert(channel, lsn);
        waiting.replies.push_back(Reply {
            lsn,
            frames,
            held_back: None,
        });
    }

    /// Deliveries of `channel` must come after the last reply, which is its own. False if none waits.
    pub fn hold_back(&mut self, channel: u16) -> bool {
        let last = self.waiting.as_mut().and_then(|waiting| waiting.replies.back_mut());
        last.map(|last| last.held_back = Some(channel)).is_some()
    }

    /// The position that the last reply of a channel waits for.
    pub fn last_of(&self, channel: u16) -> Option<Lsn> {
        let waiting = self.waiting.as_ref()?;
        let first = waiting.replies.front()?;
        waiting.last.get(&channel).copied().filter(|lsn| *lsn >= first.lsn)
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }

    /// True if there are so many that nothing more is to be asked for.
    #[inline]
    pub fn are_many(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.bytes >= MANY)
    }

    /// Takes those that may be sent now. Gives the channels whose deliveries waited for one of them.
    pub fn take(&mut self, durable: Lsn, out: &mut Vec<u8>) -> Vec<u16> {
        let mut held_back = Vec::new();
        let Some(waiting) = &mut self.waiting else {
            return held_back;
        };
        while let Some(reply) = waiting.replies.pop_front_if(|reply| reply.lsn <= durable) {
            waiting.bytes -= REPLY + reply.frames.len();
            out.extend_from_slice(&reply.frames);
            held_back.extend(reply.held_back);
        }
        if waiting.replies.is_empty() {
            self.waiting = None;
        }
        held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::is_linear;

    #[test]
    fn each_reply_waits_and_leaves_in_the_same_time() {
        let reply = |replies: &mut Replies, n: usize| {
            let mut out = Vec::new();
            for lsn in 1..=n as u64 {
                let channel = (lsn % 2000) as u16;
                replies.push(Lsn(lsn), channel, |out| out.push(b'a'));
                assert_eq!(replies.last_of(channel), Some(Lsn(lsn)));
            }
            (1..=n as u64).for_each(|lsn| drop(replies.take(Lsn(lsn), &mut out)));
            assert_eq!(out.len(), n);
        };
        is_linear("replies", 8_000, |_| Replies::default(), reply);
    }

    #[test]
    fn replies_leave_in_order_and_not_before_their_position() {
        let mut replies = Replies::default();
        replies.push(Lsn(5), 1, |out| out.push(b'a'));
        replies.push(Lsn(3), 2, |out| out.push(b'b'));
        replies.push(Lsn(9), 1, |out| out.push(b'c'));
        assert!(replies.hold_back(1));
        let mut out = Vec::new();
        replies.take(Lsn(4), &mut out);
        assert!(out.is_empty());
        assert!(replies.take(Lsn(5), &mut out).is_empty());
        assert_eq!(out, b"ab");
        assert_eq!((replies.last_of(1), replies.last_of(2)), (Some(Lsn(9)), None));
        assert_eq!(replies.take(Lsn(9), &mut out), [1]);
        assert_eq!(out, b"abc");
        assert!(replies.is_empty() && replies.last_of(1).is_none() && !replies.hold_back(1));
    }

    #[test]
    fn a_client_can_have_so_many_and_no_more() {
        let mut replies = Replies::default();
        let mut count = 0;
        while !replies.are_many() {
            replies.push(Lsn(1), 1, |out| out.resize(36, 0));
            count += 1;
        }
        assert_eq!(count, MANY.div_ceil(REPLY + 36));
        replies.take(Lsn(1), &mut Vec::new());
        assert!(!replies.are_many());
    }
}
