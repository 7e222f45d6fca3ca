//! Handshakes of all mechanisms, in pieces of any length, and those that have to fail.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Accepting, Connecting, settings, shake};
use crate::curve::KeyPair;
use crate::{ClientSecurity, Credentials, Error, Mechanism, Refusal, Server, ServerSecurity, SocketType, Step};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn both_sides_agree_whatever_the_pieces(
        which in 0..3_usize,
        pieces in vec(1..100_usize, 1..20),
        identity in vec(1..=255_u8, 0..=255),
    ) {
        let mechanism = Mechanism::ALL[which];
        let (server, mut client) = settings(mechanism);
        client.identity = identity.clone().into();
        let keys = match &client.security {
            ClientSecurity::Curve { keys, .. } => Some(*keys.public()),
            _ => None,
        };
        let (server, client, asked) = shake(server, client, &pieces).unwrap();
        prop_assert_eq!((client.peer.socket_type, client.peer.minor), (SocketType::Router, 1));
        prop_assert_eq!((server.peer.socket_type, server.peer.minor), (SocketType::Dealer, 1));
        prop_assert_eq!(&server.peer.identity[..], &identity[..]);
        prop_assert_eq!(server.encoder.is_boxed(), mechanism == Mechanism::Curve);
        let [credentials] = asked.as_slice() else { panic!("asked {} times", asked.len()) };
        match credentials {
            Credentials::Null => prop_assert_eq!(mechanism, Mechanism::Null),
            Credentials::Plain { .. } => prop_assert_eq!(mechanism, Mechanism::Plain),
            Credentials::Curve { public_key } => prop_assert_eq!(Some(*public_key), keys),
        }
    }
}

#[test]
fn every_pair_of_types_fits_or_is_told_that_it_does_not() {
    for mechanism in Mechanism::ALL {
        for ours in SocketType::ALL {
            for theirs in SocketType::ALL {
                let (mut server, mut client) = settings(mechanism);
                (server.socket_type, client.socket_type) = (ours, theirs);
                let ends = shake(server, client, &[]);
                if ours.fits(theirs) {
                    assert!(ends.is_ok(), "{mechanism}: {theirs} at {ours}");
                    continue;
                }
                let text = format!("socket type {theirs} does not fit {ours}");
                let (at_server, at_client) = ends.err().unwrap();
                assert_eq!(at_server.unwrap().to_string(), text);
                assert_eq!(at_client, Some(Error::Refused(text)), "{mechanism}");
            }
        }
    }
}

#[test]
fn mechanisms_have_to_be_the_same() {
    for ours in Mechanism::ALL {
        for theirs in Mechanism::ALL.into_iter().filter(|theirs| *theirs != ours) {
            let (at_server, at_client) = shake(settings(ours).0, settings(theirs).1, &[]).err().unwrap();
            let error = |ours, theirs: Mechanism| Error::Mechanism {
                ours,
                theirs: theirs.to_string(),
            };
            assert_eq!(at_server, Some(error(ours, theirs)));
            assert_eq!(at_client, Some(error(theirs, ours)));
        }
    }
}

#[test]
fn a_client_with_another_key_of_the_server_gets_nothing() {
    let (server, mut client) = settings(Mechanism::Curve);
    if let ClientSecurity::Curve { server, .. } = &mut client.security {
        *server = *KeyPair::generate().public();
    }
    let (at_server, at_client) = shake(server, client, &[]).err().unwrap();
    assert_eq!((at_server, at_client), (Some(Error::Box("HELLO")), None));
}

#[test]
fn a_refused_peer_is_told_in_each_mechanism() {
    for mechanism in Mechanism::ALL {
        for (refusal, reason) in [
            (Refusal::Denied, "400"),
            (Refusal::Failed, "500"),
            (Refusal::Because("no\n"), "no?"),
        ] {
            let (server, client) = settings(mechanism);
            let (mut client, mut output) = (Connecting::new(client), Vec::new());
            let mut server = Server::new(server.into(), &mut output);
            let mut input = bytes::BytesMut::new();
            loop {
                client.feed(&std::mem::take(&mut output)).unwrap();
                input.extend_from_slice(&std::mem::take(&mut client.output));
                if let Step::Authenticate(_) = server.feed(&mut input, &mut output).unwrap() {
                    break;
                }
            }
            // Until the caller has decided, nothing is read.
            input.extend_from_slice(b"\x04\x00");
            assert!(matches!(server.feed(&mut input, &mut output), Ok(Step::NeedMore)));
            server.refuse(refusal, &mut output);
            let plain = mechanism == Mechanism::Plain && refusal == Refusal::Denied;
            assert!(!plain || output == b"\x04\x09^RROR\x03400", "libzmq's form");
            assert_eq!(client.feed(&output), Err(Error::Refused(reason.to_owned())));
            assert_eq!(server.feed(&mut input, &mut output).err(), Some(Error::Ended));
        }
    }
}

/// Octets of libzmq's tests (test_security_null, test_heartbeats).
#[test]
fn a_handshake_is_known_by_its_literal_octets() {
    let (mut server, _) = settings(Mechanism::Null);
    server.socket_type = SocketType::Pull;
    let mut server = Accepting::new(server);
    let greeting = [
        &b"\xFF\0\0\0\0\0\0\0\0\x7F\x03\x01NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
        &[0; 31],
    ]
    .concat();
    assert_eq!(server.output, greeting);
    server.output.clear();
    server.feed(&greeting).unwrap();
    server.feed(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH").unwrap();
    assert_eq!(server.output, b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL");
    assert_eq!(server.session.unwrap().peer.socket_type, SocketType::Push);
}

#[test]
fn the_octets_of_plain() {
    let (server, client) = settings(Mechanism::Plain);
    let (mut server, mut client) = (Accepting::new(server), Connecting::new(client));
    server.feed(&std::mem::take(&mut client.output)).unwrap();
    client.feed(&std::mem::take(&mut server.output)).unwrap();
    assert_eq!(client.output, b"\x04\x12\x05HELLO\x04user\x06secret");
    server.feed(&std::mem::take(&mut client.output)).unwrap();
    assert_eq!(server.output, b"\x04\x08\x07WELCOME");
    client.feed(&std::mem::take(&mut server.output)).unwrap();
    let initiate = b"\x04\x2e\x08INITIATE\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x02me";
    assert_eq!(client.output, initiate);
}

#[test]
fn an_initiate_opens_no_other_connection() {
    // A recorded HELLO and INITIATE, sent again by somebody else, to the same server.
    let (server, client) = settings(Mechanism::Curve);
    let (mut first, mut again) = (Accepting::new(server.clone()), Accepting::new(server));
    let mut client = Connecting::new(client);
    let mut recorded = Vec::new();
    for _ in 0..3 {
        let octets = std::mem::take(&mut client.output);
        recorded.extend_from_slice(&octets);
        first.feed(&octets).unwrap();
        client.feed(&std::mem::take(&mut first.output)).unwrap();
    }
    assert!(first.session.is_some() && client.session.is_some());
    assert_eq!(again.feed(&recorded), Err(Error::Box("INITIATE")));
    assert!(again.asked.is_empty());
}

#[test]
fn a_half_open_peer_keeps_no_memory_of_its_own() {
    for mechanism in Mechanism::ALL {
        let (server, client) = settings(mechanism);
        let (mut server, mut client) = (Accepting::new(server), Connecting::new(client));
        assert!(size_of::<Server>() <= 256, "{} octets", size_of::<Server>());
        server.feed(&std::mem::take(&mut client.output)).unwrap();
        client.feed(&std::mem::take(&mut server.output)).unwrap();
        if mechanism == Mechanism::Curve {
            server.feed(&std::mem::take(&mut client.output)).unwrap();
            assert!(
                server.output.len() > 168 && server.asked.is_empty(),
                "WELCOME, and nobody was asked"
            );
        }
    }
}

#[test]
fn nothing_prints_a_password() {
    let (server, client) = settings(Mechanism::Plain);
    let printed = format!("{client:?}");
    let (_, _, asked) = shake(server, client, &[]).unwrap();
    assert!(!format!("{asked:?}{printed}").contains(super::USER.1));
    let (server, client) = settings(Mechanism::Curve);
    let ServerSecurity::Curve(keys) = &server.security else {
        panic!("no CURVE")
    };
    let secret = keys.secret().to_z85();
    assert!(!format!("{server:?}{client:?}").contains(secret.as_str()));
}
