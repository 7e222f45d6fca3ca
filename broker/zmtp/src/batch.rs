//! Messages and commands read where they lie.
//!
//! Comes in: whole messages and commands in one piece of memory, judged by the step above. Goes out: one after the
//! other, borrowed: no allocation, no reference counted, unless the caller wants to keep a part.
//! Does not know what a message means, nor about limits.

use bytes::Bytes;

use crate::command::Command;
use crate::frame;

/// Messages and commands that were received together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Frames of commands that came between the frames of a message that isn't whole yet.
    early: Bytes,
    /// Whole messages and commands.
    octets: Bytes,
    /// Messages that begin with 01 or 00 subscribe and cancel: ZMTP 3.0's way, which newer peers use, too.
    subscriptions: bool,
}

/// A message or a command.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A message.
    Message(Message<'a>),
    /// A command.
    Command(Command<'a>),
}

impl Batch {
    pub(crate) const fn new(early: Bytes, octets: Bytes, subscriptions: bool) -> Self {
        Self {
            early,
            octets,
            subscriptions,
        }
    }

    /// True if there is nothing in it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.early.is_empty() && self.octets.is_empty()
    }

    /// Octets that they had on the wire (under CURVE: without their boxes).
    #[inline]
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.early.len() + self.octets.len()
    }

    /// Them, in the order in which they came, but commands between the frames of a message before that.
    #[inline]
    #[must_use]
    pub fn events(&self) -> Events<'_> {
        Events {
            batch: self,
            early: &self.early,
            rest: &self.octets,
        }
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Event<'a>;
    type IntoIter = Events<'a>;

    fn into_iter(self) -> Events<'a> {
        self.events()
    }
}

/// Messages and commands of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Events<'a> {
    batch: &'a Batch,
    early: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// Octets that are not read yet.
    #[inline]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.early.len() + self.rest.len()
    }

    /// The message that begins with this frame, which says that more follow.
    fn several(&mut self, all: &'a [u8]) -> Option<Event<'a>> {
        let (mut rest, mut count, mut len) = (all, 0, 0);
        loop {
            let (head, body) = frame::whole(rest)?;
            rest = rest.get(head.wire_len()..)?;
            if head.is_command() {
                continue;
            }
            count += 1;
            len += body.len();
            if !head.more() {
                break;
            }
        }
        self.rest = rest;
        let octets = all.get(..all.len() - rest.len())?;
        Some(Event::Message(Message {
            owner: &self.batch.octets,
            octets,
            count,
            len,
        }))
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    #[inline]
    fn next(&mut self) -> Option<Event<'a>> {
        let from = match self.early.is_empty() {
            true => &mut self.rest,
            false => &mut self.early,
        };
        let all = *from;
        let (head, body) = frame::whole(all)?;
        if head.more() {
            return self.several(all);
        }
        *from = all.get(head.wire_len()..)?;
        if head.is_command() {
            // They were parsed before they came into the batch.
            return Command::parse(body).ok().map(Event::Command);
        }
        match body {
            [1, topic @ ..] if self.batch.subscriptions => Some(Event::Command(Command::Subscribe(topic))),
            [0, topic @ ..] if self.batch.subscriptions => Some(Event::Command(Command::Cancel(topic))),
            _ => Some(Event::Message(Message {
                owner: &self.batch.octets,
                octets: body,
                count: 1,
                len: body.len(),
            })),
        }
    }
}

/// A message, borrowed from its [`Batch`]: one part or several.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    owner: &'a Bytes,
    /// The part itself if there is one, otherwise the frames with their heads, between which commands may lie.
    octets: &'a [u8],
    count: usize,
    len: usize,
}

impl<'a> Message<'a> {
    /// The number of its parts: one or more.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Octets of all parts together.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if none of its parts has an octet.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its part, if there is only one.
    #[inline]
    #[must_use]
    pub const fn single(&self) -> Option<&'a [u8]> {
        match self.count {
            1 => Some(self.octets),
            _ => None,
        }
    }

    /// Its parts.
    #[inline]
    #[must_use]
    pub const fn parts(&self) -> Parts<'a> {
        Parts {
            rest: self.octets,
            left: self.count,
            single: self.count == 1,
        }
    }

    /// A part that can be kept: it shares the memory of everything that was read together with it. For parts that are
    /// large, or don't stay for long.
    #[must_use]
    pub fn share(&self, part: &[u8]) -> Bytes {
        let (all, wanted) = (self.owner.as_ptr_range(), part.as_ptr_range());
        match all.start <= wanted.start && wanted.end <= all.end {
            true => self.owner.slice_ref(part),
            false => Bytes::copy_from_slice(part),
        }
    }
}

/// Parts of a [`Message`].
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    rest: &'a [u8],
    left: usize,
    single: bool,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if self.single {
            return Some(self.rest);
        }
        loop {
            let (head, body) = frame::whole(self.rest)?;
            self.rest = self.rest.get(head.wire_len()..)?;
            if !head.is_command() {
                return Some(body);
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Parts<'_> {}
