//! Commands that come between messages.
//!
//! Comes in: the body of a command's frame, or what to say. Goes out: the others.
//! Does not know about frames, or what a command is good for.

use crate::error::Error;

/// Octets of a PING's context that a PONG gives back; libzmq cuts longer ones, and so does this.
pub const CONTEXT_MAX: usize = 16;

/// A command, borrowed from the octets that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// The peer wants messages that begin with this.
    Subscribe(&'a [u8]),
    /// The peer no longer wants messages that begin with this.
    Cancel(&'a [u8]),
    /// The peer wants a [`Command::Pong`] with this context.
    Ping {
        /// Tenths of a second after which the peer may be taken for gone if nothing comes; 0: no such limit.
        ttl: u16,
        /// At most 16 octets.
        context: &'a [u8],
    },
    /// The answer to a PING of this side.
    Pong {
        /// Octets of that PING.
        context: &'a [u8],
    },
    /// The peer gives up, and says why.
    Error(&'a [u8]),
    /// A command without a meaning here. To be passed over.
    Unknown(&'a [u8]),
}

impl<'a> Command<'a> {
    /// Reads the body of a command's frame.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let Some((name, data)) = split(body) else {
            return Err(Error::Malformed("without a name"));
        };
        let context = |octets: &'a [u8]| octets.get(..CONTEXT_MAX).unwrap_or(octets);
        Ok(match name {
            b"SUBSCRIBE" => Self::Subscribe(data),
            b"CANCEL" => Self::Cancel(data),
            b"PING" => {
                let (ttl, rest) = data.split_first_chunk().ok_or(Error::Malformed("PING"))?;
                Self::Ping {
                    ttl: u16::from_be_bytes(*ttl),
                    context: context(rest),
                }
            }
            b"PONG" => Self::Pong { context: context(data) },
            b"ERROR" => Self::Error(reason(data)?),
            name => Self::Unknown(name),
        })
    }

    /// Appends the body of the command's frame. Of an [`Command::Unknown`] there is no more than its name.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut begin = |name: &[u8]| {
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend(name.iter().take(usize::from(u8::MAX)));
        };
        match self {
            Self::Subscribe(topic) => {
                begin(b"SUBSCRIBE");
                out.extend_from_slice(topic);
            }
            Self::Cancel(topic) => {
                begin(b"CANCEL");
                out.extend_from_slice(topic);
            }
            Self::Ping { ttl, context } => {
                begin(b"PING");
                out.extend_from_slice(&ttl.to_be_bytes());
                out.extend(context.iter().take(CONTEXT_MAX));
            }
            Self::Pong { context } => {
                begin(b"PONG");
                out.extend(context.iter().take(CONTEXT_MAX));
            }
            Self::Error(reason) => {
                begin(b"ERROR");
                out.push(u8::try_from(reason.len()).unwrap_or(u8::MAX));
                out.extend(reason.iter().take(usize::from(u8::MAX)));
            }
            Self::Unknown(name) => begin(name),
        }
    }
}

/// Name and data of a command; `None` if the name is empty or isn't all there.
pub(crate) fn split(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = body.split_first()?;
    rest.split_at_checked(usize::from(len))
        .filter(|(name, _)| !name.is_empty())
}

/// The reason in the data of an ERROR. Octets behind it are passed over, as libzmq does.
pub(crate) fn reason(data: &[u8]) -> Result<&[u8], Error> {
    let (&len, rest) = data.split_first().ok_or(Error::Malformed("ERROR"))?;
    rest.get(..usize::from(len)).ok_or(Error::Malformed("ERROR"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_known_by_their_literal_octets() {
        let ping = Command::Ping {
            ttl: 300,
            context: b"LOL",
        };
        for (command, octets) in [
            (Command::Subscribe(b"A"), &b"\x09SUBSCRIBEA"[..]),
            (Command::Cancel(b""), b"\x06CANCEL"),
            (ping, b"\x04PING\x01\x2cLOL"),
            (Command::Pong { context: b"LOL" }, b"\x04PONGLOL"),
            (Command::Error(b"400"), b"\x05ERROR\x03400"),
            (Command::Unknown(b"JOIN"), b"\x04JOIN"),
        ] {
            let mut out = Vec::new();
            command.put(&mut out);
            assert_eq!(out, octets);
            assert_eq!(Command::parse(octets), Ok(command));
        }
    }

    #[test]
    fn a_long_context_is_cut() {
        let octets = [&b"\x04PING\0\0"[..], &[b'z'; 60]].concat();
        let Ok(Command::Ping { context, .. }) = Command::parse(&octets) else {
            panic!("no PING")
        };
        assert_eq!(context, [b'z'; 16]);
    }

    #[test]
    fn malformed_ones_are_refused() {
        for octets in [
            &b""[..],
            b"\0",
            b"\x05PING",
            b"\x04PING\0",
            b"\x05ERROR",
            b"\x05ERROR\x04400",
        ] {
            assert!(Command::parse(octets).is_err(), "{octets:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written(octets in vec(any::<u8>(), 0..60)) {
            if let Ok(command) = Command::parse(&octets) {
                let mut out = Vec::new();
                command.put(&mut out);
                prop_assert_eq!(Command::parse(&out), Ok(command));
            }
        }
    }
}
