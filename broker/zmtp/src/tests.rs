//! Whole connections: both sides of this crate against each other, in pieces of any length, and against octets that
//! somebody has changed.

mod handshakes;
mod malformed;
mod messages;
mod mutations;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::curve::KeyPair;
use crate::{
    Client, ClientSecurity, ClientSettings, Credentials, Decoder, Error, Event, Limits, Mechanism, Server,
    ServerSecurity, ServerSettings, Session, SocketType, Step,
};

/// The user that these tests let in, and no other.
pub(super) const USER: (&str, &str) = ("user", "secret");

/// Settings of both sides that agree; the server's type is ROUTER and the client's DEALER.
pub(super) fn settings(mechanism: Mechanism) -> (ServerSettings, ClientSettings) {
    let (server, client) = (KeyPair::generate(), KeyPair::generate());
    let (server_security, client_security) = match mechanism {
        Mechanism::Null => (ServerSecurity::Null, ClientSecurity::Null),
        Mechanism::Plain => {
            let (username, password) = (USER.0.to_owned(), USER.1.to_owned());
            (ServerSecurity::Plain, ClientSecurity::Plain { username, password })
        }
        Mechanism::Curve => {
            let theirs = ClientSecurity::Curve {
                server: *server.public(),
                keys: client,
            };
            (ServerSecurity::Curve(server), theirs)
        }
    };
    let server = ServerSettings {
        socket_type: SocketType::Router,
        security: server_security,
        identity: Bytes::new(),
        limits: Limits::default(),
    };
    let client = ClientSettings {
        socket_type: SocketType::Dealer,
        security: client_security,
        identity: Bytes::from_static(b"me"),
        limits: Limits::default(),
    };
    (server, client)
}

/// A server's side: every credential of it is right but for PLAIN, where it has to be [`USER`].
pub(super) struct Accepting {
    server: Server,
    input: BytesMut,
    pub(super) output: Vec<u8>,
    pub(super) asked: Vec<Credentials>,
    pub(super) session: Option<Box<Session>>,
}

impl Accepting {
    pub(super) fn new(settings: ServerSettings) -> Self {
        let mut output = Vec::new();
        let server = Server::new(Arc::new(settings), &mut output);
        Self {
            server,
            input: BytesMut::new(),
            output,
            asked: Vec::new(),
            session: None,
        }
    }

    pub(super) fn feed(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(octets);
        while self.session.is_none() {
            match self.server.feed(&mut self.input, &mut self.output)? {
                Step::NeedMore => break,
                Step::Authenticate(credentials) => {
                    if let Credentials::Plain { username, password } = &credentials {
                        assert_eq!((username.as_str(), password.as_bytes()), (USER.0, USER.1.as_bytes()));
                    }
                    self.asked.push(credentials);
                    self.server.accept(&mut self.output);
                }
                Step::Ready(session) => self.session = Some(session),
            }
        }
        Ok(())
    }
}

/// A client's side.
pub(super) struct Connecting {
    client: Client,
    input: BytesMut,
    pub(super) output: Vec<u8>,
    pub(super) session: Option<Box<Session>>,
}

impl Connecting {
    pub(super) fn new(settings: ClientSettings) -> Self {
        let mut output = Vec::new();
        let client = Client::new(settings, &mut output);
        Self {
            client,
            input: BytesMut::new(),
            output,
            session: None,
        }
    }

    pub(super) fn feed(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(octets);
        if self.session.is_none() {
            self.session = self.client.feed(&mut self.input, &mut self.output)?;
        }
        Ok(())
    }
}

/// Takes `len` octets, or what there is, off the front.
pub(super) fn piece(from: &mut Vec<u8>, len: usize) -> Vec<u8> {
    let rest = from.split_off(len.clamp(1, from.len().max(1)).min(from.len()));
    std::mem::replace(from, rest)
}

/// The server's end of a connection, the client's, and what the server asked about.
pub(super) type Ends = (Session, Session, Vec<Credentials>);

/// Both sides through their handshake, with pieces of these lengths in turn.
pub(super) fn shake(
    server: ServerSettings,
    client: ClientSettings,
    pieces: &[usize],
) -> Result<Ends, (Option<Error>, Option<Error>)> {
    let (mut server, mut client) = (Accepting::new(server), Connecting::new(client));
    let mut lengths = pieces.iter().copied().cycle();
    while !server.output.is_empty() || !client.output.is_empty() {
        let len = lengths.next().unwrap_or(usize::MAX);
        let to_server = piece(&mut client.output, len);
        let to_client = piece(&mut server.output, len);
        let (at_server, at_client) = (server.feed(&to_server), client.feed(&to_client));
        if at_server.is_err() || at_client.is_err() {
            // The last words of the server.
            let last = client.feed(&std::mem::take(&mut server.output));
            return Err((at_server.err(), at_client.err().or(last.err())));
        }
    }
    let ends = (server.session, client.session);
    let (Some(server_end), Some(client_end)) = ends else {
        return Err((None, None));
    };
    assert!(server.input.is_empty() && client.input.is_empty());
    Ok((*server_end, *client_end, server.asked))
}

/// An event that owns what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Message(Vec<Vec<u8>>),
    Command(Vec<u8>),
}

/// Everything that a decoder gives of octets that come in pieces of these lengths.
pub(super) fn decode(decoder: &mut Decoder, mut octets: Vec<u8>, pieces: &[usize]) -> (Vec<Seen>, Option<Error>) {
    let (mut input, mut seen) = (BytesMut::new(), Vec::new());
    let mut lengths = pieces.iter().copied().cycle();
    loop {
        input.extend_from_slice(&piece(&mut octets, lengths.next().unwrap_or(usize::MAX)));
        loop {
            let batch = match decoder.take(&mut input) {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => batch,
                Err(error) => return (seen, Some(error)),
            };
            for event in &batch {
                seen.push(match event {
                    Event::Message(message) => {
                        let parts: Vec<_> = message.parts().map(<[u8]>::to_vec).collect();
                        assert_eq!((message.count(), message.len()), (parts.len(), parts.concat().len()));
                        assert_eq!(
                            message.single(),
                            parts.first().filter(|_| parts.len() == 1).map(Vec::as_slice)
                        );
                        assert!(message.parts().all(|part| message.share(part) == part));
                        Seen::Message(parts)
                    }
                    Event::Command(command) => {
                        let mut body = Vec::new();
                        command.put(&mut body);
                        Seen::Command(body)
                    }
                });
            }
            assert_eq!(batch.events().remaining(), batch.wire_len());
        }
        if octets.is_empty() {
            return (seen, None);
        }
        assert!(decoder.wanted() == 0 || decoder.wanted() > input.len());
    }
}
