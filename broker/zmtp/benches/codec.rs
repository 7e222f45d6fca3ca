//! The codec's hot path, per message: messages read and written, plain and in boxes; and a handshake of CURVE.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use leveret_zmtp::curve::KeyPair;
use leveret_zmtp::{
    Client, ClientSecurity, ClientSettings, Encoder, Event, Limits, Server, ServerSecurity, ServerSettings, Session,
    SocketType, Step,
};

/// Messages of one buffer.
const MESSAGES: usize = 64;

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
    loop {
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
        if server_end.is_some() && client_end.is_some() {
            break;
        }
    }
    (*server_end.expect("a session"), *client_end.expect("a session"))
}

fn null() -> (Session, Session) {
    ends(ServerSecurity::Null, ClientSecurity::Null)
}

fn curve() -> (Session, Session) {
    let keys = KeyPair::generate();
    let server = *keys.public();
    let client = ClientSecurity::Curve {
        server,
        keys: KeyPair::generate(),
    };
    ends(ServerSecurity::Curve(keys), client)
}

/// Reads everything; gives the octets of parts.
fn read(session: &mut Session, buffer: &mut BytesMut) -> usize {
    let batch = session.decoder.take(buffer).expect("messages");
    let mut octets = 0;
    for event in &batch {
        if let Event::Message(message) = event {
            octets += black_box(message.parts()).map(<[u8]>::len).sum::<usize>();
        }
    }
    octets
}

fn write(encoder: &mut Encoder, parts: &[Vec<u8>], out: &mut Vec<u8>) {
    out.clear();
    for _ in 0..MESSAGES {
        encoder.message(black_box(parts).iter().map(Vec::as_slice), out);
    }
}

fn codec(criterion: &mut Criterion) {
    for (name, parts) in [
        ("64 B", vec![vec![b'x'; 64]]),
        ("1 KiB", vec![vec![b'x'; 1024]]),
        ("2 parts of 32 B", vec![vec![b'x'; 32]; 2]),
    ] {
        for (mechanism, mut ends) in [("NULL", null()), ("CURVE", curve())] {
            let mut group = criterion.benchmark_group(format!("{mechanism}, {name}"));
            group.throughput(Throughput::Elements(MESSAGES as u64));
            let mut out = Vec::new();
            group.bench_function("write", |bencher| {
                bencher.iter(|| write(&mut ends.1.encoder, &parts, &mut out));
            });
            group.bench_function("read", |bencher| {
                let octets = || {
                    write(&mut ends.1.encoder, &parts, &mut out);
                    BytesMut::from(out.as_slice())
                };
                bencher.iter_batched_ref(octets, |octets| read(&mut ends.0, octets), BatchSize::PerIteration);
            });
            group.finish();
        }
    }
    criterion.bench_function("CURVE, handshake, both sides", |bencher| bencher.iter(curve));
}

criterion_group!(benches, codec);
criterion_main!(benches);
