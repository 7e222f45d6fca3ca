//! Encoded frames on their way to a client. Small bodies are copied among them; large ones are only referred to, so
//! that a message for many clients is in memory once.
//!
//! Comes in: methods, contents. Goes out: slices in their order, as many as the socket takes.
//! Does not know about channels, queues or sockets.

use crate::message::BASIC;
use bytes::{Buf, Bytes};
use leveret_amqp::encode::{piece_len, put_body_frame_end, put_body_frame_head, put_header};
use leveret_amqp::put_content;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Size of a body from which on it is referred to, bytes: to copy a smaller one costs less than the pieces do.
pub const REFERRED: usize = 128 * 1024;
/// Most slices in one write.
const SLICES: usize = 16;

/// Frames.
#[derive(Default)]
pub struct Frames {
    /// Everything but the bodies that are referred to.
    encoded: Vec<u8>,
    /// Bytes of it that are written.
    written: usize,
    /// `None` while there are none: most clients get none.
    large: Option<Box<Large>>,
}

/// Bodies that are referred to, in pieces.
#[derive(Default)]
struct Large {
    pieces: VecDeque<Piece>,
    /// Bytes in them.
    bytes: usize,
}

/// A piece of a body, as long as a frame may be.
struct Piece {
    /// Bytes of what is encoded that come before it.
    at: usize,
    bytes: Bytes,
}

impl Frames {
    /// The end, to append methods to.
    pub fn encoded(&mut self) -> &mut Vec<u8> {
        &mut self.encoded
    }

    /// Appends header and body of a message, in frames of at most `frame_max` bytes (0: one frame). `refer` gives the
    /// body again, as something that can be referred to: called for large ones alone.
    #[inline]
    pub fn put_content(
        &mut self,
        channel: u16,
        frame_max: u32,
        properties: &[u8],
        body: &[u8],
        refer: impl FnOnce() -> Bytes,
    ) {
        if body.len() < REFERRED {
            put_content(&mut self.encoded, channel, frame_max, BASIC, properties, body);
        } else {
            self.refer_to(channel, piece_len(frame_max), properties, refer());
        }
    }

    #[cold]
    fn refer_to(&mut self, channel: u16, piece_len: usize, properties: &[u8], mut body: Bytes) {
        put_header(&mut self.encoded, channel, BASIC, body.len() as u64, properties);
        while !body.is_empty() {
            let bytes = body.split_to(piece_len.min(body.len()));
            put_body_frame_head(&mut self.encoded, channel, bytes.len() as u32);
            self.put_piece(bytes);
            put_body_frame_end(&mut self.encoded);
        }
    }

    /// Appends a body without anything around it. `refer` as with [`Frames::put_content`].
    #[inline]
    pub fn put_body(&mut self, body: &[u8], refer: impl FnOnce() -> Bytes) {
        if body.len() < REFERRED {
            self.encoded.extend_from_slice(body);
        } else {
            self.put_piece(refer());
        }
    }

    #[cold]
    fn put_piece(&mut self, bytes: Bytes) {
        let large = self.large.get_or_insert_default();
        large.bytes += bytes.len();
        let at = self.encoded.len();
        large.pieces.push_back(Piece { at, bytes });
    }

    /// Appends others, of which nothing is written yet.
    pub fn put_all(&mut self, others: Self) {
        let before = self.encoded.len();
        self.encoded.extend_from_slice(&others.encoded);
        if let Some(others) = others.large {
            let large = self.large.get_or_insert_default();
            large.bytes += others.bytes;
            let moved = others.pieces.into_iter().map(|piece| Piece {
                at: before + piece.at,
                ..piece
            });
            large.pieces.extend(moved);
        }
    }

    /// Bytes that are not written yet.
    #[inline]
    pub fn len(&self) -> usize {
        self.encoded.len() - self.written + self.large.as_ref().map_or(0, |large| large.bytes)
    }

    /// True if everything is written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Memory that they take beside the bodies that are referred to, bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        let large = self.large.as_ref();
        self.encoded.capacity() + large.map_or(0, |large| large.pieces.capacity() * size_of::<Piece>())
    }

    /// The next bytes to write, if they lie in one piece: most do.
    #[inline]
    pub fn first(&self, most: usize) -> &[u8] {
        let first = match self.large.as_ref().and_then(|large| large.pieces.front()) {
            None => self.encoded.get(self.written..),
            Some(piece) if piece.at > self.written => self.encoded.get(self.written..piece.at),
            Some(piece) => Some(&piece.bytes[..]),
        };
        let first = first.unwrap_or_default();
        first.get(..most).unwrap_or(first)
    }

    /// True if what is next to be written is not in one piece.
    #[inline]
    pub fn is_scattered(&self) -> bool {
        self.large.is_some()
    }

    /// The next bytes to write, up to `most`. Gives the slices that are in use.
    pub fn slices<'a>(&'a self, most: usize, into: &mut Slices<'a>) {
        let mut left = most;
        let mut from = self.written;
        let mut add = |bytes: &'a [u8]| {
            let bytes = bytes.get(..left).unwrap_or(bytes);
            left -= bytes.len();
            if !bytes.is_empty() {
                into.push(bytes);
            }
            left > 0 && into.len < SLICES
        };
        for piece in self.large.iter().flat_map(|large| &large.pieces) {
            if !add(self.encoded.get(from..piece.at).unwrap_or_default()) || !add(&piece.bytes) {
                return;
            }
            from = piece.at;
        }
        add(self.encoded.get(from..).unwrap_or_default());
    }

    /// So many bytes are written. Bodies are given up piece by piece.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(large) = &mut self.large
            && let Some(piece) = large.pieces.front_mut()
        {
            let before = count.min(piece.at - self.written);
            self.written += before;
            count -= before;
            let of_piece = count.min(piece.bytes.len());
            piece.bytes.advance(of_piece);
            large.bytes -= of_piece;
            count -= of_piece;
            if !piece.bytes.is_empty() {
                return;
            }
            large.pieces.pop_front();
            if large.pieces.is_empty() {
                self.large = None;
            }
        }
        self.written += count;
        if self.written >= self.encoded.len() {
            self.encoded.clear();
            self.written = 0;
        }
    }

    /// Gives memory back if more than `keep` bytes are reserved and none are used.
    pub fn shrink(&mut self, keep: usize) {
        if self.is_empty() && self.capacity() > keep {
            *self = Self::default();
        }
    }
}

/// Slices for one write.
pub struct Slices<'a> {
    slices: [IoSlice<'a>; SLICES],
    len: usize,
}

impl<'a> Slices<'a> {
    /// None.
    pub fn new() -> Self {
        Self {
            slices: [IoSlice::new(&[]); SLICES],
            len: 0,
        }
    }

    fn push(&mut self, bytes: &'a [u8]) {
        if let Some(slot) = self.slices.get_mut(self.len) {
            *slot = IoSlice::new(bytes);
            self.len += 1;
        }
    }

    /// Those in use.
    pub fn get(&self) -> &[IoSlice<'a>] {
        self.slices.get(..self.len).unwrap_or_default()
    }
}

impl Default for Slices<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes everything, `step` bytes at a time at most.
    fn written(frames: &mut Frames, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !frames.is_empty() {
            let before = frames.len();
            let mut slices = Slices::new();
            frames.slices(step, &mut slices);
            let wrote: Vec<u8> = slices.get().iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(wrote.starts_with(frames.first(step)) && !wrote.is_empty() && wrote.len() <= step);
            out.extend_from_slice(&wrote);
            let count = wrote.len();
            frames.advance(count);
            assert_eq!(frames.len(), before - count);
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn bodies_that_are_referred_to_look_like_those_that_are_copied(
            sizes in proptest::collection::vec(prop_oneof![0..500usize, REFERRED - 2..REFERRED + 2, Just(REFERRED * 3)], 1..5),
            frame_max in prop_oneof![Just(0u32), Just(4096), Just(131_072)],
            step in 1000usize..400_000,
        ) {
            let (mut frames, mut expected) = (Frames::default(), Vec::new());
            for (at, size) in sizes.into_iter().enumerate() {
                let body = Bytes::from(vec![at as u8; size]);
                put_content(&mut expected, 1, frame_max, BASIC, b"\0\0", &body);
                frames.put_content(1, frame_max, b"\0\0", &body, || body.clone());
            }
            prop_assert_eq!(frames.len(), expected.len());
            prop_assert!(written(&mut frames, step) == expected);
            frames.shrink(0);
            prop_assert_eq!(frames.capacity(), 0);
        }
    }

    #[test]
    fn a_large_body_is_not_copied_and_given_up_when_written() {
        let body = Bytes::from(vec![1; 10 * REFERRED]);
        let mut frames = Frames::default();
        frames.put_content(1, 131_072, b"\0\0", &body, || body.clone());
        assert!(frames.capacity() < REFERRED / 16 && frames.len() > body.len());
        assert!(!body.is_unique());
        frames.advance(frames.len());
        assert!(body.is_unique() && frames.is_empty());
    }
}
