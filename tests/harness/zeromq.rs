//! ZeroMQ sockets, message by message, as a test wants them: stock sockets hide what is on the wire.
//!
//! In: the port of a broker's socket. Out: messages and commands both ways, each with a deadline; the reason of a
//! refusal.
//! Does not know what the broker does with messages.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use leveret_zmtp::{Client, ClientSecurity, ClientSettings, Command, Event, Limits, Session, SocketType};

/// The time that the broker may take to send what it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that a peer has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message with its frames.
    Message(Vec<Vec<u8>>),
    /// A PING with its context.
    Ping(Vec<u8>),
    /// A PONG with its context.
    Pong(Vec<u8>),
    /// An ERROR with its reason.
    Error(String),
    /// A subscription.
    Subscribe(Vec<u8>),
    /// The end of a subscription.
    Cancel(Vec<u8>),
    /// Any other command.
    Other,
}

/// A ZeroMQ socket with one connection.
pub struct Peer {
    stream: TcpStream,
    session: Session,
    buffer: BytesMut,
    received: VecDeque<Received>,
}

/// The terms of a socket of this type, without security.
pub fn settings(socket_type: SocketType) -> ClientSettings {
    ClientSettings {
        socket_type,
        security: ClientSecurity::Null,
        identity: Bytes::new(),
        limits: Limits::default(),
    }
}

impl Peer {
    /// A socket of this type, connected and let in.
    pub fn connect(port: u16, socket_type: SocketType) -> Peer {
        Peer::try_connect(port, settings(socket_type)).expect("the broker lets it in")
    }

    /// A socket that may not be let in.
    ///
    /// # Errors
    /// The connection ended before READY; with the reason, if the broker has said one.
    pub fn try_connect(port: u16, settings: ClientSettings) -> io::Result<Peer> {
        Peer::try_connect_to(([127, 0, 0, 1], port).into(), settings)
    }

    /// The same at another address of this machine.
    ///
    /// # Errors
    /// As [`Peer::try_connect`].
    pub fn try_connect_to(address: SocketAddr, settings: ClientSettings) -> io::Result<Peer> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut out, mut buffer) = (Vec::new(), BytesMut::new());
        let mut client = Client::new(settings, &mut out);
        loop {
            stream.write_all(&std::mem::take(&mut out))?;
            let fed = client.feed(&mut buffer, &mut out).map_err(io::Error::other)?;
            if let Some(session) = fed {
                stream.write_all(&out)?;
                return Ok(Peer {
                    stream,
                    session: *session,
                    buffer,
                    received: VecDeque::new(),
                });
            }
            if out.is_empty() {
                read(&mut stream, &mut buffer)?;
            }
        }
    }

    /// Sends a message of these frames.
    pub fn send(&mut self, frames: &[&[u8]]) {
        self.try_send(frames).expect("the broker takes it");
    }

    /// Sends a message, if the connection still stands.
    ///
    /// # Errors
    /// It has been closed; or the broker reads nothing, and there was a deadline ([`Peer::stream`]).
    pub fn try_send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let mut out = Vec::new();
        self.session.encoder.message(frames.iter().copied(), &mut out);
        self.stream.write_all(&out)
    }

    /// Sends many messages of one frame each in as few writes as there can be.
    pub fn send_all(&mut self, messages: impl IntoIterator<Item = Vec<u8>>) {
        let mut out = Vec::new();
        for message in messages {
            self.session.encoder.message([&message[..]], &mut out);
        }
        self.stream.write_all(&out).expect("the broker takes them");
    }

    /// Sends a command.
    pub fn command(&mut self, command: &Command<'_>) {
        let mut out = Vec::new();
        self.session.encoder.command(command, &mut out);
        self.stream.write_all(&out).expect("the broker takes it");
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// The connection has been closed.
    pub fn octets(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)
    }

    /// The next message. Panics if none comes in time, or something else.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        match self.next(PATIENCE) {
            Some(Received::Message(frames)) => frames,
            other => panic!("no message, but {other:?}"),
        }
    }

    /// The next message or command; `None` if there is none within this time. Panics if the connection has ended.
    pub fn next(&mut self, within: Duration) -> Option<Received> {
        self.try_next(within).expect("the connection stands")
    }

    /// The next message or command; `None` if there is none within this time.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn try_next(&mut self, within: Duration) -> io::Result<Option<Received>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(next) = self.received.pop_front() {
                return Ok(Some(next));
            }
            let batch = self.session.decoder.take(&mut self.buffer).map_err(io::Error::other)?;
            self.received.extend(batch.events().map(Received::from));
            if !self.received.is_empty() {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match read(&mut self.stream, &mut self.buffer) {
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => return Ok(None),
                other => other?,
            }
        }
    }

    /// True if the broker ends the connection within this time. What it sends before is passed over.
    pub fn ends(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            match self.try_next(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    let mut octets = [0; 64 * 1024];
    match stream.read(&mut octets)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => {
            buffer.extend_from_slice(&octets[..count]);
            Ok(())
        }
    }
}

impl From<Event<'_>> for Received {
    fn from(event: Event<'_>) -> Received {
        match event {
            Event::Message(message) => Received::Message(message.parts().map(<[u8]>::to_vec).collect()),
            Event::Command(Command::Ping { context, .. }) => Received::Ping(context.to_vec()),
            Event::Command(Command::Pong { context }) => Received::Pong(context.to_vec()),
            Event::Command(Command::Error(reason)) => Received::Error(String::from_utf8_lossy(reason).into_owned()),
            Event::Command(Command::Subscribe(topic)) => Received::Subscribe(topic.to_vec()),
            Event::Command(Command::Cancel(topic)) => Received::Cancel(topic.to_vec()),
            Event::Command(Command::Unknown(_)) => Received::Other,
        }
    }
}
