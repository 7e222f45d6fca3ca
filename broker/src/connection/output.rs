//! Frames on their way from the outbox to the socket.
//!
//! Comes in: frames that the outbox gave up. Goes out: bytes, as many as the socket takes.
//! Does not know what the frames mean.

use crate::outbox::frames::{Frames, Slices};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// Bytes written at a time: the system copies them, and others wait for the thread meanwhile.
const WRITE_MAX: usize = 256 * 1024;

/// Frames that are being written.
#[derive(Default)]
pub struct Output {
    /// Those that are left.
    pub frames: Frames,
    /// The time since when the client has taken nothing of them.
    stuck: Option<Instant>,
}

impl Output {
    /// True if everything is written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Writes once; gives the number of bytes.
    pub fn poll_write(
        &mut self,
        stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = if self.frames.is_scattered() {
            let mut slices = Slices::new();
            self.frames.slices(WRITE_MAX, &mut slices);
            stream.poll_write_vectored(context, slices.get())
        } else {
            stream.poll_write(context, self.frames.first(WRITE_MAX))
        };
        if written.is_pending() {
            self.stuck.get_or_insert_with(Instant::now);
        }
        let count = match ready!(written)? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => count,
        };
        self.stuck = None;
        self.frames.advance(count);
        Poll::Ready(Ok(count))
    }

    /// True if the client has taken nothing for so long.
    pub fn is_stuck(&self, time: Duration) -> bool {
        self.stuck.is_some_and(|since| since.elapsed() >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::frames::REFERRED;
    use bytes::Bytes;
    use std::task::Waker;

    #[test]
    fn everything_is_written_in_order() {
        let mut output = Output::default();
        let body = Bytes::from(vec![7; 3 * REFERRED]);
        output.frames.encoded().extend_from_slice(b"method");
        output.frames.put_content(1, 4096, b"\0\0", &body, || body.clone());
        output.frames.encoded().extend_from_slice(b"heartbeat");
        let len = output.frames.len();
        let (mut wrote, mut sum) = (Vec::new(), 0);
        let mut context = Context::from_waker(Waker::noop());
        while !output.is_empty() {
            match output.poll_write(Pin::new(&mut wrote), &mut context) {
                Poll::Ready(Ok(count)) => sum += count,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sum, wrote.len()), (len, len));
        assert!(wrote.starts_with(b"method") && wrote.ends_with(b"heartbeat"));
        assert_eq!(wrote.iter().filter(|byte| **byte == 7).count(), body.len());
        assert!(!output.is_stuck(Duration::ZERO));
    }
}
