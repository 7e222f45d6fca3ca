//! The handshake as the side that binds: it asks its caller whether a peer may come in.
//!
//! Comes in: octets of the peer, the caller's decision. Goes out: octets for the peer, its credentials, and at the end
//! a `Session`. A peer that hasn't proved anything costs what a `Server` has in bytes and one command in the caller's
//! buffer. Does not know users or passwords.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::curve::handshake::{Cookie, Initiated};
use crate::curve::{KeyPair, PublicKey};
use crate::error::Error;
use crate::greeting::Greeting;
use crate::handshake;
use crate::limits::Limits;
use crate::mechanism::Mechanism;
use crate::metadata::{self, Metadata};
use crate::session::Session;
use crate::socket_type::SocketType;

/// The things that all connections of a socket have in common.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The type that this side plays.
    pub socket_type: SocketType,
    /// The mechanism that peers have to use.
    pub security: ServerSecurity,
    /// The identity that this side tells peers, if its type has one.
    pub identity: Bytes,
    /// Bounds of what a peer may send.
    pub limits: Limits,
}

/// A mechanism with what it needs.
#[derive(Debug, Clone)]
pub enum ServerSecurity {
    /// NULL.
    Null,
    /// PLAIN.
    Plain,
    /// CURVE with this permanent key pair.
    Curve(KeyPair),
}

impl ServerSecurity {
    /// The mechanism's name.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Null => Mechanism::Null,
            Self::Plain => Mechanism::Plain,
            Self::Curve(_) => Mechanism::Curve,
        }
    }
}

/// The things that a peer proves itself with.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing.
    Null,
    /// A name and a password that nobody has checked.
    Plain {
        /// The name.
        username: String,
        /// The password.
        password: Password,
    },
    /// A key whose secret half the peer has: that is proved, it only remains whose it is.
    Curve {
        /// The key.
        public_key: PublicKey,
    },
}

/// A password. Wiped when it goes, and never printed.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Its octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A reason for refusing a peer, as it is told. A peer that is told doesn't come back by itself: libzmq's sockets give
/// up on such an endpoint. One that may come back is to be cut off without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The credentials are wrong: `400`, which libzmq reports as `HANDSHAKE_FAILED_AUTH`.
    Denied,
    /// They couldn't be checked: `500`, which libzmq reports in the same way.
    Failed,
    /// Anything else, for whoever looks at the wire.
    Because(&'a str),
}

/// The state of a handshake after everything that came was read.
#[derive(Debug)]
pub enum Step {
    /// More octets of the peer are needed.
    NeedMore,
    /// The caller decides: [`Server::accept`] or [`Server::refuse`].
    Authenticate(Credentials),
    /// The handshake is through. What is left in the buffer is for the decoder.
    Ready(Box<Session>),
}

/// A connection before it is a [`Session`].
#[derive(Debug)]
pub struct Server {
    settings: Arc<ServerSettings>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was read.
    Greeting,
    /// NULL: READY is due; PLAIN, CURVE: HELLO.
    First {
        minor: u8,
    },
    /// CURVE: INITIATE is due.
    Initiate {
        minor: u8,
        cookie: Cookie,
    },
    /// The caller decides.
    Asked {
        minor: u8,
        asked: Asked,
    },
    /// PLAIN: the caller has accepted, INITIATE is due.
    Welcomed {
        minor: u8,
    },
    /// The caller has accepted.
    Through(Box<Session>),
    Ended,
}

/// The things read before the caller was asked.
#[derive(Debug)]
enum Asked {
    Null(Metadata),
    Plain,
    Curve(Box<(Initiated, Metadata)>),
}

impl Server {
    /// A connection that was just accepted; appends this side's greeting.
    #[must_use]
    pub fn new(settings: Arc<ServerSettings>, out: &mut Vec<u8>) -> Self {
        Greeting::new(settings.security.mechanism(), true).put(out);
        Self {
            settings,
            state: State::Greeting,
        }
    }

    /// Reads what has come, as far as it goes. `out` is what to send, also after an error, before the connection is
    /// closed.
    ///
    /// # Errors
    /// Anything that a peer can do wrong. There is no way on.
    pub fn feed(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Step, Error> {
        let settings = self.settings.clone();
        loop {
            match std::mem::replace(&mut self.state, State::Ended).read(&settings, input, out)? {
                Read::On(state) => self.state = state,
                Read::Stay(state) => {
                    self.state = state;
                    return Ok(Step::NeedMore);
                }
                Read::Ask(state, credentials) => {
                    self.state = state;
                    return Ok(Step::Authenticate(credentials));
                }
                Read::Ready(session) => return Ok(Step::Ready(session)),
            }
        }
    }

    /// Lets the peer in that the caller was asked about. [`Server::feed`] goes on from there, also with nothing new
    /// in the buffer.
    pub fn accept(&mut self, out: &mut Vec<u8>) {
        let settings = &self.settings;
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Asked { minor, asked } = state else {
            self.state = state;
            return;
        };
        let session = |metadata, boxes| {
            let session = Session::new(settings.socket_type, settings.limits, minor, metadata, boxes);
            State::Through(Box::new(session))
        };
        self.state = match asked {
            Asked::Null(metadata) => {
                handshake::put(out, "READY", |out| settings.put_metadata(out));
                session(metadata, None)
            }
            Asked::Plain => {
                handshake::put(out, "WELCOME", |_| ());
                State::Welcomed { minor }
            }
            Asked::Curve(asked) => {
                let (initiated, metadata) = *asked;
                let mut ours = Vec::new();
                settings.put_metadata(&mut ours);
                let boxes = handshake::put(out, "READY", |out| initiated.ready(&ours, out));
                session(metadata, Some(boxes))
            }
        };
    }

    /// Refuses the peer that the caller was asked about, or that it has accepted and not yet fed again. The connection
    /// is to be closed when `out` has been sent.
    pub fn refuse(&mut self, refusal: Refusal<'_>, out: &mut Vec<u8>) {
        self.state = State::Ended;
        let status = match refusal {
            Refusal::Denied => "400",
            Refusal::Failed => "500",
            Refusal::Because(reason) => return handshake::put_error(out, reason),
        };
        match self.settings.security {
            ServerSecurity::Plain => handshake::put_plain_status(out, status),
            _ => handshake::put_error(out, status),
        }
    }
}

impl ServerSettings {
    fn put_metadata(&self, out: &mut Vec<u8>) {
        metadata::put(out, self.socket_type, &self.identity);
    }

    /// Reads a peer's properties; one whose socket doesn't fit is told.
    fn metadata(&self, command: &'static str, octets: &[u8], out: &mut Vec<u8>) -> Result<Metadata, Error> {
        Metadata::parse(command, octets, self.socket_type).inspect_err(|error| {
            if matches!(error, Error::SocketType { .. } | Error::Identity) {
                handshake::put_error(out, &error.to_string());
            }
        })
    }
}

/// One step.
enum Read {
    /// Perhaps there is more.
    On(State),
    /// There isn't.
    Stay(State),
    Ask(State, Credentials),
    Ready(Box<Session>),
}

impl State {
    fn read(self, settings: &ServerSettings, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<Read, Error> {
        let most = settings.limits.handshake;
        match self {
            Self::Greeting => Ok(match handshake::take_greeting(input, settings.security.mechanism())? {
                Some(minor) => Read::On(Self::First { minor }),
                None => Read::Stay(self),
            }),
            Self::First { minor } => {
                let wanted = match settings.security {
                    ServerSecurity::Null => "READY",
                    _ => "HELLO",
                };
                match handshake::take(input, wanted, most)? {
                    Some(data) => first(settings, minor, &data, out),
                    None => Ok(Read::Stay(self)),
                }
            }
            Self::Initiate { minor, cookie } => {
                let Some(data) = handshake::take(input, "INITIATE", most)? else {
                    return Ok(Read::Stay(Self::Initiate { minor, cookie }));
                };
                let ServerSecurity::Curve(keys) = &settings.security else {
                    return Err(Error::Ended);
                };
                let initiated = cookie.initiate(keys, &data)?;
                let metadata = settings.metadata("INITIATE", &initiated.metadata, out)?;
                let credentials = Credentials::Curve {
                    public_key: initiated.client,
                };
                let asked = Asked::Curve(Box::new((initiated, metadata)));
                Ok(Read::Ask(Self::Asked { minor, asked }, credentials))
            }
            Self::Welcomed { minor } => {
                let Some(data) = handshake::take(input, "INITIATE", most)? else {
                    return Ok(Read::Stay(self));
                };
                let metadata = settings.metadata("INITIATE", &data, out)?;
                handshake::put(out, "READY", |out| settings.put_metadata(out));
                let session = Session::new(settings.socket_type, settings.limits, minor, metadata, None);
                Ok(Read::Ready(Box::new(session)))
            }
            Self::Through(session) => Ok(Read::Ready(session)),
            Self::Asked { .. } => Ok(Read::Stay(self)),
            Self::Ended => Err(Error::Ended),
        }
    }
}

/// The first command of each mechanism.
fn first(settings: &ServerSettings, minor: u8, data: &[u8], out: &mut Vec<u8>) -> Result<Read, Error> {
    match &settings.security {
        ServerSecurity::Null => {
            let asked = Asked::Null(settings.metadata("READY", data, out)?);
            Ok(Read::Ask(State::Asked { minor, asked }, Credentials::Null))
        }
        ServerSecurity::Plain => {
            let credentials = plain_hello(data).ok_or(Error::Malformed("HELLO"))?;
            Ok(Read::Ask(
                State::Asked {
                    minor,
                    asked: Asked::Plain,
                },
                credentials,
            ))
        }
        ServerSecurity::Curve(keys) => {
            let cookie = handshake::put_or(out, "WELCOME", |out| Cookie::welcome(keys, data, out))?;
            Ok(Read::On(State::Initiate { minor, cookie }))
        }
    }
}

/// The data of PLAIN's HELLO.
fn plain_hello(data: &[u8]) -> Option<Credentials> {
    let (&len, rest) = data.split_first()?;
    let (username, rest) = rest.split_at_checked(usize::from(len))?;
    let (&len, password) = rest.split_first()?;
    if password.len() != usize::from(len) {
        return None;
    }
    let username = std::str::from_utf8(username).ok()?.to_owned();
    let password = Password(Zeroizing::new(password.to_vec()));
    Some(Credentials::Plain { username, password })
}
