//! MESSAGE commands: frames to boxes and back, in place.
//!
//! Comes in: frames of either kind. Goes out: frames of the other. What was opened lies as plain frames where the boxes
//! lay, one behind the other, so that the steps above need not know that there was a box.
//! Does not know about messages of several frames, nor about limits.

use super::boxes::{BoxKey, TAG_LEN, short_nonce};
use crate::error::Error;
use crate::frame::{self, COMMAND, HEAD_MAX, Head, MORE};

/// The name that a MESSAGE begins with.
const NAME: [u8; 8] = *b"\x07MESSAGE";
/// Octets of name and nonce.
const PREFIX_LEN: usize = 16;
/// Octets that a frame's body has more in a box than plain: name, nonce, tag, flags.
pub(crate) const OVERHEAD: usize = PREFIX_LEN + TAG_LEN + 1;
/// The flag in a box that says that there is a command in it. RFC 26 knows only MORE; it is libzmq's, and all have it.
const COMMAND_IN_BOX: u8 = 2;

/// The two directions.
const FROM_SERVER: [u8; 16] = *b"CurveZMQMESSAGES";
const FROM_CLIENT: [u8; 16] = *b"CurveZMQMESSAGEC";

/// The side that one plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// Frames into boxes.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: BoxKey,
    purpose: [u8; 16],
    /// The nonce of the next box.
    nonce: u64,
}

impl Sealer {
    /// Boxes of this side; `nonce` is the first one that hasn't been used.
    pub(crate) fn new(key: BoxKey, side: Side, nonce: u64) -> Self {
        let purpose = match side {
            Side::Server => FROM_SERVER,
            Side::Client => FROM_CLIENT,
        };
        Self { key, purpose, nonce }
    }

    /// Appends a frame whose body of `len` octets `body` appends. `flags` are those of a plain frame.
    ///
    /// The outer frame is no command, although RFC 26 calls it one: libzmq writes it so, and would take what is in the
    /// box for a command if it were.
    #[inline]
    pub(crate) fn put(&mut self, flags: u8, len: usize, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        out.reserve(HEAD_MAX + OVERHEAD + len);
        frame::put_head(out, 0, OVERHEAD + len);
        out.extend_from_slice(&NAME);
        out.extend_from_slice(&self.nonce.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(&[0; TAG_LEN]);
        out.push(flags & MORE | if flags & COMMAND == 0 { 0 } else { COMMAND_IN_BOX });
        body(out);
        let nonce = short_nonce(self.purpose, self.nonce);
        self.key.seal(&nonce, out.get_mut(start..).unwrap_or_default());
        // At ten million a second it takes 58,000 years to the end.
        self.nonce = self.nonce.wrapping_add(1);
    }
}

/// Boxes into frames.
#[derive(Debug)]
pub(crate) struct Opener {
    key: BoxKey,
    purpose: [u8; 16],
    /// The last nonce of the peer.
    nonce: u64,
}

impl Opener {
    /// Boxes of the other side; `nonce` is the last one that it has used.
    pub(crate) fn new(key: BoxKey, side: Side, nonce: u64) -> Self {
        let purpose = match side {
            Side::Server => FROM_CLIENT,
            Side::Client => FROM_SERVER,
        };
        Self { key, purpose, nonce }
    }

    /// Opens all frames, which have to be whole. Gives the number of octets that are plain frames now, and what was
    /// wrong with the first that didn't open.
    pub(crate) fn open(&mut self, octets: &mut [u8]) -> (usize, Option<Error>) {
        let (mut read, mut written) = (0, 0);
        while let Some(rest) = octets.get(read..).filter(|rest| !rest.is_empty()) {
            let opened = match frame::head(rest) {
                Ok(Some(head)) => self
                    .open_frame(octets, read, head, written)
                    .map(|len| (head.wire_len(), len)),
                Ok(None) => Err(Error::Malformed("MESSAGE")),
                Err(error) => Err(error),
            };
            match opened {
                Ok((wire_len, len)) => {
                    read += wire_len;
                    written += len;
                }
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }

    /// Opens the frame at `read` and puts it, plain, to `write`, which is not behind it. Gives the octets that it has
    /// there: fewer than it had.
    #[inline]
    fn open_frame(&mut self, octets: &mut [u8], read: usize, head: Head, write: usize) -> Result<usize, Error> {
        let malformed = Error::Malformed("MESSAGE");
        let body_at = read + head.head_len;
        let body = octets.get_mut(body_at..read.saturating_add(head.wire_len()));
        let Some((prefix, boxed)) = body.and_then(|body| body.split_first_chunk_mut::<PREFIX_LEN>()) else {
            return Err(malformed);
        };
        let [n1, n2, n3, n4, n5, n6, n7, n8, nonce @ ..] = *prefix;
        if [n1, n2, n3, n4, n5, n6, n7, n8] != NAME {
            return Err(malformed);
        }
        let nonce = u64::from_be_bytes(nonce);
        if nonce <= self.nonce {
            return Err(Error::Nonce);
        }
        let Some(text) = self.key.open(&short_nonce(self.purpose, nonce), boxed) else {
            return Err(Error::Box("MESSAGE"));
        };
        self.nonce = nonce;
        let Some((&mut flags, body)) = text.split_first_mut() else {
            return Err(malformed);
        };
        if flags > (MORE | COMMAND_IN_BOX) {
            return Err(Error::Flags(flags));
        }
        let len = body.len();
        let from = body_at + OVERHEAD;
        let flags = flags & MORE | if flags & COMMAND_IN_BOX == 0 { 0 } else { COMMAND };
        // A head is never longer than that of the box was: that announced more.
        let to = write + frame::write_head(octets.get_mut(write..).unwrap_or_default(), flags, len);
        octets.copy_within(from..from + len, to);
        Ok(to + len - write)
    }
}
