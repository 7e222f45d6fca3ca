//! Octets from somebody who has just connected, to each mechanism: nothing panics, nothing is kept beyond the limit,
//! and nobody gets in under CURVE.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use leveret_zmtp::curve::KeyPair;
use leveret_zmtp::{Credentials, Limits, Mechanism, Server, ServerSecurity, ServerSettings, SocketType, Step};
use libfuzzer_sys::fuzz_target;

static SETTINGS: LazyLock<[Arc<ServerSettings>; 3]> = LazyLock::new(|| {
    Mechanism::ALL.map(|mechanism| {
        Arc::new(ServerSettings {
            socket_type: SocketType::Router,
            security: match mechanism {
                Mechanism::Null => ServerSecurity::Null,
                Mechanism::Plain => ServerSecurity::Plain,
                Mechanism::Curve => ServerSecurity::Curve(KeyPair::generate()),
            },
            identity: Bytes::new(),
            limits: Limits::default(),
        })
    })
});

fuzz_target!(|octets: &[u8]| {
    for settings in &*SETTINGS {
        let (mut out, mut input) = (Vec::new(), BytesMut::new());
        let mut server = Server::new(settings.clone(), &mut out);
        for piece in octets.chunks(50) {
            input.extend_from_slice(piece);
            loop {
                match server.feed(&mut input, &mut out) {
                    Ok(Step::NeedMore) => break,
                    Ok(Step::Authenticate(Credentials::Curve { .. })) => panic!("a key that nobody has"),
                    Ok(Step::Authenticate(_)) => server.accept(&mut out),
                    Ok(Step::Ready(session)) => {
                        assert!(session.peer.identity.len() < 256);
                        return;
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        return;
                    }
                }
            }
            assert!(input.len() <= Limits::HANDSHAKE + 9, "{} octets kept", input.len());
        }
    }
});
