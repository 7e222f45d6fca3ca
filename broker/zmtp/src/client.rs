//! The handshake as the side that connects: for tests and for measuring.
//!
//! Comes in: octets of the server. Goes out: octets for it, and at the end a `Session`.
//! Does not know about sockets of an operating system.

use bytes::{Bytes, BytesMut};

use crate::curve::handshake::{Greeted, Vouched};
use crate::curve::{KeyPair, PublicKey};
use crate::error::Error;
use crate::greeting::Greeting;
use crate::handshake;
use crate::limits::Limits;
use crate::mechanism::Mechanism;
use crate::metadata::{self, Metadata};
use crate::session::Session;
use crate::socket_type::SocketType;

/// A connection's side that connects.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The type that this side plays.
    pub socket_type: SocketType,
    /// The mechanism, with what it needs.
    pub security: ClientSecurity,
    /// The identity that this side tells, if its type has one; empty for none.
    pub identity: Bytes,
    /// Bounds of what the server may send.
    pub limits: Limits,
}

/// A mechanism with what it needs.
#[derive(Clone)]
pub enum ClientSecurity {
    /// NULL.
    Null,
    /// PLAIN. Both are cut at 255 octets.
    Plain {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// CURVE.
    Curve {
        /// The server's permanent key.
        server: PublicKey,
        /// The keys of this side.
        keys: KeyPair,
    },
}

impl std::fmt::Debug for ClientSecurity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mechanism().name())
    }
}

impl ClientSecurity {
    /// The mechanism's name.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Null => Mechanism::Null,
            Self::Plain { .. } => Mechanism::Plain,
            Self::Curve { .. } => Mechanism::Curve,
        }
    }
}

/// A connection before it is a [`Session`].
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    state: State,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// PLAIN: WELCOME is due.
    Welcome {
        minor: u8,
    },
    /// CURVE: WELCOME is due.
    CurveWelcome {
        minor: u8,
        greeted: Box<Greeted>,
    },
    /// READY is due.
    Ready {
        minor: u8,
    },
    /// CURVE: READY is due.
    CurveReady {
        minor: u8,
        vouched: Box<Vouched>,
    },
    Ended,
}

/// One step.
enum Read {
    On(State),
    Stay(State),
    Ready(Box<Session>),
}

impl Client {
    /// A connection that was just made; appends this side's greeting.
    #[must_use]
    pub fn new(settings: ClientSettings, out: &mut Vec<u8>) -> Self {
        Greeting::new(settings.security.mechanism(), false).put(out);
        Self {
            settings,
            state: State::Greeting,
        }
    }

    /// Reads what has come, as far as it goes: the session, if that was the end of the handshake.
    ///
    /// # Errors
    /// Anything that a server can do wrong; [`Error::Refused`] if it doesn't want this side.
    pub fn feed(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Option<Box<Session>>, Error> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended).read(&self.settings, input, out)? {
                Read::On(state) => self.state = state,
                Read::Stay(state) => {
                    self.state = state;
                    return Ok(None);
                }
                Read::Ready(session) => return Ok(Some(session)),
            }
        }
    }
}

impl ClientSettings {
    fn put_metadata(&self, out: &mut Vec<u8>) {
        metadata::put(out, self.socket_type, &self.identity);
    }

    fn metadata(&self, octets: &[u8]) -> Result<Metadata, Error> {
        Metadata::parse("READY", octets, self.socket_type)
    }

    /// The first command of each mechanism.
    fn begin(&self, minor: u8, out: &mut Vec<u8>) -> Result<State, Error> {
        match &self.security {
            ClientSecurity::Null => {
                handshake::put(out, "READY", |out| self.put_metadata(out));
                Ok(State::Ready { minor })
            }
            ClientSecurity::Plain { username, password } => {
                handshake::put(out, "HELLO", |out| {
                    for text in [username, password] {
                        let text = text.as_bytes();
                        let text = text.get(..usize::from(u8::MAX)).unwrap_or(text);
                        out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                        out.extend_from_slice(text);
                    }
                });
                Ok(State::Welcome { minor })
            }
            ClientSecurity::Curve { server, .. } => {
                let greeted = handshake::put_or(out, "HELLO", |out| Greeted::hello(server, out))?;
                Ok(State::CurveWelcome {
                    minor,
                    greeted: Box::new(greeted),
                })
            }
        }
    }
}

impl State {
    fn read(self, settings: &ClientSettings, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Read, Error> {
        let most = settings.limits.handshake;
        match self {
            Self::Greeting => match handshake::take_greeting(input, settings.security.mechanism())? {
                Some(minor) => settings.begin(minor, out).map(Read::On),
                None => Ok(Read::Stay(self)),
            },
            Self::Welcome { minor } => match handshake::take(input, "WELCOME", most)? {
                Some(_) => {
                    handshake::put(out, "INITIATE", |out| settings.put_metadata(out));
                    Ok(Read::On(Self::Ready { minor }))
                }
                None => Ok(Read::Stay(self)),
            },
            Self::CurveWelcome { minor, greeted } => {
                let Some(data) = handshake::take(input, "WELCOME", most)? else {
                    return Ok(Read::Stay(Self::CurveWelcome { minor, greeted }));
                };
                let ClientSecurity::Curve { server, keys } = &settings.security else {
                    return Err(Error::Ended);
                };
                let mut metadata = Vec::new();
                settings.put_metadata(&mut metadata);
                let vouched = handshake::put_or(out, "INITIATE", |out| {
                    greeted.initiate(keys, server, &data, &metadata, out)
                })?;
                Ok(Read::On(Self::CurveReady {
                    minor,
                    vouched: Box::new(vouched),
                }))
            }
            Self::Ready { minor } => {
                let Some(data) = handshake::take(input, "READY", most)? else {
                    return Ok(Read::Stay(self));
                };
                let metadata = settings.metadata(&data)?;
                let session = Session::new(settings.socket_type, settings.limits, minor, metadata, None);
                Ok(Read::Ready(Box::new(session)))
            }
            Self::CurveReady { minor, vouched } => {
                let Some(data) = handshake::take(input, "READY", most)? else {
                    return Ok(Read::Stay(Self::CurveReady { minor, vouched }));
                };
                let (metadata, opener, sealer) = vouched.ready(&data)?;
                let metadata = settings.metadata(&metadata)?;
                let boxes = Some((opener, sealer));
                let session = Session::new(settings.socket_type, settings.limits, minor, metadata, boxes);
                Ok(Read::Ready(Box::new(session)))
            }
            Self::Ended => Err(Error::Ended),
        }
    }
}
