//! Messages and commands to octets.
//!
//! Comes in: parts of messages, commands. Goes out: frames, appended to a buffer that the caller writes when it likes;
//! under CURVE in boxes, which are closed where they lie. Boxes carry numbers: what is appended first is sent first.
//! Does not know about sockets.

use crate::command::Command;
use crate::curve::messages::Sealer;
use crate::frame::{self, COMMAND, MORE};

/// The sending direction of a connection after its handshake.
#[derive(Debug)]
pub struct Encoder {
    minor: u8,
    sealer: Option<Box<Sealer>>,
}

impl Encoder {
    /// Without boxes, for a peer that speaks this minor version.
    #[must_use]
    pub const fn plain(minor: u8) -> Self {
        Self { minor, sealer: None }
    }

    /// With boxes.
    pub(crate) fn boxed(minor: u8, sealer: Sealer) -> Self {
        Self {
            minor,
            sealer: Some(Box::new(sealer)),
        }
    }

    /// True if frames go into boxes. Octets for two peers are the same only if they don't.
    #[inline]
    #[must_use]
    pub const fn is_boxed(&self) -> bool {
        self.sealer.is_some()
    }

    /// Appends a message of these parts; none: nothing.
    #[inline]
    pub fn message<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        let mut parts = parts.into_iter();
        let Some(mut part) = parts.next() else {
            return;
        };
        for next in parts {
            self.part(part, true, out);
            part = next;
        }
        self.part(part, false, out);
    }

    /// Appends one part of a message; `more`: others of it follow.
    #[inline]
    pub fn part(&mut self, part: &[u8], more: bool, out: &mut Vec<u8>) {
        let flags = if more { MORE } else { 0 };
        match &mut self.sealer {
            None => frame::put_frame(out, flags, part),
            Some(sealer) => sealer.put(flags, part.len(), out, |out| out.extend_from_slice(part)),
        }
    }

    /// Appends a command. Subscriptions for a peer of ZMTP 3.0 are messages.
    pub fn command(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        let (mark, topic) = match command {
            Command::Subscribe(topic) => (1, topic),
            Command::Cancel(topic) => (0, topic),
            _ => return self.put_command(command, out),
        };
        match self.minor {
            0 => self.part(&[&[mark], *topic].concat(), false, out),
            _ => self.put_command(command, out),
        }
    }

    fn put_command(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        command.put(&mut body);
        match &mut self.sealer {
            None => frame::put_frame(out, COMMAND, &body),
            Some(sealer) => sealer.put(COMMAND, body.len(), out, |out| out.extend_from_slice(&body)),
        }
    }
}
