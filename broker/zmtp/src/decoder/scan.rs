//! Frames up to whole messages.
//!
//! Comes in: plain frames, as far as they are there. Goes out: how many octets at their start are whole messages and
//! commands within the limits. Each head is looked at once, however often a message that isn't whole is offered.
//! Does not know about boxes.

use bytes::{Bytes, BytesMut};

use crate::command::Command;
use crate::error::Error;
use crate::frame::{self, Head};
use crate::limits::Limits;

/// The place in a buffer up to which frames have been looked at.
#[derive(Debug)]
pub(crate) struct Scan {
    limits: Limits,
    /// Octets looked at, from the start of the buffer: frames of a message whose last frame isn't there.
    at: usize,
    /// Frames among them. Commands between them count: they are kept as long.
    frames: usize,
    /// Octets of their bodies.
    octets: u64,
    /// Frames of commands found among them, copied.
    early: Vec<u8>,
    /// Octets that the buffer must have for the next frame.
    wanted: usize,
}

impl Scan {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            at: 0,
            frames: 0,
            octets: 0,
            early: Vec::new(),
            wanted: 0,
        }
    }

    /// Octets that the buffer has to hold for the next frame to be whole; 0 if there is no head of it yet.
    pub(crate) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Splits whole messages and commands off the start, and gives commands that came between the frames of another.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<(Bytes, Bytes), Error> {
        let (whole, fault) = self.whole(buffer);
        self.at -= whole;
        let early = Bytes::from(std::mem::take(&mut self.early));
        match fault {
            Some(fault) if whole == 0 && early.is_empty() => Err(fault),
            // Found again by the next call: nothing was passed over.
            _ => Ok((early, split(buffer, whole))),
        }
    }

    /// Octets of whole messages and commands at the start, and what is wrong with the frame behind those looked at.
    fn whole(&mut self, buffer: &[u8]) -> (usize, Option<Error>) {
        let mut whole = 0;
        self.wanted = 0;
        loop {
            let rest = buffer.get(self.at..).unwrap_or_default();
            let head = match frame::head(rest) {
                Ok(Some(head)) => head,
                Ok(None) => return (whole, None),
                Err(error) => return (whole, Some(error)),
            };
            if let Err(error) = self.judge(head) {
                return (whole, Some(error));
            }
            let Some(frame) = rest.get(..head.wire_len()) else {
                self.wanted = self.at - whole + head.wire_len();
                return (whole, None);
            };
            if head.is_command()
                && let Err(error) = self.command(frame, head)
            {
                return (whole, Some(error));
            }
            self.at += head.wire_len();
            if head.more() || (head.is_command() && self.frames > 0) {
                self.frames += 1;
                self.octets += head.body_len;
            } else {
                (self.frames, self.octets) = (0, 0);
                whole = self.at;
            }
        }
    }

    /// Compares an announced length with the limits.
    #[inline]
    fn judge(&self, head: Head) -> Result<(), Error> {
        if head.is_command() && head.body_len > self.limits.command as u64 {
            return Err(Error::CommandTooLong {
                announced: head.body_len,
                most: self.limits.command,
            });
        }
        if head.is_command() && self.frames == 0 {
            return Ok(());
        }
        let announced = self.octets.saturating_add(head.body_len);
        if announced > self.limits.message as u64 {
            return Err(Error::MessageTooLong {
                announced,
                most: self.limits.message,
            });
        }
        if self.frames >= self.limits.frames {
            return Err(Error::TooManyFrames {
                most: self.limits.frames,
            });
        }
        Ok(())
    }

    /// Compares the length of what is in a box, which may be a command, with the limits.
    pub(crate) fn judge_box(&self, body_len: u64) -> Result<(), Error> {
        let announced = self.octets.saturating_add(body_len);
        let most = self.limits.message.max(self.limits.command);
        match announced > most as u64 {
            true => Err(Error::MessageTooLong { announced, most }),
            false => Ok(()),
        }
    }

    /// Judges a command, and keeps it beside the message that it came into: a PING isn't to wait for its end.
    #[cold]
    fn command(&mut self, frame: &[u8], head: Head) -> Result<(), Error> {
        Command::parse(frame.get(head.head_len..).unwrap_or_default())?;
        if self.frames > 0 {
            self.early.extend_from_slice(frame);
        }
        Ok(())
    }
}

/// A piece split off the start of a buffer, or nothing.
fn split(buffer: &mut BytesMut, len: usize) -> Bytes {
    match len {
        0 => Bytes::new(),
        len => buffer.split_to(len).freeze(),
    }
}
