//! Messages of ZeroMQ read and written, plain and in boxes: fixed work for the guard.
//!
//! Comes in: nothing. Goes out: the work done. Does not know about sockets or queues.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use leveret_zmtp::curve::KeyPair;
use leveret_zmtp::{
    Client, ClientSecurity, ClientSettings, Event, Limits, Server, ServerSecurity, ServerSettings, Session, SocketType,
    Step,
};

const BODY: [u8; 100] = [b'x'; 100];
/// Messages of one buffer.
const MESSAGES: usize = 64;

/// 100,000 messages read, 64 a buffer.
pub(crate) fn read() {
    let (mut server, mut client) = ends(ServerSecurity::Null, ClientSecurity::Null);
    let mut octets = Vec::new();
    put(&mut client, &mut octets);
    for _ in 0..100_000 / MESSAGES {
        take(&mut server, &octets);
    }
}

/// 100,000 messages written.
pub(crate) fn write() {
    let (_, mut client) = ends(ServerSecurity::Null, ClientSecurity::Null);
    let mut octets = Vec::with_capacity(64 << 10);
    for _ in 0..100_000 / MESSAGES {
        octets.clear();
        put(&mut client, &mut octets);
    }
    black_box(octets);
}

/// 20,000 messages into boxes and out of them.
pub(crate) fn boxes() {
    let keys = KeyPair::generate();
    let client = ClientSecurity::Curve {
        server: *keys.public(),
        keys: KeyPair::generate(),
    };
    let (mut server, mut client) = ends(ServerSecurity::Curve(keys), client);
    let mut octets = Vec::with_capacity(64 << 10);
    for _ in 0..20_000 / MESSAGES {
        octets.clear();
        put(&mut client, &mut octets);
        take(&mut server, &octets);
    }
}

fn put(session: &mut Session, out: &mut Vec<u8>) {
    for _ in 0..MESSAGES {
        session.encoder.message([black_box(&BODY[..])], out);
    }
}

fn take(session: &mut Session, octets: &[u8]) {
    let batch = session.decoder.take(&mut BytesMut::from(octets)).expect("messages");
    let messages = batch.events().filter(|event| match event {
        Event::Message(message) => black_box(message.parts()).eq([&BODY[..]]),
        Event::Command(_) => false,
    });
    assert_eq!(messages.count(), MESSAGES);
}

/// Both ends of a connection: those of a PULL that binds and a PUSH that connects.
fn ends(server: ServerSecurity, client: ClientSecurity) -> (Session, Session) {
    let (identity, limits) = (Bytes::new(), Limits::default());
    let server = ServerSettings {
        socket_type: SocketType::Pull,
        security: server,
        identity: identity.clone(),
        limits,
    };
    let client = ClientSettings {
        socket_type: SocketType::Push,
        security: client,
        identity,
        limits,
    };
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let mut server = Server::new(Arc::new(server), &mut to_client);
    let mut client = Client::new(client, &mut to_server);
    let (mut at_server, mut at_client) = (BytesMut::new(), BytesMut::new());
    let (mut server_end, mut client_end) = (None, None);
    while server_end.is_none() || client_end.is_none() {
        at_server.extend_from_slice(&std::mem::take(&mut to_server));
        at_client.extend_from_slice(&std::mem::take(&mut to_client));
        if server_end.is_none() {
            match server.feed(&mut at_server, &mut to_client).expect("an honest client") {
                Step::NeedMore => {}
                Step::Authenticate(_) => server.accept(&mut to_client),
                Step::Ready(session) => server_end = Some(session),
            }
        }
        if client_end.is_none() {
            client_end = client.feed(&mut at_client, &mut to_server).expect("an honest server");
        }
    }
    (*server_end.expect("a session"), *client_end.expect("a session"))
}
