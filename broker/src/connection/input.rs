//! Bytes read from a client, up to whole frames.
//!
//! Comes in: bytes from the socket, as many as there are. Goes out: all whole frames at their start, in one piece.
//! Does not know what the frames mean.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use leveret_amqp::next_frame;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Bytes asked for per read: grows while reads come back full, shrinks while they don't.
const READ_MIN: usize = 8 * 1024;
const READ_MAX: usize = 256 * 1024;
/// Bytes of frames up to which they are copied out of the buffer instead of being cut from it.
const COPIED: usize = 4 * 1024;

/// The buffer that a connection reads into.
#[derive(Debug)]
pub struct Input {
    /// Bytes that aren't a whole frame yet.
    buffer: BytesMut,
    /// Bytes that the next read should bring.
    size: usize,
}

impl Input {
    /// A buffer that begins with bytes read before.
    pub fn new(buffer: BytesMut) -> Self {
        Self { buffer, size: READ_MIN }
    }

    /// Reads once; gives the number of bytes.
    pub fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let asked = (self.buffer.capacity() - self.buffer.len()).min(self.size);
        let read = poll_read_buf(stream, context, &mut (&mut self.buffer).limit(asked));
        match read {
            Poll::Ready(Ok(count)) => self.adapt(count, asked),
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.buffer.is_empty() && self.size == READ_MIN => {
                // The client may be silent for long: thousands of idle connections shouldn't keep buffers.
                self.buffer = BytesMut::new();
            }
            Poll::Pending => {}
        }
        read
    }

    /// Memory for the next read. Messages are slices of these buffers and keep them: the rest of one is used as long as
    /// it is good for a read of some size, so that messages that stay don't keep much that is empty.
    fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < (self.size / 4).max(READ_MIN) {
            self.buffer.reserve(self.size);
        }
    }

    /// The bytes that were read and not taken, for a protocol that takes its own frames.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn adapt(&mut self, count: usize, asked: usize) {
        if count == asked {
            self.size = (self.size * 2).min(READ_MAX);
        } else if count < self.size / 8 {
            self.size = (self.size / 2).max(READ_MIN);
        }
    }

    /// The whole frames at the start. A frame that can't be read ends them and counts as whole, so that the session
    /// meets it and answers.
    pub fn whole_frames(&mut self, frame_max: u32) -> Bytes {
        let mut end = 0;
        loop {
            let rest = self.buffer.get(end..).unwrap_or_default();
            match next_frame(rest, frame_max) {
                Ok(Some(frame)) => end += frame.wire_len(),
                Ok(None) => break,
                Err(_) => {
                    end = self.buffer.len();
                    break;
                }
            }
        }
        if end == 0 {
            return Bytes::new();
        }
        if end <= COPIED {
            // Messages may stay for long: they shouldn't keep a buffer that is mostly empty. And the buffer can be read
            // into again.
            let frames = Bytes::copy_from_slice(self.buffer.get(..end).unwrap_or_default());
            self.buffer.advance(end);
            return frames;
        }
        self.buffer.split_to(end).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_amqp::put_heartbeat;
    use std::task::Waker;

    fn read(input: &mut Input, mut bytes: &[u8]) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        match input.poll_read(Pin::new(&mut bytes), &mut context) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frames_leave_whole_and_the_rest_waits() {
        let mut frame = Vec::new();
        put_heartbeat(&mut frame);
        let mut input = Input::new(BytesMut::from(&frame[..3]));
        assert!(input.whole_frames(0).is_empty());
        let rest = [&frame[3..], &frame, &frame[..5]].concat();
        assert_eq!(read(&mut input, &rest), rest.len());
        assert_eq!(input.whole_frames(0), [&frame[..], &frame].concat());
        assert!(input.whole_frames(0).is_empty());
        read(&mut input, &frame[5..]);
        assert_eq!(input.whole_frames(0), frame);
    }

    #[test]
    fn a_broken_frame_leaves_with_all_that_follows() {
        let mut input = Input::new(BytesMut::from(&b"\x08\0\0\0\0\0\0\xce\xff\0\0\0\0\0\0\0more"[..]));
        assert_eq!(input.whole_frames(0).len(), 20);
    }

    #[test]
    fn reads_grow_while_they_are_filled() {
        let bytes = vec![0; READ_MAX * 2];
        let mut input = Input::new(BytesMut::new());
        let counts: Vec<usize> = (0..12).map(|_| read(&mut input, &bytes)).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert_eq!((least, most), (Some(&READ_MIN), Some(&READ_MAX)), "{counts:?}");
    }
}
