//! Octets that somebody has changed: nothing panics, and under CURVE nothing that was changed gets through.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Accepting, Connecting, Seen, decode, settings, shake};
use crate::{Decoder, Limits, Mechanism};

/// Everything that a client sends to the end of its handshake, and what the server says to it.
fn recorded(mechanism: Mechanism) -> (Vec<u8>, Accepting) {
    let (server, client) = settings(mechanism);
    let (mut server, mut client) = (Accepting::new(server), Connecting::new(client));
    let mut octets = Vec::new();
    while !client.output.is_empty() {
        octets.extend_from_slice(&client.output);
        server.feed(&std::mem::take(&mut client.output)).unwrap();
        client.feed(&std::mem::take(&mut server.output)).unwrap();
    }
    (octets, server)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn noise_never_panics(octets in vec(any::<u8>(), 0..300), subscriptions in any::<bool>(), pieces in vec(1..50_usize, 1..5)) {
        let limits = Limits { message: 4000, frames: 10, command: 500, ..Limits::default() };
        let at_once = decode(&mut Decoder::plain(limits, subscriptions), octets.clone(), &[]);
        prop_assert_eq!(decode(&mut Decoder::plain(limits, subscriptions), octets, &pieces), at_once);
    }

    #[test]
    fn changed_handshakes_never_panic(
        which in 0..2_usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mechanism = Mechanism::ALL[which];
        let (mut octets, _) = recorded(mechanism);
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        octets.truncate(cut.index(octets.len()));
        // Under PLAIN, a changed password is one that the caller judges.
        if mechanism == Mechanism::Null {
            let _ = Accepting::new(settings(mechanism).0).feed(&octets);
        }
        let mut out = Vec::new();
        let mut server = crate::Server::new(settings(mechanism).0.into(), &mut out);
        let _ = server.feed(&mut octets.as_slice().into(), &mut out);
    }

    #[test]
    fn a_changed_octet_of_curve_never_authenticates(
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let (server, client) = settings(Mechanism::Curve);
        let (mut server, mut client) = (Accepting::new(server), Connecting::new(client));
        // HELLO (194 octets of data) and INITIATE, each behind its frame's head and its name; the greeting and the
        // padding of HELLO carry nothing that is signed.
        let greeting = std::mem::take(&mut client.output);
        server.feed(&greeting).unwrap();
        client.feed(&std::mem::take(&mut server.output)).unwrap();
        let mut hello = std::mem::take(&mut client.output);
        let which = at.index(2);
        let signed = hello.len() - 120;
        if which == 0 {
            let at = hello.len() - 1 - at.index(signed);
            hello[at] ^= change;
            // The point that a public key stands for doesn't depend on its highest bit.
            let ignored = at == hello.len() - 120 + 31 && change == 0x80;
            prop_assert!(ignored || server.feed(&hello).is_err());
        } else {
            server.feed(&hello).unwrap();
            client.feed(&std::mem::take(&mut server.output)).unwrap();
            let mut initiate = std::mem::take(&mut client.output);
            let at = initiate.len() - 1 - at.index(initiate.len() - 18);
            initiate[at] ^= change;
            prop_assert!(server.feed(&initiate).is_err());
        }
        prop_assert!(server.asked.is_empty() && server.session.is_none());
    }

    #[test]
    fn a_changed_octet_of_a_box_ends_the_messages(
        bodies in vec(vec(any::<u8>(), 0..300), 1..6),
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let (server, client) = settings(Mechanism::Curve);
        let (mut server, mut client, _) = shake(server, client, &[]).unwrap();
        let (mut octets, mut ends) = (Vec::new(), Vec::new());
        for body in &bodies {
            client.encoder.part(body, false, &mut octets);
            ends.push(octets.len());
        }
        let at = at.index(octets.len());
        octets[at] ^= change;
        let (seen, _) = decode(&mut server.decoder, octets, &[]);
        let before = ends.iter().filter(|end| **end <= at).count();
        // A head's COMMAND flag says nothing that isn't in the box, and is passed over.
        let start = ends.get(before.wrapping_sub(1)).copied().unwrap_or(0);
        let passed = if at == start && change == 4 { bodies.len() } else { before };
        let sent: Vec<_> = bodies.into_iter().take(passed).map(|body| Seen::Message(vec![body])).collect();
        prop_assert_eq!(seen, sent);
    }
}
