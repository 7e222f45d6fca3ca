//! Octets from a peer after its handshake: at once and in pieces they are the same messages, written and read again
//! they are the same, too, and what is kept is within the limits.
#![no_main]

use bytes::BytesMut;
use leveret_zmtp::{
    Command, Decoder, Encoder, Event, Greeting, Limits, Mechanism, Server, ServerSecurity, ServerSettings, SocketType,
    Step,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    handshake: 1024,
    message: 2000,
    frames: 20,
    command: 2100,
};

/// The decoder of an XPUB whose peer has just come in.
fn decoder() -> Decoder {
    let settings = ServerSettings {
        socket_type: SocketType::XPub,
        security: ServerSecurity::Null,
        identity: bytes::Bytes::new(),
        limits: LIMITS,
    };
    let (mut octets, mut out) = (Vec::new(), Vec::new());
    Greeting::new(Mechanism::Null, false).put(&mut octets);
    octets.extend_from_slice(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB");
    let mut server = Server::new(settings.into(), &mut out);
    let mut input = BytesMut::from(octets.as_slice());
    loop {
        match server.feed(&mut input, &mut out) {
            Ok(Step::Authenticate(_)) => server.accept(&mut out),
            Ok(Step::Ready(session)) => return session.decoder,
            other => panic!("{other:?}"),
        }
    }
}

/// Everything in `octets`, written again; and how it ended.
fn again(octets: &[u8], piece: usize) -> (Vec<u8>, usize, Option<String>) {
    let (mut decoder, mut encoder) = (decoder(), Encoder::plain(1));
    let (mut input, mut out, mut count) = (BytesMut::new(), Vec::new(), 0);
    for piece in octets.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let batch = match decoder.take(&mut input) {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => batch,
                Err(error) => return (out, count, Some(error.to_string())),
            };
            for event in &batch {
                count += 1;
                match event {
                    Event::Message(message) => {
                        assert!(message.len() <= LIMITS.message && message.count() <= LIMITS.frames);
                        encoder.message(message.parts(), &mut out);
                    }
                    Event::Command(Command::Unknown(_)) => count -= 1,
                    Event::Command(command) => encoder.command(&command, &mut out),
                }
            }
        }
        // Frames of a message that isn't whole, with their heads, and one that isn't.
        assert!(input.len() <= LIMITS.message + LIMITS.command + (LIMITS.frames + 1) * 9);
    }
    (out, count, None)
}

fuzz_target!(|octets: &[u8]| {
    let (written, count, error) = again(octets, usize::MAX);
    let (in_pieces, same, same_error) = again(octets, 7);
    // Commands between the frames of a message come before it in either case, but perhaps before others, too.
    assert_eq!((count, &error, written.len()), (same, &same_error, in_pieces.len()));
    let (second, second_count, second_error) = again(&written, usize::MAX);
    assert_eq!((second, second_count, second_error), (written, count, None));
});
