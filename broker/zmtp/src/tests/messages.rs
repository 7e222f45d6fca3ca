//! Messages and commands through both directions of a connection, with and without boxes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Seen, decode, settings, shake};
use crate::{Command, Decoder, Encoder, Limits, Mechanism, Session};

/// Something to send.
#[derive(Debug, Clone)]
enum Item {
    Message(Vec<Vec<u8>>),
    Subscribe(Vec<u8>),
    Cancel(Vec<u8>),
    Ping(u16, Vec<u8>),
    Pong(Vec<u8>),
    Error(Vec<u8>),
    Unknown(Vec<u8>),
}

impl Item {
    fn put(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Seen {
        let command = match self {
            Self::Message(parts) => {
                encoder.message(parts.iter().map(Vec::as_slice), out);
                return Seen::Message(parts.clone());
            }
            Self::Subscribe(topic) => Command::Subscribe(topic),
            Self::Cancel(topic) => Command::Cancel(topic),
            Self::Ping(ttl, context) => Command::Ping { ttl: *ttl, context },
            Self::Pong(context) => Command::Pong { context },
            Self::Error(reason) => Command::Error(reason),
            Self::Unknown(name) => Command::Unknown(name),
        };
        encoder.command(&command, out);
        let mut body = Vec::new();
        command.put(&mut body);
        Seen::Command(body)
    }
}

/// Parts of all lengths that have another head, and a few that are longer.
fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 200..300),
        1 => vec(any::<u8>(), 4000..5000),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let context = || vec(any::<u8>(), 0..=16);
    prop_oneof![
        8 => vec(part(), 1..6).prop_map(Item::Message),
        1 => part().prop_map(Item::Subscribe),
        1 => part().prop_map(Item::Cancel),
        1 => (any::<u16>(), context()).prop_map(|(ttl, context)| Item::Ping(ttl, context)),
        1 => context().prop_map(Item::Pong),
        1 => vec(any::<u8>(), 0..=255).prop_map(Item::Error),
        1 => "[A-Z]{1,20}".prop_map(|name| Item::Unknown(format!("X{name}").into_bytes())),
    ]
}

fn ends(mechanism: Mechanism) -> (Session, Session) {
    let (server, client) = settings(mechanism);
    let (server, client, _) = shake(server, client, &[]).unwrap();
    (server, client)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_goes_in_comes_out(
        boxed in any::<bool>(),
        items in vec(item(), 0..30),
        pieces in vec(1..3000_usize, 1..20),
    ) {
        let (mut server, mut client) = ends(if boxed { Mechanism::Curve } else { Mechanism::Null });
        for (from, to) in [
            (&mut server.encoder, &mut client.decoder),
            (&mut client.encoder, &mut server.decoder),
        ] {
            let mut octets = Vec::new();
            let sent: Vec<_> = items.iter().map(|item| item.put(from, &mut octets)).collect();
            prop_assert_eq!(decode(to, octets, &pieces), (sent, None));
        }
    }

    #[test]
    fn commands_between_the_parts_of_a_message_come_at_once(
        boxed in any::<bool>(),
        parts in vec(part(), 2..8),
        commands in vec(vec(any::<u8>(), 0..=16), 8),
        pieces in vec(1..300_usize, 1..10),
    ) {
        let (mut server, client) = ends(if boxed { Mechanism::Curve } else { Mechanism::Null });
        let (mut encoder, mut octets) = (client.encoder, Vec::new());
        let mut pings = Vec::new();
        let last = parts.len() - 1;
        for (at, part) in parts.iter().enumerate() {
            encoder.part(part, at < last, &mut octets);
            if at < last {
                pings.push(Item::Ping(0, commands[at].clone()).put(&mut encoder, &mut octets));
            }
        }
        let (seen, error) = decode(&mut server.decoder, octets, &pieces);
        prop_assert_eq!(error, None);
        pings.push(Seen::Message(parts));
        prop_assert_eq!(seen, pings);
    }
}

#[test]
fn subscriptions_are_messages_for_a_peer_of_version_3_0() {
    let mut out = Vec::new();
    let mut old = Encoder::plain(0);
    old.command(&Command::Subscribe(b"A"), &mut out);
    old.command(&Command::Cancel(b""), &mut out);
    assert_eq!(out, b"\0\x02\x01A\0\x01\0");
    let seen = |subscriptions| decode(&mut Decoder::plain(Limits::default(), subscriptions), out.clone(), &[]).0;
    let command = |text: &[u8]| Seen::Command(text.to_vec());
    assert_eq!(seen(true), [command(b"\x09SUBSCRIBEA"), command(b"\x06CANCEL")]);
    let message = |part: &[u8]| Seen::Message(vec![part.to_vec()]);
    assert_eq!(seen(false), [message(b"\x01A"), message(b"\0")]);

    let mut out = Vec::new();
    Encoder::plain(1).command(&Command::Subscribe(b"A"), &mut out);
    assert_eq!(out, b"\x04\x0b\x09SUBSCRIBEA");
}

#[test]
fn a_message_of_no_parts_is_none() {
    let mut out = Vec::new();
    Encoder::plain(1).message([], &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_ping_of_libzmq_is_answered_with_its_context() {
    let mut decoder = Decoder::plain(Limits::default(), false);
    let (seen, error) = decode(&mut decoder, b"\x04\x0a\x04PING\0\0LOL".to_vec(), &[1]);
    assert_eq!((seen, error), (vec![Seen::Command(b"\x04PING\0\0LOL".to_vec())], None));
    let mut out = Vec::new();
    Encoder::plain(1).command(&Command::Pong { context: b"LOL" }, &mut out);
    assert_eq!(out, b"\x04\x08\x04PONGLOL");
}
