//! Sessions that break the rules: each is refused for its reason, and as early as can be.

use bytes::BytesMut;

use super::{Accepting, Seen, decode, settings};
use crate::curve::KeyPair;
use crate::frame::{COMMAND, LONG, MORE};
use crate::{Command, Decoder, Error, Limits, Mechanism};

fn limits() -> Limits {
    Limits {
        handshake: 1024,
        message: 100,
        frames: 3,
        command: 50,
    }
}

/// The error of a decoder with small limits for octets that come at once, and one by one.
fn refused(octets: &[u8]) -> Error {
    let decode_all = |pieces: &[usize]| decode(&mut Decoder::plain(limits(), false), octets.to_vec(), pieces);
    let (seen, error) = decode_all(&[]);
    assert_eq!(decode_all(&[1]), (seen, error.clone()));
    error.unwrap_or_else(|| panic!("{octets:?} passed"))
}

#[test]
fn lengths_are_judged_before_their_octets_come() {
    let long = |flags: u8, len: u64| [&[flags | LONG][..], &len.to_be_bytes()].concat();
    let too_long = |announced| Error::MessageTooLong { announced, most: 100 };
    assert_eq!(refused(&long(0, 101)), too_long(101));
    assert_eq!(refused(&long(0, u64::MAX)), too_long(u64::MAX));
    assert_eq!(refused(&long(MORE, 1 << 63)), too_long(1 << 63));
    assert_eq!(refused(&[0, 101]), too_long(101));
    let announced = 51;
    assert_eq!(refused(&[COMMAND, 51]), Error::CommandTooLong { announced, most: 50 });
    let announced = u64::MAX;
    assert_eq!(
        refused(&long(COMMAND, announced)),
        Error::CommandTooLong { announced, most: 50 }
    );
}

#[test]
fn the_frames_of_a_message_share_its_limits() {
    let frame = |flags: u8, len: usize| [vec![flags, len as u8], vec![7; len]].concat();
    let both = [frame(MORE, 60), vec![0, 41]].concat();
    assert_eq!(
        refused(&both),
        Error::MessageTooLong {
            announced: 101,
            most: 100
        }
    );
    let four = [frame(MORE, 0), frame(MORE, 0), frame(MORE, 0), vec![0, 0]].concat();
    assert_eq!(refused(&four), Error::TooManyFrames { most: 3 });
    // Commands between them are kept as long as they are, so they count.
    let ping = [COMMAND, 7, 4, b'P', b'I', b'N', b'G', 0, 0];
    let commands = [&frame(MORE, 0)[..], &ping, &ping, &ping].concat();
    assert_eq!(refused(&commands), Error::TooManyFrames { most: 3 });
    // And the next message begins anew.
    let mut decoder = Decoder::plain(limits(), false);
    let three = [frame(MORE, 50), frame(MORE, 49), frame(0, 1)].concat();
    let (seen, error) = decode(&mut decoder, three.repeat(5), &[7]);
    assert_eq!((seen.len(), error), (5, None));
}

#[test]
fn flags_and_commands_without_a_meaning_are_refused() {
    assert_eq!(refused(&[8, 0]), Error::Flags(8));
    assert_eq!(refused(&[COMMAND | MORE, 0]), Error::Flags(5));
    assert_eq!(refused(&[COMMAND, 0]), Error::Malformed("without a name"));
    assert_eq!(refused(&[COMMAND, 2, 5, b'X']), Error::Malformed("without a name"));
    assert_eq!(
        refused(&[COMMAND, 5, 4, b'P', b'I', b'N', b'G']),
        Error::Malformed("PING")
    );
}

#[test]
fn what_was_right_before_a_fault_is_given_first() {
    let octets = [&[0, 1, b'a', MORE, 0, 0, 1, b'b'][..], &[0x80, 0]].concat();
    let (seen, error) = decode(&mut Decoder::plain(limits(), false), octets, &[]);
    let message = |parts: &[&[u8]]| Seen::Message(parts.iter().map(|part| part.to_vec()).collect());
    assert_eq!(seen, [message(&[b"a"]), message(&[b"", b"b"])]);
    assert_eq!(error, Some(Error::Flags(0x80)));
}

#[test]
fn a_handshake_takes_no_more_than_its_limit() {
    for mechanism in Mechanism::ALL {
        let begun = || {
            let mut server = Accepting::new(settings(mechanism).0);
            let mut greeting = Vec::new();
            crate::Greeting::new(mechanism, false).put(&mut greeting);
            server.feed(&greeting).unwrap();
            server
        };
        let announced = u64::MAX;
        let octets = [&[COMMAND | LONG][..], &announced.to_be_bytes()].concat();
        assert_eq!(
            begun().feed(&octets),
            Err(Error::CommandTooLong { announced, most: 1024 })
        );
        let octets = [&[COMMAND | LONG][..], &1025_u64.to_be_bytes()].concat();
        assert!(begun().feed(&octets).is_err());
        let octets = [&[COMMAND | LONG][..], &1024_u64.to_be_bytes()].concat();
        assert_eq!(begun().feed(&octets), Ok(()));
        let wanted = if mechanism == Mechanism::Null { "READY" } else { "HELLO" };
        let unexpected = |found: &str| {
            Err(Error::Unexpected {
                wanted,
                found: found.to_owned(),
            })
        };
        assert_eq!(begun().feed(&[0, 0]), unexpected("a message"));
        assert_eq!(begun().feed(b"\x04\x08\x07WELCOME"), unexpected("WELCOME"));
        assert_eq!(begun().feed(&[COMMAND, 1, 0]), Err(Error::Malformed("without a name")));
        assert_eq!(
            begun().feed(b"\x04\x09\x05ERROR\x02no"),
            Err(Error::Refused("no".to_owned()))
        );
    }
}

#[test]
fn a_hello_of_the_wrong_form_is_refused() {
    for data in [
        &b""[..],
        b"\x04use",
        b"\x04user",
        b"\x04user\x06secre",
        b"\x04user\x06secrets",
        b"\x01\xff\0",
    ] {
        let (mut server, mut octets) = (Accepting::new(settings(Mechanism::Plain).0), Vec::new());
        crate::Greeting::new(Mechanism::Plain, false).put(&mut octets);
        crate::handshake::put(&mut octets, "HELLO", |out| out.extend_from_slice(data));
        assert_eq!(server.feed(&octets), Err(Error::Malformed("HELLO")), "{data:?}");
        assert!(server.asked.is_empty());
    }
}

#[test]
fn messages_before_their_turn_stay_for_the_decoder() {
    let (mut server, mut octets) = (settings(Mechanism::Null).0, Vec::new());
    server.socket_type = crate::SocketType::Pull;
    crate::Greeting::new(Mechanism::Null, false).put(&mut octets);
    octets.extend_from_slice(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH\0\x02hi");
    let mut input = BytesMut::from(&octets[..]);
    let mut out = Vec::new();
    let mut server = crate::Server::new(server.into(), &mut out);
    assert!(matches!(
        server.feed(&mut input, &mut out),
        Ok(crate::Step::Authenticate(_))
    ));
    server.accept(&mut out);
    let Ok(crate::Step::Ready(mut session)) = server.feed(&mut input, &mut out) else {
        panic!("not ready")
    };
    let batch = session.decoder.take(&mut input).unwrap();
    let Some(crate::Event::Message(message)) = batch.events().next() else {
        panic!("no message")
    };
    assert_eq!(message.single(), Some(&b"hi"[..]));
}

#[test]
fn boxes_out_of_order_are_refused() {
    let (server, client) = settings(Mechanism::Curve);
    let (mut server, mut client, _) = super::shake(server, client, &[]).unwrap();
    let mut one = Vec::new();
    client.encoder.part(b"1", false, &mut one);
    let (seen, error) = decode(&mut server.decoder, [&one[..], &one].concat(), &[]);
    assert_eq!((seen.len(), error), (1, Some(Error::Nonce)));
}

#[test]
fn limits_hold_in_boxes() {
    let (mut server, client) = settings(Mechanism::Curve);
    server.limits = limits();
    let refused = |parts: &[&[u8]]| {
        let (mut server, mut client, _) = super::shake(server.clone(), client.clone(), &[]).unwrap();
        let mut octets = Vec::new();
        client.encoder.message(parts.iter().copied(), &mut octets);
        decode(&mut server.decoder, octets, &[10]).1
    };
    assert_eq!(refused(&[&[0; 100]]), None);
    let error = |announced| Some(Error::MessageTooLong { announced, most: 100 });
    assert_eq!(refused(&[&[0; 101]]), error(101));
    assert_eq!(refused(&[&[0; 60], &[0; 41]]), error(101));
    assert_eq!(refused(&[&[], &[], &[]]), None);
    assert_eq!(refused(&[&[], &[], &[], &[]]), Some(Error::TooManyFrames { most: 3 }));
    let (mut server, mut client, _) = super::shake(server, client, &[]).unwrap();
    let mut octets = Vec::new();
    client.encoder.command(&Command::Subscribe(&[7; 41]), &mut octets);
    let error = decode(&mut server.decoder, octets, &[]).1;
    assert_eq!(
        error,
        Some(Error::CommandTooLong {
            announced: 51,
            most: 50
        })
    );
}

#[test]
fn what_is_no_box_is_refused_under_curve() {
    for octets in [&b"\0\x02hi"[..], b"\0\x08\x07MESSAGE", b"\x04\x05\x04PING"] {
        let (server, client) = settings(Mechanism::Curve);
        let (mut server, _, _) = super::shake(server, client, &[]).unwrap();
        assert_eq!(
            decode(&mut server.decoder, octets.to_vec(), &[]).1,
            Some(Error::Malformed("MESSAGE"))
        );
    }
}

#[test]
fn a_key_that_is_no_point_is_refused() {
    // X25519 of it is zero whatever the other key: anybody could open such boxes.
    let (server, mut client) = settings(Mechanism::Curve);
    client.security = crate::ClientSecurity::Curve {
        server: crate::curve::PublicKey::from_bytes([0; 32]),
        keys: KeyPair::generate(),
    };
    let (_, at_client) = super::shake(server.clone(), client, &[]).err().unwrap();
    assert_eq!(at_client, Some(Error::Box("HELLO")));
    let (mut accepting, mut octets) = (Accepting::new(server), Vec::new());
    crate::Greeting::new(Mechanism::Curve, false).put(&mut octets);
    crate::handshake::put(&mut octets, "HELLO", |out| {
        out.extend_from_slice(&[1, 0]);
        out.resize(out.len() + 192, 0);
    });
    assert_eq!(accepting.feed(&octets), Err(Error::Box("HELLO")));
}

#[test]
fn a_flood_of_parts_in_boxes_is_bounded() {
    let (mut server, client) = settings(Mechanism::Curve);
    server.limits = Limits {
        message: 1 << 20,
        frames: 1 << 20,
        ..limits()
    };
    let (mut server, mut client, _) = super::shake(server, client, &[]).unwrap();
    let (mut input, mut error) = (BytesMut::new(), None);
    for _ in 0..3000 {
        let mut octets = Vec::new();
        client.encoder.part(&[7; 1000], true, &mut octets);
        input.extend_from_slice(&octets);
        error = server.decoder.take(&mut input).err();
        if error.is_some() {
            break;
        }
        assert!(
            input.is_empty() && server.decoder.held() < 3 << 20,
            "{}",
            server.decoder.held()
        );
    }
    assert!(matches!(error, Some(Error::MessageTooLong { .. })));
}

#[test]
fn the_beginning_of_a_message_keeps_no_more_than_itself() {
    let (server, client) = settings(Mechanism::Curve);
    let (mut server, mut client, _) = super::shake(server, client, &[]).unwrap();
    let mut octets = Vec::new();
    client.encoder.part(&[7; 100_000], false, &mut octets);
    client.encoder.part(b"begin", true, &mut octets);
    let mut input = BytesMut::from(&octets[..]);
    assert!(!server.decoder.take(&mut input).unwrap().is_empty());
    assert!(server.decoder.held() < 1000);
    let mut octets = Vec::new();
    client.encoder.part(b"end", false, &mut octets);
    input.extend_from_slice(&octets);
    assert!(!server.decoder.take(&mut input).unwrap().is_empty());
    assert_eq!(server.decoder.held(), 0);
}
